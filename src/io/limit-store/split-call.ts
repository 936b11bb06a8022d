/**
 * One decision over buckets that a cluster keeps in different slots: a caller's own and those shared with others.
 *
 * No script reaches over slots, so each slot is asked for its part, all at once; it is one round trip still. All or nothing
 * holds over the parts: what one of them charged while another refused, or did not answer, is given back with the next batch.
 * Limits of the method: for that moment the bucket looks emptier than it is, so that somebody may be refused who would have
 * fitted; never is anybody admitted who would not. A caller who is refused again and again waits on hold and asks nobody.
 */
import { REPLY_PER_LEVEL, TERMS_PER_LEVEL } from '../../limits/gcra.ts';
import type { LimitStore, StoreCall, StoreReply } from '../../limits/store.ts';

type Refund = LimitStore['refund'];

export class SplitCall {
  readonly #call: StoreCall;
  readonly #refund: Refund;
  readonly parts: readonly PartCall[];
  #left: number;
  #lost = false;

  constructor(call: StoreCall, slots: readonly number[], refund: Refund) {
    this.#call = call;
    this.#refund = refund;
    const parts = new Map<number, PartCall>();
    for (const [level, slot] of slots.entries()) {
      let part = parts.get(slot);
      if (part === undefined) {
        part = new PartCall(this, slot);
        parts.set(slot, part);
      }
      part.add(level, call);
    }
    this.parts = [...parts.values()];
    this.#left = this.parts.length;
  }

  /** For `PartCall`: it was answered, or will not be in time. */
  partEnded(answered: boolean, now: number): void {
    if (!answered) this.#lost = true;
    if (--this.#left > 0) return;
    if (this.#lost) {
      for (const part of this.parts) this.giveBack(part, now);
      this.#call.unavailable(now);
      return;
    }
    const ok = this.parts.every(({ reply }) => reply[0] === 1);
    if (!ok) for (const part of this.parts) this.giveBack(part, now);
    this.#call.answered(this.#reply(ok), now);
  }

  /** For `PartCall` too: what it granted for a request that was decided otherwise. */
  giveBack({ keys, terms, reply }: PartCall, now: number): void {
    const refunded: [keys: string[], units: number[], unitTicks: number[]] = [[], [], []];
    for (const [i, key] of keys.entries()) {
      const granted = reply[1 + i * REPLY_PER_LEVEL] ?? 0;
      if (granted === 0) continue;
      refunded[0].push(key);
      refunded[1].push(granted);
      refunded[2].push(terms[i * TERMS_PER_LEVEL] as number);
    }
    if (refunded[0].length > 0) this.#refund(...refunded, now);
  }

  /** As if one script had decided over all levels. */
  #reply(ok: boolean): StoreReply {
    const whole: number[] = [ok ? 1 : 0];
    for (const { levels, reply, terms } of this.parts) {
      for (const [i, level] of levels.entries()) {
        const from = 1 + i * REPLY_PER_LEVEL;
        const to = 1 + level * REPLY_PER_LEVEL;
        const granted = reply[from] as number;
        const back = ok ? 0 : granted;
        whole[to] = granted - back;
        whole[to + 1] = (reply[from + 1] as number) + back;
        whole[to + 2] = reply[from + 2] as number;
        whole[to + 3] = Math.max(
          0,
          (reply[from + 3] as number) - back * (terms[i * TERMS_PER_LEVEL] as number),
        );
      }
    }
    return whole;
  }
}

/** The levels of one slot. */
export class PartCall implements StoreCall {
  readonly keys: string[] = [];
  readonly terms: number[] = [];
  /** Where they stand in the whole call. */
  readonly levels: number[] = [];
  readonly slot: number;
  reply: StoreReply = [];
  readonly #whole: SplitCall;

  constructor(whole: SplitCall, slot: number) {
    this.#whole = whole;
    this.slot = slot;
  }

  add(level: number, { keys, terms }: StoreCall): void {
    this.levels.push(level);
    this.keys.push(keys[level] as string);
    const at = level * TERMS_PER_LEVEL;
    this.terms.push(...terms.slice(at, at + TERMS_PER_LEVEL));
  }

  answered(reply: StoreReply, now: number): void {
    this.reply = reply;
    this.#whole.partEnded(true, now);
  }

  unavailable(now: number): void {
    this.#whole.partEnded(false, now);
  }

  late(reply: StoreReply, now: number): void {
    this.reply = reply;
    this.#whole.giveBack(this, now);
  }
}
