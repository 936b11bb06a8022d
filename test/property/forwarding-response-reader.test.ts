import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readAnswers } from '../unit/forwarding/answers-read.ts';

const token = fc.stringMatching(/^[a-zA-Z][a-zA-Z0-9-]{0,12}$/);
const value = fc.stringMatching(/^[!-~\u0080-\u00ff]([ -~\u0080-\u00ff]{0,20}[!-~\u0080-\u00ff])?$/);
const fields = fc.array(
  fc.tuple(
    token.filter(
      (name) =>
        !['content-length', 'transfer-encoding', 'connection', 'keep-alive'].includes(name.toLowerCase()),
    ),
    value,
  ),
  { maxLength: 8 },
);
const octets = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 300,
});

interface Answer {
  readonly text: string;
  readonly body: string;
}

const answer: fc.Arbitrary<Answer> = fc
  .tuple(fields, fc.array(octets, { maxLength: 5 }), fc.boolean())
  .map(([pairs, parts, chunked]) => {
    const head = `HTTP/1.1 200 OK\r\n${pairs.map(([name, text]) => `${name}: ${text}\r\n`).join('')}`;
    const body = parts.join('');
    if (!chunked) return { body, text: `${head}Content-Length: ${body.length}\r\n\r\n${body}` };
    const chunks = parts
      .filter((part) => part !== '')
      .map((part) => `${part.length.toString(16)}\r\n${part}\r\n`);
    return { body, text: `${head}Transfer-Encoding: chunked\r\n\r\n${chunks.join('')}0\r\n\r\n` };
  });

/** Cuts a text at sorted, distinct places. */
function cut(text: string, places: readonly number[]): string[] {
  const at = [...new Set(places.map((place) => place % (text.length + 1)))].toSorted((a, b) => a - b);
  return [...at, text.length]
    .map((end, index) => text.slice(index === 0 ? 0 : at[index - 1], end))
    .filter((piece) => piece !== '');
}

function bodyOf(told: readonly string[]): string {
  return told
    .map((line) => (/^(?:text|bytes) /.test(line) ? line.slice(line.indexOf(' ') + 1) : ''))
    .join('');
}

describe('the reader of answers, whatever the slicing', () => {
  it('finds the same head and body in every slicing of an answer', () => {
    fc.assert(
      fc.property(answer, fc.array(fc.nat(5000), { maxLength: 12 }), ({ text, body }, places) => {
        const whole = readAnswers('GET', [text]);
        const sliced = readAnswers('GET', cut(text, places));
        expect([whole.fault, sliced.fault]).toEqual(['', '']);
        expect(sliced.told[0]).toBe(whole.told[0]);
        expect(bodyOf(whole.told)).toBe(body);
        expect(bodyOf(sliced.told)).toBe(body);
        expect(sliced.told.at(-1)).toBe('end');
        expect([whole.persistent, sliced.persistent]).toEqual([true, true]);
      }),
      { numRuns: 2000 },
    );
  });

  it('judges changed octets alike in every slicing, and never throws', () => {
    const change = fc.tuple(fc.nat(2000), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(
        answer,
        fc.array(change, { maxLength: 4 }),
        fc.array(fc.nat(5000), { maxLength: 12 }),
        ({ text }, changes, places) => {
          const octetsOf = text.split('');
          for (const [at, code] of changes) octetsOf[at % octetsOf.length] = String.fromCharCode(code);
          const changed = octetsOf.join('');
          const whole = readAnswers('GET', [changed]);
          const sliced = readAnswers('GET', cut(changed, places));
          // A slice may end before the fault that the whole shows; it never finds one where the whole has none.
          expect(sliced.fault === '').toBe(whole.fault === '');
          expect(bodyOf(sliced.told)).toBe(bodyOf(whole.told));
        },
      ),
      { numRuns: 5000 },
    );
  });

  it('hears `end` at most once, and nothing after it', () => {
    fc.assert(
      fc.property(answer, answer, (one, two) => {
        const { told, reader } = readAnswers('GET', [one.text + two.text]);
        expect(told.filter((line) => line.startsWith('end'))).toHaveLength(1);
        expect(reader.surplus).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});
