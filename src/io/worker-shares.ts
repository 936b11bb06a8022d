import type { Admission } from '../shedding/admission.ts';
import type { Share } from '../shedding/siblings.ts';
import type { NamedShares } from './ipc.ts';

/**
 * What this worker tells the others of its services, and what it hears of them.
 *
 * Told: each 50 ms one message with every service that has traffic; one that fell idle is told of once more, then never, so
 * an idle worker says nothing. Heard: the last message alone, in the next beat. Between their beats workers stand still now
 * and then; two rules keep that from being taken for the service's doing, here or elsewhere. What ended and waited around a
 * stop of ours is not told, since answers lay in our sockets meanwhile; and what lay in the channel is not heard.
 * One configuration's limits are not another's (a limit is a share of the workers), so nothing is heard across a reload.
 */

/** Half: twice the messages for no better limits in simulation; double: critical requests wait longer for room elsewhere. */
const TELL_MS = 50;
/** A beat so late is a stop, as admission.ts sees it for itself. */
const STOPPED_MS = 30;
/** After a stop of this length what comes first is old: the supervisor tells a silent worker nothing for longer. */
const OUTDATED_MS = 250;

export interface SharingService {
  readonly name: string;
  readonly admission: Pick<Admission, 'share' | 'hear'>;
}

export interface SharesParts {
  readonly services: () => ReadonlyMap<string, SharingService>;
  readonly send: (generation: number, shares: NamedShares) => void;
  /** A service's admission threw; the others go on. */
  readonly onFault: (service: string, error: unknown, now: number) => void;
}

export class WorkerShares {
  readonly #parts: SharesParts;
  #alone = true;
  #generation = -1;
  /** Services that had traffic when they were told of last. */
  readonly #busy = new Set<string>();
  #beatAtMs = Number.NEGATIVE_INFINITY;
  #toldAtMs = Number.NEGATIVE_INFINITY;
  /** Since it told last. */
  #stopped = false;
  /** How late the beat before this one was, and this one, whichever is more. */
  #lateMs = 0;
  #heard: NamedShares | undefined = undefined;

  constructor(parts: SharesParts) {
    this.#parts = parts;
  }

  /** A configuration was taken. */
  configure(generation: number, workers: number): void {
    this.#alone = workers < 2;
    this.#generation = generation;
    this.#heard = undefined;
    this.#busy.clear();
  }

  /** The sums of the others, by service. */
  receive(generation: number, sums: NamedShares): void {
    if (generation === this.#generation && !this.#alone) this.#heard = sums;
  }

  /** Every 5 ms, before the services' own beat. */
  beat(now: number): void {
    if (this.#alone) return;
    const lateMs = now - this.#beatAtMs;
    this.#beatAtMs = now;
    if (lateMs > STOPPED_MS) this.#stopped = true;
    // What the channel held comes after the late beat and before the next.
    if (Math.max(lateMs, this.#lateMs) > OUTDATED_MS) this.#heard = undefined;
    this.#lateMs = lateMs;
    if (this.#heard !== undefined) this.#hear(this.#heard, now);
    if (now - this.#toldAtMs >= TELL_MS) this.#tell(now);
  }

  #hear(sums: NamedShares, now: number): void {
    this.#heard = undefined;
    const services = this.#parts.services();
    for (const [name, others] of sums) {
      try {
        services.get(name)?.admission.hear(others, now);
      } catch (error) {
        this.#parts.onFault(name, error, now);
      }
    }
  }

  #tell(now: number): void {
    this.#toldAtMs = now;
    const shares: [string, Share][] = [];
    for (const { name, admission } of this.#parts.services().values()) {
      try {
        const share = admission.share(now);
        const busy = hasTraffic(share);
        if (!busy && !this.#busy.has(name)) continue;
        if (busy) this.#busy.add(name);
        else this.#busy.delete(name);
        shares.push([name, brief(share, this.#stopped)]);
      } catch (error) {
        this.#parts.onFault(name, error, now);
      }
    }
    this.#stopped = false;
    if (shares.length > 0) this.#parts.send(this.#generation, shares);
  }
}

function hasTraffic({ inFlight, criticalWaiting, bound, ended, awaitingAreaMs }: Share): boolean {
  return inFlight + criticalWaiting + bound + ended + awaitingAreaMs > 0;
}

/** Short in JSON; nobody acts on a hundredth of a permit. */
function brief(share: Share, stopped: boolean): Share {
  return {
    ...share,
    limit: Math.round(share.limit * 100) / 100,
    ended: stopped ? 0 : share.ended,
    awaitingAreaMs: stopped ? 0 : Math.round(share.awaitingAreaMs),
  };
}
