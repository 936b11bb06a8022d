/**
 * Workers that share one limit, their supervisor, and the channel between them: words come late, in order, or not at all,
 * workers stand still and die. Time goes by in beats of 5 ms; everything else is the code itself.
 */
import { CapExchange } from '../../src/io/cap-exchange.ts';
import type { NamedClaims, NamedGrants } from '../../src/io/ipc.ts';
import { WorkerCaps } from '../../src/io/worker-caps.ts';
import type { Random } from '../../src/kernel/random.ts';
import { InstanceCap } from '../../src/upstreams/instance-cap.ts';

const BEAT_MS = 5;

export interface CapWorldOptions {
  readonly limit: number;
  readonly workers: number;
  readonly random: Random;
  /** The longest that a word is under way. */
  readonly delayMs?: number;
  /** Of all words, how many are lost. */
  readonly loss?: number;
}

class Worker {
  readonly cap = new InstanceCap();
  readonly caps: WorkerCaps;
  inFlight = 0;
  waiting = 0;
  stillUntilMs = 0;
  /** Grants that nobody has read. */
  readonly inbox: { readonly workers: number; readonly grants: NamedGrants; readonly atMs: number }[] = [];
  lastAtMs = 0;

  constructor({ limit, workers }: CapWorldOptions, send: (claims: NamedClaims) => void) {
    this.cap.configure(limit, workers);
    const service = {
      name: 'shop',
      claimCaps: (now: number) => {
        const { inFlight, waiting } = this;
        const use = { inFlight, mostAtOne: inFlight, openCap: this.cap.at(now) };
        return this.cap.claim(use, waiting, now);
      },
      takeCaps: (...grant: Parameters<InstanceCap['take']>) => this.cap.take(...grant),
    };
    this.caps = new WorkerCaps({
      services: () => new Map([['shop', service]]),
      send: (_generation, _workers, claims) => send(claims),
    });
    this.caps.configure(1, workers);
  }
}

export class CapWorld {
  now = 0;
  messages = 0;
  readonly workers: Worker[];
  readonly #options: CapWorldOptions;
  #silent = false;
  readonly #claims: { readonly from: Worker; readonly claims: NamedClaims; readonly atMs: number }[] = [];
  readonly #exchange: CapExchange<Worker>;

  constructor(options: CapWorldOptions) {
    this.#options = options;
    this.#exchange = new CapExchange((to, workers, grants) => {
      if (this.#silent || this.#isLost()) return;
      to.lastAtMs = Math.max(to.lastAtMs, this.now + this.#delay());
      to.inbox.push({ workers, grants, atMs: to.lastAtMs });
    });
    this.workers = Array.from({ length: options.workers }, () => this.#worker());
  }

  /** Of all workers, each standing still or not. */
  get caps(): readonly number[] {
    return this.workers.map(({ cap }) => cap.at(this.now));
  }

  get inFlight(): number {
    return this.workers.reduce((sum, { inFlight }) => sum + inFlight, 0);
  }

  /** From now on no grant comes. */
  silence(): void {
    this.#silent = true;
  }

  standStill(index: number, ms: number): void {
    const worker = this.workers[index % this.workers.length];
    if (worker !== undefined) worker.stillUntilMs = this.now + ms;
  }

  die(index: number): void {
    const at = index % this.workers.length;
    const worker = this.workers[at];
    if (worker === undefined) return;
    this.#exchange.gone(worker);
    for (let each = this.#claims.length - 1; each >= 0; each--)
      if (this.#claims[each]?.from === worker) this.#claims.splice(each, 1);
    this.workers.splice(at, 1);
  }

  /** Another in place of one that died. */
  join(): void {
    this.workers.push(this.#worker());
  }

  /** Each worker has so many that run or wait; of those that run one in `ends` beats ends. */
  run(ms: number, wanted: readonly number[], each: () => void = () => undefined, ends = 4): void {
    for (const untilMs = this.now + ms; this.now < untilMs; this.now += BEAT_MS) {
      while ((this.#claims[0]?.atMs ?? Infinity) <= this.now) {
        const letter = this.#claims.shift();
        if (letter !== undefined)
          this.#exchange.take(letter.from, 1, this.#options.workers, letter.claims, this.now);
      }
      for (const [index, worker] of this.workers.entries()) this.#beat(worker, wanted[index] ?? 0, ends);
      each();
    }
  }

  #beat(worker: Worker, wanted: number, ends: number): void {
    if (worker.stillUntilMs > this.now) return;
    for (let left = worker.inFlight; left > 0; left--)
      if (this.#options.random() * ends < 1) worker.inFlight -= 1;
    while ((worker.inbox[0]?.atMs ?? Infinity) <= this.now) {
      const letter = worker.inbox.shift();
      if (letter !== undefined) worker.caps.receive(letter.workers, letter.grants);
    }
    worker.caps.beat(this.now);
    const fits = Math.max(worker.inFlight, Math.min(wanted, worker.cap.at(this.now)));
    worker.inFlight = fits;
    worker.waiting = Math.max(0, wanted - fits);
  }

  #worker(): Worker {
    const worker: Worker = new Worker(this.#options, (claims) => {
      this.messages += 1;
      if (this.#isLost()) return;
      const before = this.#claims.findLast(({ from }) => from === worker)?.atMs ?? 0;
      this.#claims.push({ from: worker, claims, atMs: Math.max(before, this.now + this.#delay()) });
      this.#claims.sort((a, b) => a.atMs - b.atMs);
    });
    return worker;
  }

  #delay(): number {
    return this.#options.random() * (this.#options.delayMs ?? 2);
  }

  #isLost(): boolean {
    return this.#options.random() < (this.#options.loss ?? 0);
  }
}
