import { errorRow, type ErrorCode } from './errors.ts';

/**
 * An operator's own page for a browser that meets a refusal (`errorPage`).
 *
 * The file is HTML with placeholders: `{{status}}`, `{{title}}`, `{{detail}}`, `{{code}}`, `{{requestId}}`, each as often as
 * wanted, each escaped so that it can stand in text and in a quoted attribute. It is taken apart once, when the
 * configuration is loaded; a refusal's page is put together at its first use, with gaps for the request id alone, since
 * refusing must stay cheap when there is much to refuse. A word in double braces that is no placeholder is a fault: it
 * would be shown to everybody as it stands.
 */

const PLACEHOLDERS = ['status', 'title', 'detail', 'code', 'requestId'] as const;
type Placeholder = (typeof PLACEHOLDERS)[number];

/** A page is sent with every refusal of a navigation. Half: a logo as a data URI is too much; double: a flood of refusals is one of bandwidth. */
export const MOST_PAGE_BYTES = 64 * 1024;

/** Texts and placeholders alternate, beginning and ending with a text. */
const GAP = /\{\{\s*([A-Za-z0-9_.-]{1,40})\s*\}\}/g;

/** What is wrong with a page, for whoever wrote it; empty when it can be used. */
export function errorPageFaults(text: string): string[] {
  const faults: string[] = [];
  const bytes = Buffer.byteLength(text);
  if (text.trim() === '') faults.push('the page is empty');
  if (bytes > MOST_PAGE_BYTES)
    faults.push(`the page has ${bytes} bytes, at most ${MOST_PAGE_BYTES} are sent with a refusal`);
  if (text.includes('\uFFFD') || text.includes('\0')) faults.push('the page is not UTF-8 text');
  for (const name of new Set([...text.matchAll(GAP)].map(([, each = '']) => each))) {
    if (!isPlaceholder(name))
      faults.push(
        `the page has \`{{${name}}}\`; there are ${PLACEHOLDERS.map((each) => `{{${each}}}`).join(' ')}`,
      );
  }
  return faults;
}

function isPlaceholder(name: string): name is Placeholder {
  return (PLACEHOLDERS as readonly string[]).includes(name);
}

export interface PageWords {
  readonly title: string;
  readonly detail: string;
}

export class ErrorPage {
  readonly #pieces: readonly string[];
  readonly #prepared = new WeakMap<PageWords, readonly string[]>();

  /** @param text as `errorPageFaults` finds nothing wrong with */
  constructor(text: string) {
    this.#pieces = text.split(GAP);
  }

  /** The whole page. @param words kept by whoever refuses so: the page is made once for each */
  body(code: ErrorCode, requestId: string, words: PageWords = errorRow(code)): string {
    let parts = this.#prepared.get(words);
    if (parts === undefined) this.#prepared.set(words, (parts = this.#prepare(code, words)));
    return parts.length === 1 ? (parts[0] ?? '') : parts.join(escapeHtml(requestId));
  }

  /** The page of a refusal, in parts between which the request id belongs. */
  #prepare(code: ErrorCode, { title, detail }: PageWords): readonly string[] {
    const values = { status: String(errorRow(code).status), title, detail, code };
    const parts = [''];
    for (const [index, piece] of this.#pieces.entries()) {
      const isName = index % 2 === 1;
      if (isName && piece === 'requestId') parts.push('');
      else parts[parts.length - 1] += isName ? escapeHtml(values[piece as keyof typeof values]) : piece;
    }
    return parts;
  }
}

/** For text and for quoted attributes. */
function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

/**
 * The page that is shown where the operator has none: small, without any outside resource or script, readable in the
 * dark, at any width, and by a screen reader.
 */
const BUILT_IN = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex"><title>{{status}} {{title}}</title>
<style>body{margin:0;display:grid;min-height:100vh;place-items:center;font:1.0625rem/1.6 system-ui,sans-serif;color:#1c1f24;background:#fafafa}
main{max-width:34rem;padding:2rem}p{margin:.5rem 0}.s{font-size:3.5rem;line-height:1;font-weight:700;color:#5b6472}h1{font-size:1.5rem;margin:.75rem 0}
small,code{color:#5b6472;overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){body{color:#e8eaed;background:#17191c}.s,small,code{color:#a3acb8}}</style></head>
<body><main><p class="s" aria-hidden="true">{{status}}</p><h1>{{title}}</h1><p>{{detail}}</p>
<p><small>If you report this, please mention <code>{{code}}</code> and the request <code>{{requestId}}</code>.</small></p></main></body></html>
`;

export function builtInPage(): ErrorPage {
  return new ErrorPage(BUILT_IN);
}
