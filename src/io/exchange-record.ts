import { errorRow, type ErrorCode } from '../kernel/errors.ts';
import { priorityOf } from '../kernel/priority.ts';
import type { Charge, LimitDecision } from '../limits/decision.ts';
import type { AccessRecord } from './access-line.ts';
import type { Exchange } from './exchange.ts';
import { ShedNote } from './shed-note.ts';

/**
 * What a request leaves behind when it is over, filled in place: one record a request would outlive a collection of
 * young objects and cost more than the step that makes it.
 */

/** A limit as it stood after the decision. */
interface LevelTold {
  readonly level: string;
  readonly remaining: number;
  readonly waitMs: number;
  readonly fullMs: number;
}

const FIGURES_PER_LEVEL = 3;

/**
 * What the limits said, as plain numbers written over in place: a decision kept for every request would outlive its
 * generation, and the collector would copy it twice.
 */
class LimitNote {
  #decided = false;
  #path: LimitDecision['path'] = 'none';
  #refusedBy: LimitDecision['refusedBy'] = '';
  #retryAfterMs = 0;
  #observed: LimitDecision['observed'] = [];
  #charges: readonly Charge[] = [];
  /** Only grows, so that filling it anew allocates nothing. */
  readonly #figures: number[] = [];
  #levels = 0;
  /** Requests that the client may have in flight, 0: any number; and how many this worker had, 0: it got no slot. */
  #concurrency = 0;
  #inFlight = 0;

  fill({ decision, charges, slotLimit, clientInFlight }: Exchange): void {
    this.#decided = decision !== undefined;
    if (decision === undefined) return;
    this.#concurrency = slotLimit?.most ?? 0;
    this.#inFlight = clientInFlight;
    this.#path = decision.path;
    this.#refusedBy = decision.refusedBy;
    this.#retryAfterMs = decision.retryAfterMs;
    this.#observed = decision.observed;
    this.#charges = charges;
    const { levels } = decision;
    this.#levels = levels.length;
    for (let level = 0; level < levels.length; level++) {
      const { remaining = 0, waitMs = 0, fullMs = 0 } = levels[level] ?? {};
      const at = level * FIGURES_PER_LEVEL;
      this.#figures[at] = remaining;
      this.#figures[at + 1] = waitMs;
      this.#figures[at + 2] = fullMs;
    }
  }

  told(): unknown {
    if (!this.#decided) return undefined;
    const levels: LevelTold[] = [];
    for (let at = 0; at < this.#levels * FIGURES_PER_LEVEL; at += FIGURES_PER_LEVEL) {
      const [remaining = 0, waitMs = 0, fullMs = 0] = this.#figures.slice(at, at + FIGURES_PER_LEVEL);
      levels.push({ level: this.#charges[at / FIGURES_PER_LEVEL]?.level ?? '', remaining, waitMs, fullMs });
    }
    return {
      path: this.#path,
      refusedBy: this.#refusedBy,
      retryAfterMs: this.#retryAfterMs,
      levels,
      observed: this.#observed,
      concurrency:
        this.#concurrency === 0 ? undefined : { limit: this.#concurrency, inFlightHere: this.#inFlight },
    };
  }
}

/**
 * One finished request as the access log and `explain` tell it: what happened, and why it went so. The object is filled
 * anew for another request once the ring comes round to it: whoever wants to keep what it says takes `told`.
 */
export class ExchangeRecord implements AccessRecord {
  wallMs = 0;
  requestId = '';
  client = '';
  tier = '';
  priority = '';
  route = '';
  service = '';
  instance = '';
  method = '';
  path = '';
  status = 0;
  code: ErrorCode | '' = '';
  reason = '';
  durationMs = 0;
  queueMs = 0;
  upstreamMs = 0;
  bytesIn = 0;
  bytesOut = 0;
  attempts = 0;
  pick = '';
  affinity = '';
  abortedBy = '';
  readonly #limits = new LimitNote();
  readonly #shed = new ShedNote();

  /** @param status as it is told: 499 for a caller who left @param now monotonic ms of the end */
  fill(exchange: Exchange, status: number, now: number): void {
    const { route, headMs, firstAttemptMs } = exchange;
    this.wallMs = exchange.worker.wallMs();
    this.requestId = exchange.requestId;
    this.client = exchange.client;
    this.tier = exchange.tier;
    this.priority = priorityOf(exchange.rank);
    this.route = route?.name ?? '';
    this.service = route?.service.name ?? '';
    this.instance = exchange.instance;
    this.method = exchange.req.method ?? '';
    this.path = keptPath(exchange);
    this.status = status;
    this.code = exchange.code;
    this.reason = exchange.reason;
    this.durationMs = now - exchange.startedMs;
    this.queueMs = exchange.queuedMs;
    this.upstreamMs = firstAttemptMs === 0 ? 0 : (headMs === 0 ? now : headMs) - firstAttemptMs;
    this.bytesIn = exchange.body?.bytes ?? exchange.bytesIn;
    this.bytesOut = exchange.bytesOut;
    this.attempts = exchange.attempts;
    this.pick = exchange.pickReason;
    this.affinity = exchange.affinityResult;
    this.abortedBy = exchange.abortedBy;
    this.#limits.fill(exchange);
    this.#shed.take(exchange.shedFigures);
  }

  /** As `explain` shows it; a refusal that says no more has the words of its code. */
  told(): unknown {
    const reason = this.reason === '' && this.code !== '' ? errorRow(this.code).detail : this.reason;
    return Object.assign({}, this, { reason, limits: this.#limits.told(), shedding: this.#shed.told() });
  }
}

/** Half cuts honest paths; double lets a flood of long targets hold 16 MiB in the ring instead of 8. */
const MAX_PATH_CHARS = 1024;

/** A long path is a window into its whole target: cut, and copied so that the rest is let go. */
function keptPath({ path, query }: Exchange): string {
  if (path.length + query.length <= MAX_PATH_CHARS) return path;
  return Buffer.from(path.slice(0, MAX_PATH_CHARS + 1), 'latin1').toString('latin1');
}
