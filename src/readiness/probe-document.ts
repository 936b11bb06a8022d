import type { Evidence } from '../kernel/evidence.ts';
import { readDocument, type ReadinessDocument } from './document-words.ts';

/**
 * From the answer to a probe to evidence.
 *
 * Signal: status, content type, notice header, body. Decision, the first that matches: a drain notice; 429 is void; a status
 * ≥ 500 is an explicit no and beats any document; a wrong identity is one too (a reused address of another service must
 * not pass); 3xx and 4xx are absence, since whoever answers so does not know the question; then the document's word, and
 * without one the status. Which checks are required is the service's own list, not the document's: an instance whose only
 * failing checks are optional warns, even if it calls itself failed.
 * A bare 503 takes sessions away at once; a 503 with a notice is a drain, whose sessions stay for their time.
 * Limits: a required check that an instance does not report counts as passing.
 */

export interface ProbeAnswer {
  readonly status: number;
  /** Header values as received; empty when absent. */
  readonly contentType: string;
  readonly drainHeader: string;
  readonly serviceHeader: string;
  /** At most `MAX_PROBE_BYTES`; undefined when it was longer. */
  readonly body: string | undefined;
}

export interface ProbeExpectation {
  /** Checks named in `dependsOn`. */
  readonly requiredChecks: readonly string[];
  readonly optionalChecks: readonly string[];
  /** The name that the instance must give, if any. */
  readonly identity: string | undefined;
}

/** A readiness document names what is wrong; more is a page that somebody took for one. */
export const MAX_PROBE_BYTES = 65_536;

export const NOTHING_EXPECTED: ProbeExpectation = {
  requiredChecks: [],
  optionalChecks: [],
  identity: undefined,
};

export function evidence(
  kind: Evidence['kind'],
  reason: string,
  failingChecks: readonly string[] = [],
): Evidence {
  return { kind, reason, failingChecks, refused: false };
}

/** A closed port. */
export const REFUSED: Evidence = {
  kind: 'absent',
  reason: 'connection refused',
  failingChecks: [],
  refused: true,
};

/** Nothing came in time. */
export const TIMED_OUT: Evidence = { ...evidence('absent', 'timeout'), timedOut: true };

/** Judges an answer; total, whatever the instance sends. */
export function judgeAnswer(answer: ProbeAnswer, expected: ProbeExpectation): Evidence {
  const { status, body } = answer;
  const parsed = documentOf(answer);
  const document = parsed === 'malformed' ? undefined : parsed;
  const failing = document?.failing ?? [];
  if (status < 500 || status === 503) {
    if (answer.drainHeader === '1' || document?.draining === true) {
      return evidence('drain', 'the instance says that it drains', failing);
    }
  }
  if (status === 429) return evidence('void', 'status 429');
  if (status >= 500) return evidence('explicit', withChecks(`status ${status}`, failing), failing);
  if (status < 200 || status >= 300) return evidence('absent', `status ${status}`);
  if (body === undefined) return evidence('absent', 'answer longer than 64 KiB');
  if (parsed === 'malformed') return evidence('absent', 'malformed document');
  const { identity } = expected;
  if (identity !== undefined && identity !== answer.serviceHeader && identity !== document?.serviceId) {
    return evidence('explicit', 'another service answers at this address'); // its checks are no business of ours
  }
  return document === undefined ? evidence('pass', '') : judgeDocument(document, expected);
}

function judgeDocument({ word, failing }: ReadinessDocument, expected: ProbeExpectation): Evidence {
  const required = failing.filter((name) => expected.requiredChecks.includes(name));
  if (required.length > 0) return evidence('explicit', withChecks('', required), failing);
  if (word === 'fail') {
    const allOptional = failing.length > 0 && failing.every((name) => expected.optionalChecks.includes(name));
    if (!allOptional) return evidence('explicit', withChecks('the document says fail', failing), failing);
  }
  if (word === 'warn' || failing.length > 0) {
    return evidence('warn', withChecks(failing.length > 0 ? '' : 'the document says warn', failing), failing);
  }
  return evidence('pass', '');
}

/** The document in the body, undefined when the body is none, or the fault. */
function documentOf({ contentType, body }: ProbeAnswer): ReadinessDocument | undefined | 'malformed' {
  const semicolon = contentType.indexOf(';');
  const type = (semicolon < 0 ? contentType : contentType.slice(0, semicolon)).trim().toLowerCase();
  const health = type === 'application/health+json';
  if (body === undefined || (!health && type !== 'application/json' && !type.endsWith('+json'))) {
    return undefined;
  }
  try {
    return readDocument(JSON.parse(body)) ?? (health ? 'malformed' : undefined);
  } catch {
    // Plain JSON types are put on anything, `OK` included; only the health type promises a document.
    return health ? 'malformed' : undefined;
  }
}

function withChecks(what: string, checks: readonly string[]): string {
  if (checks.length === 0) return what;
  const list = `${checks.length === 1 ? 'check' : 'checks'} ${checks.join(', ')} failing`;
  return what === '' ? list : `${what}, ${list}`;
}
