import { ResponseReader } from '../../../src/forwarding/response-reader.ts';

/** Reads pieces of one answer, a character an octet, and notes what the reader tells as lines of text. */
export function readAnswers(
  method: string,
  pieces: readonly string[],
  options: { readonly stopAt?: string } = {},
): {
  readonly told: string[];
  readonly fault: string;
  readonly persistent: boolean;
  readonly reader: ResponseReader;
} {
  const told: string[] = [];
  const note = (what: string, text: string): void => {
    told.push(text === '' ? what : `${what} ${text}`);
    if (what === options.stopAt) reader.stop();
  };
  const reader = new ResponseReader({
    interim: (status, raw) => note('interim', [status, ...pairs(raw)].join(' ')),
    head: (status, raw) => note('head', [status, ...pairs(raw)].join(' ')),
    text: (body) => note('text', body),
    bytes: (chunk) => note('bytes', chunk.toString('latin1')),
    end: (trailers) => note('end', pairs(trailers).join(' ')),
  });
  reader.begin(method);
  let fault = '';
  for (const piece of pieces) {
    const bytes = Buffer.from(piece, 'latin1');
    fault = reader.read(bytes, bytes.length);
    if (fault !== '') break;
  }
  return { told, fault, persistent: reader.persistent, reader };
}

function pairs(raw: readonly string[]): string[] {
  return raw.flatMap((name, index) => (index % 2 === 0 ? [`${name}=${raw[index + 1] ?? ''}`] : []));
}
