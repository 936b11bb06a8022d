import { Buffer } from 'node:buffer';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Random } from '../../src/kernel/random.ts';
import { ERRORS, type ErrorCode } from '../../src/kernel/errors.ts';
import { headerOf, openRaw, readAnswers, type RawAnswer } from '../harness/raw.ts';
import type { Expectation } from './expectations.ts';
import type { RawOrigin, Seen } from './raw-origin.ts';

/**
 * The judge of one case of the corpus (forwarding.md §7): sends the bytes, reads the answers strictly, looks at what the origin
 * saw, and says in words what was wrong. An empty list is an acquittal.
 */

export interface RawCase {
  readonly id: string;
  readonly name: string;
  readonly rawBase64: string;
  /** FIN after the bytes. */
  readonly halfClose: boolean;
  readonly wanted: string;
}

/** Alone, or on one connection with a good request in front of it or behind it. */
export type Placement = 'alone' | 'after a good one' | 'before a good one';

/** How the bytes are cut into writes: offsets, ascending. */
export type Cuts = (length: number) => readonly number[];

export const WHOLE: Cuts = () => [];
/** Of very long cases the middle, which is all alike, goes in larger pieces. */
export const BYTE_BY_BYTE: Cuts = (length) =>
  Array.from({ length: length - 1 }, (_, index) => index + 1).filter(
    (at) => at < EDGE_BYTES || at > length - EDGE_BYTES || at % MIDDLE_BYTES === 0,
  );
const EDGE_BYTES = 300;
const MIDDLE_BYTES = 97;

/** One to eight cuts anywhere. */
export function randomCuts(random: Random): Cuts {
  return (length) => {
    const count = 1 + Math.floor(random() * 8);
    const cuts = Array.from({ length: count }, () => 1 + Math.floor(random() * Math.max(1, length - 1)));
    return [...new Set(cuts)].sort((a, b) => a - b);
  };
}

const GOOD = Buffer.from('GET /good HTTP/1.1\r\nHost: good.example\r\n\r\n', 'latin1');
/** How long an answer or a close may take: above what a busy machine needs, below the ten seconds in which a head must come. */
const PATIENCE_MS = 8000;
/** The second of the design, and one more for a machine that is busy elsewhere. */
const CLOSE_MS = 2000;

export interface Trial {
  readonly port: number;
  readonly origin: RawOrigin;
  readonly rawCase: RawCase;
  readonly expectation: Expectation;
  readonly placement: Placement;
  readonly cuts: Cuts;
}

export async function judge(trial: Trial): Promise<string[]> {
  const { port, origin, rawCase, expectation, placement } = trial;
  const raw = Buffer.from(rawCase.rawBase64, 'base64');
  const method = /^\s*([A-Z]+)/.exec(raw.toString('latin1'))?.[1] ?? 'GET';
  const bytes =
    placement === 'alone' ? raw : Buffer.concat(placement === 'after a good one' ? [GOOD, raw] : [raw, GOOD]);
  const methods = placement === 'after a good one' ? ['GET', method] : [method, 'GET'];
  origin.forget();

  await using connection = await openRaw(port);
  let from = 0;
  for (const cut of [...trial.cuts(bytes.length), bytes.length]) {
    if (connection.isClosed()) break;
    connection.write(bytes.subarray(from, cut));
    from = cut;
    await nextTurn();
  }
  if (rawCase.halfClose) connection.halfClose();

  const faults: string[] = [];
  const most = placement === 'alone' ? 1 : 2;
  const count = (text: string, closed: boolean): number =>
    readAnswers(text, closed, methods).answers.filter(({ complete, status }) => complete && status >= 200)
      .length;
  try {
    await connection.until((text, closed) => closed || count(text, closed) >= most, PATIENCE_MS);
  } catch {
    faults.push(`no ${most} answers in ${PATIENCE_MS} ms`);
  }
  if (expectation.closes) {
    try {
      await connection.untilClosed(CLOSE_MS);
    } catch {
      faults.push('the connection stays open');
    }
  }
  // Our end of the connection ends it in any case, so that nothing more can come and be missed.
  if (!connection.isClosed() && !rawCase.halfClose) connection.halfClose();
  try {
    await connection.untilClosed(PATIENCE_MS);
  } catch {
    faults.push('the connection does not end after a FIN');
  }
  const read = readAnswers(connection.received(), true, methods);
  if (read.rest !== '') faults.push(`bytes that are no answer: ${JSON.stringify(read.rest.slice(0, 80))}`);
  faults.push(...judgeAnswers(read.answers, trial));
  await origin.until(({ pending }) => pending === 0, CLOSE_MS);
  faults.push(...judgeOrigin(origin.seen(), read.answers, trial));
  return faults;
}

function judgeAnswers(answers: readonly RawAnswer[], { expectation, placement }: Trial): string[] {
  const faults: string[] = [];
  const left = [...answers];
  if (placement === 'after a good one') {
    const good = left.shift();
    if (good === undefined) return ['the good request in front has no answer'];
    if (good.status !== 200 || good.body !== 'ok')
      faults.push(`the good request in front: ${good.status} ${good.body}`);
  }
  const answer = left.shift();
  if (answer === undefined) {
    // Behind a running answer a broken connection may simply end (D13); alone somebody is there to be told.
    const maySayNothing =
      expectation.mayBeSilent === true || (placement === 'after a good one' && expectation.closes);
    return maySayNothing ? faults : [...faults, 'no answer'];
  }
  faults.push(...judgeAnswer(answer, expectation));
  const next = left.shift();
  if (placement === 'before a good one') {
    if (next !== undefined && next.status !== 200) faults.push(`the good request behind: ${next.status}`);
    if (next !== undefined && expectation.closes) faults.push('answered a request behind one that closes');
    const mayEnd = expectation.closes || answer.status >= 400 || headerOf(answer, 'connection') === 'close';
    if (next === undefined && !mayEnd) faults.push('the good request behind has no answer');
  } else if (next !== undefined) faults.push(`one answer too many: ${next.status}`);
  if (left.length > 0) faults.push(`${left.length} answers too many`);
  return faults;
}

function judgeAnswer(answer: RawAnswer, expectation: Expectation): string[] {
  const faults: string[] = [];
  const { status } = answer;
  if (!expectation.statuses.includes(status))
    faults.push(`status ${status} instead of ${expectation.statuses.join('/')}`);
  if (!answer.complete) faults.push('the answer is cut');
  if (expectation.allow === true && headerOf(answer, 'allow') === undefined) faults.push('no Allow');
  if (status >= 400 && answer.body !== '') {
    if (headerOf(answer, 'content-type') !== 'application/problem+json') faults.push('not problem+json');
    else faults.push(...judgeProblem(answer));
  }
  return faults;
}

function judgeProblem({ body, status }: RawAnswer): string[] {
  try {
    const problem = JSON.parse(body) as { readonly status?: unknown; readonly code?: unknown };
    const row =
      typeof problem.code === 'string' && problem.code in ERRORS
        ? ERRORS[problem.code as ErrorCode]
        : undefined;
    if (row?.status !== status || problem.status !== status)
      return [`the problem says ${String(problem.code)} in a ${status}`];
    return [];
  } catch {
    return ['the problem is no JSON'];
  }
}

function judgeOrigin(seen: Seen, answers: readonly RawAnswer[], { expectation, placement }: Trial): string[] {
  const faults = seen.faults.map((fault) => `upstream got what is no HTTP: ${fault}`);
  const others = seen.requests.filter(({ target }) => target !== '/good');
  const good = seen.requests.length - others.length;
  if (good > (placement === 'alone' ? 0 : 1)) faults.push(`the good request went upstream ${good} times`);
  if (placement === 'before a good one' && expectation.closes && good > 0) {
    faults.push('a request behind one that closes went upstream');
  }
  const upstream =
    expectation.upstream !== 'either'
      ? expectation.upstream
      : answers.at(-1)?.status === 200
        ? 'served'
        : 'none';
  const wanted = upstream === 'served' ? 1 : 0;
  if (others.length !== wanted) faults.push(`${others.length} requests upstream instead of ${wanted}`);
  if (seen.pending > 0) faults.push('an unfinished request hangs upstream');
  if (upstream !== 'broken' && seen.partialBytes > 0) faults.push(`${seen.partialBytes} bytes over upstream`);
  if (upstream === 'none' && placement === 'alone' && seen.connections > 0)
    faults.push('a refused request reached upstream');
  const [request] = others;
  if (request !== undefined && upstream === 'served') {
    const fault = expectation.request?.(request) ?? '';
    if (fault !== '') faults.push(fault);
  }
  return faults;
}
