import { describe, expect, it } from 'vitest';
import { ERRORS, errorRow, type ErrorCode } from '../../../src/kernel/errors.ts';
import { formatProblem, problemMembers } from '../../../src/kernel/problem.ts';

const CODES = Object.keys(ERRORS) as ErrorCode[];
const CHROME = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8';

describe('the body of a refusal', () => {
  it.each(CODES)('%s is problem+json with the row of the table', (code) => {
    const { contentType, body } = formatProblem(code, 'req-00000001', '*/*', false);
    const { type, title, status, detail } = errorRow(code);
    expect(contentType).toBe('application/problem+json');
    expect(JSON.parse(body)).toEqual({ type, title, status, detail, code, requestId: 'req-00000001' });
  });

  it('is valid whatever the request id holds', () => {
    for (const id of ['"', '\\', '\n', '\u2028', '</script>', '\uD800', '', 'ü', '&']) {
      expect(JSON.parse(formatProblem('SPW_NO_ROUTE', id, '', false).body)).toMatchObject({ requestId: id });
      const page = formatProblem('SPW_NO_ROUTE', `<b>"'&${id}`, 'text/html', true).body;
      expect(page).toContain('&lt;b&gt;&quot;&#39;&amp;');
      expect(page).not.toContain('<b>');
    }
  });

  it('may carry more members, but none that is taken', () => {
    const extra = { 'violated-policies': ['client'], code: 'x', limit: 5 };
    const { body } = formatProblem('SPW_RATE_CLIENT', 'id', '', false, problemMembers(extra));
    expect(JSON.parse(body)).toMatchObject({
      code: 'SPW_RATE_CLIENT',
      'violated-policies': ['client'],
      limit: 5,
    });
  });

  it('is one page without outside resources for a browser that opens one', () => {
    const { contentType, body } = formatProblem('SPW_SHED_OVERLOAD', 'req-00000001', CHROME, true);
    expect(contentType).toBe('text/html; charset=utf-8');
    expect(body).toContain('503 Overloaded');
    expect(body).toContain('SPW_SHED_OVERLOAD');
    expect(body).toContain('req-00000001');
    expect(body).not.toMatch(/https?:|src=|href=|url\(|@import/);
  });

  it.each([
    ['', true, 'application/problem+json'],
    ['*/*', true, 'application/problem+json'],
    [CHROME, true, 'text/html; charset=utf-8'],
    [CHROME, false, 'application/problem+json'],
    ['application/json', true, 'application/problem+json'],
    ['application/vnd.api+json', false, 'application/problem+json'],
    ['application/*', false, 'application/problem+json'],
    ['text/html', false, 'text/html; charset=utf-8'],
    ['image/*,*/*;q=0.8', false, 'application/problem+json'],
    ['text/plain', false, 'text/plain; charset=utf-8'],
    ['image/png', true, 'text/plain; charset=utf-8'],
    [`${'x/y,'.repeat(5000)}*/*`, false, 'text/plain; charset=utf-8'],
  ])('for Accept %j (navigation %s) is %s', (accept, navigation, wanted) => {
    expect(formatProblem('SPW_NO_ROUTE', 'id', accept, navigation).contentType).toBe(wanted);
  });

  it('is text for a caller that takes neither', () => {
    const { body } = formatProblem('SPW_NO_ROUTE', 'req-1', 'text/plain', false);
    expect(body).toBe('404 Not found: No route leads here.\nSPW_NO_ROUTE req-1\n');
  });
});
