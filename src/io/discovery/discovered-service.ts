import type { Logger } from 'pino';
import { KnownGood, type KnownGoodPolicy, type Settled } from '../../discovery/known-good.ts';
import type { DiscoveryFault, DiscoveryListener, DiscoverySource, Found } from '../../discovery/source.ts';
import { errorMessage } from '../error-message.ts';
import type { StateDir } from './state-dir.ts';

/**
 * One service whose instances are found: its source, what of the source's word is believed, and what operators are told.
 *
 * *Dark* is a source from the first question without an answer to the next good one: a watch that tells nothing has nothing to
 * tell. A set that is not believed is an answer all the same: what is held back is told by itself. Nothing that a source does
 * ends the supervisor.
 */

/** A fault that goes on is told again after this. Half: twice the lines; double: it is forgotten in a long log. */
const TELL_AGAIN_MS = 60_000;

export interface DiscoveredParts {
  readonly now: () => number;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** The full set, whenever it has changed. */
  readonly onInstances: (instances: readonly Found[]) => void;
  readonly onFault: (kind: DiscoveryFault['kind']) => void;
  /** Its figures may have changed. */
  readonly onNews: () => void;
  readonly probePasses: (url: string) => boolean;
}

export class DiscoveredService {
  readonly #service: string;
  readonly #parts: DiscoveredParts;
  readonly #known: KnownGood;
  readonly #stateDir: StateDir | undefined;
  readonly #source: DiscoverySource;
  #timer: NodeJS.Timeout | undefined = undefined;
  #answered: boolean;
  /** Undefined while it answers. */
  #darkSince: number | undefined = undefined;
  #told = '';
  #toldMs = 0;

  /** @param before what another source said, or the configuration listed, until now */
  constructor(
    service: string,
    policy: KnownGoodPolicy,
    begin: (listener: DiscoveryListener) => DiscoverySource,
    before: readonly Found[],
    stateDir: StateDir | undefined,
    parts: DiscoveredParts,
  ) {
    this.#service = service;
    this.#parts = parts;
    this.#stateDir = stateDir;
    const restored = before.length > 0 ? [] : (stateDir?.restore() ?? []);
    this.#known = new KnownGood(policy, before.length > 0 ? before : restored, before.length > 0);
    this.#answered = this.#known.instances().length > 0;
    if (restored.length > 0) {
      parts.onInstances(restored);
      parts.log.info({ service, instances: restored.length }, 'instances of the last run are taken up again');
    }
    this.#source = begin({
      onSet: (set) => {
        this.#take(set);
      },
      onFault: (fault) => {
        this.#darkSince ??= parts.now();
        this.#fault(fault);
        parts.onNews();
      },
    });
  }

  stop(): void {
    this.#source.stop();
    clearTimeout(this.#timer);
  }

  configure(policy: KnownGoodPolicy): void {
    this.#known.configure(policy);
  }

  /** There was a set to go by, an empty one or one of an earlier run included. */
  get answered(): boolean {
    return this.#answered;
  }

  get instances(): readonly Found[] {
    return this.#known.instances();
  }

  get held(): number {
    return this.#known.held;
  }

  /** How long the source has been dark; 0 while it answers. */
  darkMs(now: number): number {
    return this.#darkSince === undefined ? 0 : now - this.#darkSince;
  }

  /** What time alone changes. */
  tick(): void {
    this.#settle();
  }

  #take(set: readonly Found[]): void {
    const now = this.#parts.now();
    this.#darkSince = undefined;
    this.#known.offer(set, now);
    clearTimeout(this.#timer);
    const waitMs = this.#known.dueMs - now;
    if (waitMs <= 0) this.#settle();
    else {
      // One more: a timer may come a fraction of a millisecond early.
      this.#timer = setTimeout(() => {
        this.#settle();
      }, waitMs + 1).unref();
    }
  }

  #settle(): void {
    const { now, probePasses, onNews } = this.#parts;
    const before = this.#known.dueMs;
    try {
      const settled = this.#known.settle(now(), probePasses);
      if (before !== Infinity && this.#known.dueMs === Infinity) this.#decided(settled);
      if (settled.changed) this.#changed(settled.instances);
    } catch (error) {
      this.#fault({ kind: 'malformed', reason: errorMessage(error) });
    }
    onNews();
  }

  /** A set has been judged. */
  #decided({ fault }: Settled): void {
    this.#answered = true;
    if (fault !== undefined) {
      this.#fault(fault);
      return;
    }
    if (this.#told !== '')
      this.#parts.log.info({ service: this.#service }, 'the source of instances answers again');
    this.#told = '';
  }

  #changed(instances: readonly Found[]): void {
    const { log, onInstances } = this.#parts;
    onInstances(instances);
    this.#stateDir?.keep(instances);
    log.info(
      { service: this.#service, instances: instances.length, held: this.#known.held },
      'instances discovered',
    );
  }

  #fault({ kind, reason }: DiscoveryFault): void {
    const { now, log, onFault } = this.#parts;
    onFault(kind);
    if (this.#told === kind && now() - this.#toldMs < TELL_AGAIN_MS) return;
    this.#told = kind;
    this.#toldMs = now();
    const instances = this.#known.instances().length;
    log.warn(
      { service: this.#service, fault: kind, reason, instances },
      'the source of instances is not to be relied on: the last good set stays',
    );
  }
}
