import { builtInPage, type ErrorPage } from './error-page.ts';
import { ERRORS, errorRow, type ErrorCode, type ErrorRow } from './errors.ts';

/**
 * The body of an answer that the gateway gives by itself.
 *
 * RFC 9457 `application/problem+json` unless the caller wants something else: a browser that opens a page gets one small
 * page (`error-page.ts`, the operator's own where there is one), a caller that takes neither JSON nor HTML gets two lines of text. Refusing must be cheap
 * when there is much to refuse, so each body is built beforehand in two halves with a gap for the request id; an answer is
 * a concatenation. Texts come from the error table, or from the figures of a limit: no address, no stack, nothing an instance said. All bodies but
 * an operator's page are ASCII, so their length in characters is their length in bytes, except where `members` says otherwise.
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

/** Made once for whatever is refused in these words. */
export interface PreparedProblem {
  readonly title: string;
  readonly detail: string;
  /** Up to the request id. */
  readonly json: string;
  readonly text: Halves;
}

/** What is said instead of the error table's words: figures of a limit, no more than its caller may know. ASCII. */
export type ProblemWords = Partial<Pick<ErrorRow, 'type' | 'title' | 'detail'>>;

const JSON_TYPE = 'application/problem+json';
const HTML_TYPE = 'text/html; charset=utf-8';
const TEXT_TYPE = 'text/plain; charset=utf-8';

/** Reading more of an `Accept` than this helps nobody; lists of browsers are a third of it. */
const ACCEPT_READ = 512;

/**
 * @param requestId any text; it is escaped where it has to be.
 * @param accept the request's `Accept`, empty when it had none.
 * @param navigation a browser wants to show a page: HTML is preferred where both are taken.
 * @param members more of the JSON body, from `problemMembers`.
 * @param page the operator's own page.
 * @param prepared the words of this refusal, where the code's own say less.
 */
export function formatProblem(
  code: ErrorCode,
  requestId: string,
  accept: string,
  navigation: boolean,
  members = '',
  page: ErrorPage = BUILT_IN,
  prepared: PreparedProblem = PREPARED[code],
): Problem {
  const form = formOf(accept, navigation);
  switch (form) {
    case 'json': {
      const id = isPlain(requestId) ? requestId : JSON.stringify(requestId).slice(1, -1);
      return { contentType: JSON_TYPE, body: `${prepared.json}${id}"${members}}` };
    }
    case 'html':
      return { contentType: HTML_TYPE, body: page.body(code, requestId, prepared) };
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

/** Further members of a JSON body as its text, to be made once. */
export function problemMembers(extra: ProblemExtra): string {
  let members = '';
  for (const [name, value] of Object.entries(extra)) {
    if (!OWN_MEMBERS.has(name)) members += `,${JSON.stringify(name)}:${JSON.stringify(value)}`;
  }
  return members;
}

const OWN_MEMBERS: ReadonlySet<string> = new Set(['type', 'title', 'status', 'detail', 'code', 'requestId']);

/** The bodies of a code in other words, to be made once. */
export function prepareProblem(code: ErrorCode, words: ProblemWords = {}): PreparedProblem {
  const { type, title, status, detail } = { ...errorRow(code), ...words };
  const json = JSON.stringify({ type, title, status, detail, code }).slice(0, -1);
  return {
    title,
    detail,
    json: `${json},"requestId":"`,
    text: { before: `${status} ${title}: ${detail}\n${code} `, after: '\n' },
  };
}

const BUILT_IN = builtInPage();

const PREPARED: Readonly<Record<ErrorCode, PreparedProblem>> = Object.fromEntries(
  (Object.keys(ERRORS) as ErrorCode[]).map((code) => [code, prepareProblem(code)]),
) as Record<ErrorCode, PreparedProblem>;
