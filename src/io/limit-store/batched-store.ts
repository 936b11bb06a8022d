/**
 * A limit store over a connection, to Redis or to the supervisor: what is asked leaves with the other calls of the turn, under
 * one deadline (`turn-batches.ts`), while `StoreFitness` says that the store may be asked. What differs is how a batch is sent.
 */
import type { Random } from '../../kernel/random.ts';
import { StoreFitness } from '../../limits/fitness.ts';
import type { FitnessListener } from '../../limits/fitness.ts';
import type { LimitStore, SlotsCall, StoreCall, StoreView } from '../../limits/store.ts';
import { systemNow } from '../system-clock.ts';
import { beforeDeadline } from './before-deadline.ts';
import { RefundOrder, SlotsQuestion } from './calls.ts';
import type { Batch } from './turn-batches.ts';
import { TurnBatches } from './turn-batches.ts';

/** How often the fitness and the connection are looked at. 25 ms finds nothing earlier; 100 ms delays recovery. */
const TICK_MS = 50;

export interface BatchedStoreOptions {
  /** The longest that a decision waits, ms. */
  readonly timeoutMs: number;
  readonly random: Random;
  /** Told each change between fit and unfit, once. */
  readonly onState: FitnessListener;
  /** Told each round trip, ms. */
  readonly onTrip?: (tripMs: number) => void;
  /** Told the calls and heartbeats that got no answer in time, by what came instead. */
  readonly onUnanswered?: (kind: string, calls: number) => void;
}

export abstract class BatchedStore implements LimitStore {
  protected readonly fitness: StoreFitness;
  protected readonly batches: TurnBatches;
  readonly #timeoutMs: number;
  readonly #ticker: NodeJS.Timeout;

  /** @param mostCalls in one batch */
  constructor(options: BatchedStoreOptions, mostCalls: number) {
    this.#timeoutMs = options.timeoutMs;
    this.fitness = new StoreFitness(options.random, options.onState);
    this.batches = new TurnBatches({
      timeoutMs: options.timeoutMs,
      mostCalls,
      fitness: this.fitness,
      clock: systemNow,
      transmit: (batch) => this.transmit(batch),
      onTrip: options.onTrip,
      onUnanswered: options.onUnanswered,
    });
    this.#ticker = setInterval(() => this.tick(systemNow()), TICK_MS);
    this.#ticker.unref();
  }

  decide(call: StoreCall, now: number): boolean {
    return this.batches.add(call, now);
  }

  refund(
    keys: readonly string[],
    units: readonly number[],
    unitTicks: readonly number[],
    now: number,
  ): boolean {
    return this.batches.add(new RefundOrder(keys, units, unitTicks), now);
  }

  slots(call: SlotsCall, now: number): boolean {
    return this.batches.add(new SlotsQuestion(call), now);
  }

  abstract gateways(): number;
  abstract workers(): number;

  pauseMs(now: number): number {
    return this.fitness.pauseMs(now);
  }

  view(now: number): StoreView {
    return {
      kind: this.kind(),
      state: this.fitness.state(now),
      reason: this.fitness.reason(),
      gateways: this.gateways(),
      workers: Math.max(1, this.workers()),
      calls: this.batches.calls,
      batches: this.batches.batches,
      missed: this.batches.missed,
      failed: this.batches.failed,
    };
  }

  /** Whoever waits is told that there is no store; calls in flight may still be charged. */
  close(): void {
    clearInterval(this.#ticker);
    this.batches.close();
  }

  protected abstract kind(): StoreView['kind'];
  /** Each reply or failure is reported to `batches`. */
  protected abstract transmit(batch: Batch): void;

  /**
   * For an operator's order, which is no request's. Rejects when the store may not be asked now, or has not answered by the
   * deadline: then it may still come to it.
   */
  protected async ordered<T>(send: () => Promise<T>): Promise<T> {
    if (!this.fitness.mayAsk(systemNow())) throw new Error(this.fitness.reason());
    return await beforeDeadline(send(), this.#timeoutMs);
  }

  /** Whether a batch can be sent: a connection may be on its way out before its end is told. */
  protected abstract isOpen(): boolean;

  protected tick(now: number): void {
    this.fitness.tick(now);
    if (this.isOpen() && this.fitness.beatDue(now)) this.batches.sendBeat(now);
  }
}
