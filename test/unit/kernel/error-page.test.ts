import { describe, expect, it } from 'vitest';
import { builtInPage, ErrorPage, errorPageFaults, MOST_PAGE_BYTES } from '../../../src/kernel/error-page.ts';
import { ERRORS, errorRow, type ErrorCode } from '../../../src/kernel/errors.ts';
import { formatProblem } from '../../../src/kernel/problem.ts';

const CODES = Object.keys(ERRORS) as ErrorCode[];

describe("an operator's page", () => {
  it('has each placeholder filled in, wherever and however often it stands', () => {
    const page = new ErrorPage(
      '{{requestId}}<h1 title="{{title}}">{{ status }}</h1>{{detail}}{{code}}|{{requestId}}',
    );
    const { status, title, detail } = errorRow('SPW_NO_ROUTE');
    expect(page.body('SPW_NO_ROUTE', 'id-1')).toBe(
      `id-1<h1 title="${title}">${status}</h1>${detail}SPW_NO_ROUTE|id-1`,
    );
    expect(page.body('SPW_NO_ROUTE', 'id-2')).toContain('|id-2');
  });

  it('without a placeholder is shown as it is', () => {
    expect(new ErrorPage('<p>$& $1 {x} été</p>').body('SPW_INTERNAL', 'a')).toBe('<p>$& $1 {x} été</p>');
  });

  it('cannot be made to hold markup by a request id', () => {
    const page = new ErrorPage('<p title="{{requestId}}">{{requestId}}</p>');
    expect(page.body('SPW_INTERNAL', `<b>"'&$&`)).toBe(
      '<p title="&lt;b&gt;&quot;&#39;&amp;$&amp;">&lt;b&gt;&quot;&#39;&amp;$&amp;</p>',
    );
  });

  it('is for navigations only', () => {
    const page = new ErrorPage('mine {{code}}');
    const shown = formatProblem('SPW_NO_ROUTE', 'id', 'text/html,*/*;q=0.8', true, undefined, page);
    expect(shown).toEqual({ contentType: 'text/html; charset=utf-8', body: 'mine SPW_NO_ROUTE' });
    for (const accept of ['', '*/*', 'application/json', 'text/plain'])
      expect(formatProblem('SPW_NO_ROUTE', 'id', accept, false, undefined, page).body).not.toContain('mine');
  });

  it.each([
    ['', /empty/],
    [' \n', /empty/],
    ['x'.repeat(MOST_PAGE_BYTES + 1), /65537 bytes, at most 65536/],
    ['<p>{{request_id}}</p>', /`{{request_id}}`; there are {{status}} {{title}}/],
    ['\uFFFDPNG', /not UTF-8/],
  ])('that cannot be used is told so: %#', (text, wanted) => {
    expect(errorPageFaults(text)).toEqual([expect.stringMatching(wanted)]);
  });

  it('may have braces of its own: those of scripts and styles are no placeholders', () => {
    expect(errorPageFaults('<style>a{b:c}</style>{{code}}<script>if(1){{}}</script>')).toEqual([]);
  });
});

describe('the built-in page', () => {
  it('needs nothing from outside, runs nothing, and has every word of its code', () => {
    const page = builtInPage();
    for (const code of CODES) {
      const body = page.body(code, 'abc-1');
      expect(body.length).toBeLessThan(2048);
      expect(body).not.toMatch(/<script|<img|<link|href=|src=|url\(|@import|\{\{/);
      expect(body).toMatch(new RegExp(`<title>${errorRow(code).status} `));
      expect(body).toContain(`<code>${code}</code>`);
      expect(body).toContain('<code>abc-1</code>');
    }
  });

  it('says its language, its encoding and that it can be dark', () => {
    const body = builtInPage().body('SPW_NO_ROUTE', 'x');
    expect(body).toMatch(/^<!doctype html>\n<html lang="en"><head><meta charset="utf-8">/);
    expect(body).toContain('prefers-color-scheme:dark');
    expect(body).toMatch(/<main>.*<h1>/s);
  });
});
