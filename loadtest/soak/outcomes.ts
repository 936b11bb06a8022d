/**
 * How one call ended, and whether something that was done to the gateway meanwhile explains it.
 *
 * A caller knows what it wanted: an answer, an echo, a refusal of its garbage. Whatever else came is told with its moments, and only an
 * injected fault whose damage this is explains it: a reload, a new certificate, an absent Redis and a killed instance
 * that can be asked again explain nothing.
 */

/** `ok`: as wanted, be it a refusal · `left`: the caller went by itself · `limited`, `shed`: refused, as told in the answer. */
export type Ending = 'ok' | 'left' | 'limited' | 'shed' | 'failed';

export interface Outcome {
  readonly ending: Ending;
  /** Of a failure: `502 SPW_UPSTREAM_RESET`, `cut`, `refused`, `silent`, `wrong`. */
  readonly how: string;
}

export const OK: Outcome = { ending: 'ok', how: '' };
export const LEFT: Outcome = { ending: 'left', how: '' };

/** The connection ended before the answer was whole. */
export const CUT: Outcome = { ending: 'failed', how: 'cut' };

export function failed(how: string): Outcome {
  return { ending: 'failed', how };
}

const SHED = /"code":"(SPW_SHED_[A-Z_]+)"/;
const CODE = /"code":"(SPW_[A-Z_]+)"/;

/** A refusal by its status and its problem document. */
export function refusal(status: number, body: string): Outcome {
  const shed = SHED.exec(body)?.[1];
  if (shed !== undefined) return { ending: 'shed', how: shed };
  const code = CODE.exec(body)?.[1] ?? '';
  if (status === 429) return { ending: 'limited', how: code };
  return failed(`${status} ${code}`.trim());
}

/** A connection of its own ended before a byte came: closed as it was accepted, as a worker without time does. */
export const UNHEARD: Outcome = { ending: 'failed', how: 'unheard' };

/** What a connection's error says about the call on it; `heard`: bytes had come, or it had been of use before. */
export function connectionFault(error: unknown, heard: boolean): Outcome {
  const code = (error as NodeJS.ErrnoException | undefined)?.code ?? '';
  if (code === 'ECONNREFUSED') return failed('refused');
  if (!heard && (code === 'ECONNRESET' || code === 'EPIPE')) return UNHEARD;
  if (code === 'ECONNRESET' || code === 'EPIPE' || code === 'ERR_STREAM_PREMATURE_CLOSE') return CUT;
  return failed(`broken ${code === '' ? String(error) : code}`);
}

/** A call that did not end as wanted; moments are wall-clock ms, since several processes tell them. */
export interface Incident {
  readonly kind: string;
  readonly how: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * What was done, from the moment it was done until its direct effect is over. `short-of-time` is not done but found: the
 * gateway's loop was under pressure, or the callers' own timers were late. Then workers refuse to accept and to
 * repeat by design; how often that happens is a bound of its own.
 */
export interface Fault {
  readonly what: 'kill-instance' | 'kill-worker' | 'redis-away' | 'reload' | 'certificate' | 'short-of-time';
  readonly fromMs: number;
  readonly toMs: number;
}

/** Two clocks are one here; what separates the kill from the moment noted is the time a signal takes. */
const SLACK_MS = 100;

/** What a killed instance takes along: answers that had begun, tunnels, bodies that were under way. Never a connect that can be repeated. */
const INSTANCE_DAMAGE: ReadonlySet<string> = new Set([
  'cut',
  '502 SPW_UPSTREAM_RESET',
  '502 SPW_UPSTREAM_PROTOCOL',
]);
/** Repeated elsewhere by the gateway as long as nothing of the answer had come. */
const REPEATED_KINDS: ReadonlySet<string> = new Set([
  'keep-alive',
  'short',
  'tls',
  'http2',
  'pipelined',
  'limited',
]);
const WORKER_DAMAGE: ReadonlySet<string> = new Set(['cut', 'unheard']);
/** What a machine without time for its processes does to callers. Never an answer that is wrong, nor one of another's fault. */
const SHORTAGE_DAMAGE: ReadonlySet<string> = new Set([
  'unheard',
  'silent',
  'held',
  // The handshake ended in a full accept queue, and what was sent behind it comes again only seconds later.
  '408 SPW_REQUEST_TIMEOUT',
  '504 SPW_UPSTREAM_TIMEOUT',
  '502 SPW_CONNECT_FAILED',
  '502 SPW_UPSTREAM_RESET',
  '503 SPW_CIRCUIT_OPEN',
  '503 SPW_NO_READY_INSTANCE',
]);
/** A breaker that opened for it, and an instance whose probes were late, come back after this. */
const SHORTAGE_TAIL_MS = 10_000;

/** The fault that explains the incident, or undefined: a finding. */
export function explanation(incident: Incident, faults: readonly Fault[]): Fault['what'] | undefined {
  return (
    byInjection(incident, faults) ??
    faults.find(
      ({ what, fromMs, toMs }) =>
        what === 'short-of-time' &&
        SHORTAGE_DAMAGE.has(incident.how) &&
        fromMs <= incident.toMs + SLACK_MS &&
        incident.fromMs <= toMs + SHORTAGE_TAIL_MS,
    )?.what
  );
}

function byInjection(incident: Incident, faults: readonly Fault[]): Fault['what'] | undefined {
  for (const fault of faults) {
    const overlaps = fault.fromMs <= incident.toMs + SLACK_MS && incident.fromMs <= fault.toMs + SLACK_MS;
    if (!overlaps) continue;
    if (fault.what === 'kill-worker' && WORKER_DAMAGE.has(incident.how)) return fault.what;
    if (
      fault.what === 'kill-instance' &&
      INSTANCE_DAMAGE.has(incident.how) &&
      !(REPEATED_KINDS.has(incident.kind) && incident.how !== 'cut')
    )
      return fault.what;
  }
  return undefined;
}

/** What the callers' process says; counts are since the last message. */
export type FromCallers =
  | { readonly type: 'ready' }
  | {
      readonly type: 'counts';
      /** `kind ending how`, joined by a tab, and how often. */
      readonly counts: Readonly<Record<string, number>>;
      readonly incidents: readonly Incident[];
      readonly open: number;
      /** How late their own timers were at most. */
      readonly latestMs: number;
      /** Calls that were not begun since too many were open: the machine could not follow. */
      readonly skipped: number;
      readonly protocols: Readonly<Record<string, number>>;
      /** Serial numbers of certificates met since the last message. */
      readonly certificates: readonly string[];
    }
  | { readonly type: 'idle' };

export type ToCallers =
  | { readonly type: 'start'; readonly ratePerSecond: number }
  /** No more calls; `idle` is said when the last has ended. `close`: kept-alive connections are closed, otherwise left to the gateway. */
  | { readonly type: 'stop'; readonly close: boolean };

export interface CallersSettings {
  readonly port: number;
  readonly tlsPort: number;
  readonly caFile: string;
  readonly seed: number;
}
