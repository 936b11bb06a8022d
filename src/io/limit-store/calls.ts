/**
 * What a store is asked besides decisions, in the shape of a decision, so that it travels in the same batch, under the same
 * deadline, and in the order in which it was asked.
 */
import type { SlotsCall, StoreCall, StoreReply } from '../../limits/store.ts';
import { DECIDE_SHA, REFUND_SHA, SLOTS_SHA } from './scripts.ts';

const NOTHING: readonly never[] = Object.freeze([]);

/** Asks for concurrency slots. */
export class SlotsQuestion implements StoreCall {
  readonly keys: readonly string[];
  /** No levels: what it asks for is read from its call. */
  readonly terms: readonly number[] = NOTHING;
  readonly call: SlotsCall;

  constructor(call: SlotsCall) {
    this.keys = [call.key];
    this.call = call;
  }

  answered(reply: StoreReply, now: number): void {
    this.call.answered(reply[0] ?? 0, now);
  }

  unavailable(now: number): void {
    this.call.unavailable(now);
  }
}

/** Gives units back; nobody waits for the answer. */
export class RefundOrder implements StoreCall {
  readonly keys: readonly string[];
  /** Units and ticks a unit for each bucket. */
  readonly terms: readonly number[];

  constructor(keys: readonly string[], units: readonly number[], unitTicks: readonly number[]) {
    const terms: number[] = [];
    for (let i = 0; i < keys.length; i++) terms.push(units[i] as number, unitTicks[i] as number);
    this.keys = keys;
    this.terms = terms;
  }

  answered(): void {
    // Given back.
  }

  unavailable(): void {
    // Lost on the way, or not: it is never sent again.
  }
}

/** The arguments of EVALSHA for a call: digest, number of keys, keys, figures. */
export function scriptArguments(call: StoreCall): (string | number)[] {
  const { keys, terms } = call;
  if (call instanceof SlotsQuestion) {
    const { worker, need, keep, most } = call.call;
    return [SLOTS_SHA, 1, keys[0] as string, worker, need, keep, most];
  }
  const args: (string | number)[] = [call instanceof RefundOrder ? REFUND_SHA : DECIDE_SHA, keys.length];
  for (const key of keys) args.push(key);
  for (const term of terms) args.push(term);
  return args;
}
