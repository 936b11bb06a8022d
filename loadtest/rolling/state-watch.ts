/** What a gateway says of its instances, looked at every few ms from outside, as an operator's dashboard would. */
import { setTimeout as pause } from 'node:timers/promises';

import type { Gateway } from '../../test/harness/gateway.ts';
import { statesOf } from './stage.ts';

const LOOK_EVERY_MS = 20;

interface Change {
  readonly atMs: number;
  readonly id: string;
  readonly state: string;
}

export class StateWatch implements AsyncDisposable {
  readonly #gateway: Gateway;
  readonly #changes: Change[] = [];
  readonly #done: Promise<void>;
  #isOver = false;

  /** Begins to look. */
  constructor(gateway: Gateway) {
    this.#gateway = gateway;
    this.#done = this.#look();
  }

  /** When this instance was first called so, from `sinceMs` on; Infinity when never. */
  firstMs(id: string, state: string, sinceMs: number): number {
    const found = this.#changes.find(
      (each) => each.id === id && each.state === state && each.atMs >= sinceMs,
    );
    return found === undefined ? Infinity : found.atMs - sinceMs;
  }

  /** States that any of them came into. */
  get seen(): ReadonlySet<string> {
    return new Set(this.#changes.map(({ state }) => state));
  }

  /** Of the instance that changed most; its first state is none. */
  get mostChanges(): number {
    const counts = new Map<string, number>();
    for (const { id } of this.#changes) counts.set(id, (counts.get(id) ?? -1) + 1);
    return Math.max(0, ...counts.values());
  }

  async #look(): Promise<void> {
    const last = new Map<string, string>();
    while (!this.#isOver) {
      for (const [id, state] of await statesOf(this.#gateway)) {
        if (last.get(id) !== state) this.#changes.push({ atMs: performance.now(), id, state });
        last.set(id, state);
      }
      await pause(LOOK_EVERY_MS);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.#done;
  }
}
