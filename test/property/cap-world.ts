/**
 * Workers that share the limit of each of some instances, their supervisor, and the channel between them: words come late, in
 * order, or not at all, workers and the supervisor stand still, workers die, are replaced and take reloads at different times.
 * Time goes by in beats of 5 ms; everything else is the code itself.
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
  readonly instances?: number;
  /** The longest that a word is under way. */
  readonly delayMs?: number;
  /** Of all words, how many are lost. */
  readonly loss?: number;
}

interface Letter<M> {
  readonly message: M;
  readonly atMs: number;
}

type Claims = readonly [generation: number, workers: number, claims: NamedClaims];
type Grants = readonly [workers: number, grants: NamedGrants];

class Worker {
  readonly cap = new InstanceCap();
  readonly caps: WorkerCaps;
  /** At each instance. */
  readonly inFlight: number[];
  /** Of these, what does not end. */
  readonly held: number[];
  stillUntilMs = 0;
  leaves = false;
  /** What nobody has read. */
  readonly outbox: Letter<Claims>[] = [];
  readonly inbox: Letter<Grants>[] = [];

  constructor({ limit, workers, instances = 1 }: CapWorldOptions, send: (message: Claims) => void) {
    this.inFlight = Array.from({ length: instances }, () => 0);
    this.held = this.inFlight.map(() => 0);
    this.cap.configure(limit, workers);
    const service = {
      name: 'shop',
      claimCaps: (now: number) => {
        const inFlight = this.inFlight.reduce((sum, each) => sum + each, 0);
        const openCap = this.cap.at(now) * instances;
        return this.cap.claim({ inFlight, mostAtOne: Math.max(...this.inFlight), openCap }, now);
      },
      takeCaps: (...grant: Parameters<InstanceCap['take']>) => this.cap.take(...grant),
      lapseCaps: () => this.cap.lapse(),
    };
    this.caps = new WorkerCaps({
      services: () => new Map([['shop', service]]),
      send: (...message) => send(message),
      onFault: (_service, error) => {
        throw error;
      },
    });
    this.caps.configure(1, workers);
  }
}

export class CapWorld {
  now = 0;
  messages = 0;
  readonly workers: Worker[];
  readonly #options: CapWorldOptions;
  #stillUntilMs = 0;
  readonly #exchange: CapExchange<Worker>;

  constructor(options: CapWorldOptions) {
    this.#options = options;
    this.#exchange = new CapExchange<Worker>(
      (to, ...grants) => this.#post(to.inbox, grants),
      ({ leaves }) => leaves,
    );
    this.workers = Array.from({ length: options.workers }, () => this.#worker());
  }

  /** Of all workers, each standing still or not. */
  get caps(): readonly number[] {
    return this.workers.map(({ cap }) => cap.at(this.now));
  }

  /** At the instance that has the most. */
  get inFlight(): number {
    const { instances = 1 } = this.#options;
    const sums = Array.from({ length: instances }, (_, at) =>
      this.workers.reduce((sum, { inFlight }) => sum + (inFlight[at] ?? 0), 0),
    );
    return Math.max(...sums);
  }

  /** The supervisor reads nothing, and then all at once. */
  hang(ms: number): void {
    this.#stillUntilMs = this.now + ms;
  }

  standStill(index: number, ms: number): void {
    this.#at(index).stillUntilMs = this.now + ms;
  }

  /** So many at an instance do not end, until told otherwise. */
  hold(index: number, instance: number, count: number): void {
    const worker = this.#at(index);
    worker.held[instance] = count;
    worker.inFlight[instance] = Math.max(worker.inFlight[instance] ?? 0, count);
  }

  /** The worker takes a configuration of that number. */
  reload(index: number, generation: number): void {
    this.#at(index).caps.configure(generation, this.#options.workers);
  }

  retire(index: number): void {
    this.#at(index).leaves = true;
  }

  die(index: number): void {
    const worker = this.#at(index);
    this.#exchange.gone(worker);
    this.workers.splice(this.workers.indexOf(worker), 1);
  }

  join(): void {
    this.workers.push(this.#worker());
  }

  /** Each worker wants so many at each instance; of those that run one in `ends` beats ends. */
  run(ms: number, wanted: readonly number[], each: () => void = () => undefined, ends = 4): void {
    for (const untilMs = this.now + ms; this.now < untilMs; this.now += BEAT_MS) {
      if (this.#stillUntilMs <= this.now)
        for (const worker of this.workers)
          this.#read(worker.outbox, (claims) => this.#exchange.take(worker, ...claims, this.now));
      for (const [index, worker] of this.workers.entries()) this.#beat(worker, wanted[index] ?? 0, ends);
      each();
    }
  }

  #beat(worker: Worker, wanted: number, ends: number): void {
    if (worker.stillUntilMs > this.now) return;
    for (const [at, running] of worker.inFlight.entries())
      for (let left = running - (worker.held[at] ?? 0); left > 0; left--)
        if (this.#options.random() * ends < 1) worker.inFlight[at] = (worker.inFlight[at] ?? 0) - 1;
    this.#fill(worker, wanted);
    this.#read(worker.inbox, (grants) => worker.caps.receive(...grants));
    worker.caps.beat(this.now);
    this.#fill(worker, wanted);
  }

  /** What waits begins as soon as there is room. */
  #fill(worker: Worker, wanted: number): void {
    for (const [at, running] of worker.inFlight.entries())
      worker.inFlight[at] = Math.max(running, Math.min(wanted, worker.cap.at(this.now)));
  }

  #worker(): Worker {
    const worker: Worker = new Worker(this.#options, (claims) => {
      this.messages += 1;
      this.#post(worker.outbox, claims);
    });
    return worker;
  }

  #at(index: number): Worker {
    const worker = this.workers[index % this.workers.length];
    if (worker === undefined) throw new Error('nobody is left');
    return worker;
  }

  #post<M>(box: Letter<M>[], message: M): void {
    const { random, delayMs = 2, loss = 0 } = this.#options;
    if (random() < loss) return;
    box.push({ message, atMs: Math.max(box.at(-1)?.atMs ?? 0, this.now + random() * delayMs) });
  }

  #read<M>(box: Letter<M>[], read: (message: M) => void): void {
    while ((box[0]?.atMs ?? Infinity) <= this.now) {
      const letter = box.shift();
      if (letter !== undefined) read(letter.message);
    }
  }
}
