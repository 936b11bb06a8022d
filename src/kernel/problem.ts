import { ERRORS, errorRow, type ErrorCode } from './errors.ts';

/**
 * The body of an answer that the gateway gives by itself.
 *
 * RFC 9457 `application/problem+json` unless the caller wants something else: a browser that opens a page gets one small
 * page without any outside resource, a caller that takes neither JSON nor HTML gets two lines of text. Refusing must be cheap
 * when there is much to refuse, so each body is built beforehand in two halves with a gap for the request id; an answer is
 * a concatenation. Texts come from the error table alone: no address, no stack, nothing an instance said. All bodies are
 * ASCII, so their length in characters is their length in bytes, except where `extra` says otherwise.
 * Quality values in `Accept` are not weighed: naming a type is wanting it.
 */

export interface Problem {
  readonly contentType: string;
  readonly body: string;
}

/** More members for the JSON body; a name that the problem has itself is not overwritten. */
export type ProblemExtra = Readonly<Record<string, string | number | boolean | readonly string[]>>;

interface Halves {
  readonly before: string;
  readonly after: string;
}

interface Prepared {
  readonly json: Halves;
  readonly html: Halves;
  readonly text: Halves;
}

const JSON_TYPE = 'application/problem+json';
const HTML_TYPE = 'text/html; charset=utf-8';
const TEXT_TYPE = 'text/plain; charset=utf-8';

/** Reading more of an `Accept` than this helps nobody; lists of browsers are a third of it. */
const ACCEPT_READ = 512;

/**
 * @param requestId any text; it is escaped where it has to be.
 * @param accept the request's `Accept`, empty when it had none.
 * @param navigation a browser wants to show a page: HTML is preferred where both are taken.
 */
export function formatProblem(
  code: ErrorCode,
  requestId: string,
  accept: string,
  navigation: boolean,
  extra?: ProblemExtra,
): Problem {
  const prepared = PREPARED[code];
  const form = formOf(accept, navigation);
  switch (form) {
    case 'json': {
      const id = isPlain(requestId) ? requestId : JSON.stringify(requestId).slice(1, -1);
      const end = extra === undefined ? prepared.json.after : `"${moreMembers(extra)}}`;
      return { contentType: JSON_TYPE, body: prepared.json.before + id + end };
    }
    case 'html': {
      const id = isPlain(requestId) ? requestId : escapeHtml(requestId);
      return { contentType: HTML_TYPE, body: prepared.html.before + id + prepared.html.after };
    }
    case 'text':
      return { contentType: TEXT_TYPE, body: prepared.text.before + requestId + prepared.text.after };
    default:
      return form satisfies never;
  }
}

function formOf(accept: string, navigation: boolean): 'json' | 'html' | 'text' {
  if (accept === '' || accept === '*/*') return 'json';
  const read = (accept.length > ACCEPT_READ ? accept.slice(0, ACCEPT_READ) : accept).toLowerCase();
  const any = read.includes('*/*');
  const html = any || read.includes('text/html') || read.includes('application/xhtml');
  if (navigation && html) return 'html';
  if (any || read.includes('application/json') || read.includes('+json') || read.includes('application/*'))
    return 'json';
  return html ? 'html' : 'text';
}

/** Letters, digits and what our ids are made of: nothing that any of the three forms would escape. */
function isPlain(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || code > 0x7e) return false;
    if (code === 34 || code === 38 || code === 39 || code === 60 || code === 62 || code === 92) return false;
  }
  return true;
}

function moreMembers(extra: ProblemExtra): string {
  let members = '';
  for (const [name, value] of Object.entries(extra)) {
    if (!OWN_MEMBERS.has(name)) members += `,${JSON.stringify(name)}:${JSON.stringify(value)}`;
  }
  return members;
}

const OWN_MEMBERS: ReadonlySet<string> = new Set(['type', 'title', 'status', 'detail', 'code', 'requestId']);

function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

function prepare(code: ErrorCode): Prepared {
  const { type, title, status, detail } = errorRow(code);
  const json = JSON.stringify({ type, title, status, detail, code }).slice(0, -1);
  const shown = escapeHtml(title);
  return {
    json: { before: `${json},"requestId":"`, after: '"}' },
    html: {
      before:
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">' +
        `<title>${status} ${shown}</title><style>body{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;` +
        'padding:0 1em;color:#222;background:#fff}small{color:#666}@media(prefers-color-scheme:dark){body{color:#ddd;' +
        `background:#181818}small{color:#999}}</style></head><body><h1>${status} ${shown}</h1><p>${escapeHtml(detail)}</p>` +
        `<p><small>${code} &middot; `,
      after: '</small></p></body></html>\n',
    },
    text: { before: `${status} ${title}: ${detail}\n${code} `, after: '\n' },
  };
}

const PREPARED: Readonly<Record<ErrorCode, Prepared>> = Object.fromEntries(
  (Object.keys(ERRORS) as ErrorCode[]).map((code) => [code, prepare(code)]),
) as Record<ErrorCode, Prepared>;
