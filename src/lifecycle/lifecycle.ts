/**
 * One process's life: starting → ready → draining → stopped, never back.
 *
 * Pure: it is told what happened and when, and says what follows. A first signal drains, or stops a process that has not
 * begun to serve. A second one exits at once if it comes at least 500 ms later: Ctrl-C in a terminal and its wrapper often
 * deliver one wish twice, and that must not cost the requests in flight. Source: contract.md §1, upstreams.md §7.
 */
import {
  planShutdown,
  shutdownPhase,
  type ShutdownPhase,
  type ShutdownPlan,
  type ShutdownPolicy,
} from './shutdown.ts';

/** Half: a doubled signal of a slow wrapper kills; double: somebody who means it waits a second. */
const SECOND_SIGNAL_MS = 500;

export type LifecycleState =
  | { readonly kind: 'starting' }
  | { readonly kind: 'ready'; readonly sinceMs: number }
  | { readonly kind: 'draining'; readonly sinceMs: number; readonly plan: ShutdownPlan }
  | { readonly kind: 'stopped'; readonly how: 'before-ready' | 'drained' | 'cut' | 'second-signal' };

/** What a signal asks for: begin to drain, end the process at once, or nothing (it repeats the one before). */
export type SignalVerdict = 'drain' | 'exit' | 'ignore';

export class Lifecycle {
  #state: LifecycleState = { kind: 'starting' };

  get state(): LifecycleState {
    return this.#state;
  }

  /** Start-up is complete. Too late for a process that was told to stop meanwhile. */
  started(now: number): void {
    if (this.#state.kind === 'starting') this.#state = { kind: 'ready', sinceMs: now };
  }

  /** SIGTERM, SIGINT, or the supervisor's word. */
  signal(policy: ShutdownPolicy, now: number): SignalVerdict {
    const state = this.#state;
    switch (state.kind) {
      case 'starting':
        this.#state = { kind: 'stopped', how: 'before-ready' };
        return 'exit';
      case 'ready':
        this.#state = { kind: 'draining', sinceMs: now, plan: planShutdown(policy) };
        return 'drain';
      case 'draining':
        if (now - state.sinceMs < SECOND_SIGNAL_MS) return 'ignore';
        this.#state = { kind: 'stopped', how: 'second-signal' };
        return 'exit';
      case 'stopped':
        return 'exit';
      default:
        return state satisfies never;
    }
  }

  /** The part of the shutdown that `now` belongs to; undefined while none is under way. */
  phase(now: number): ShutdownPhase | undefined {
    const state = this.#state;
    return state.kind === 'draining' ? shutdownPhase(state.plan, now - state.sinceMs) : undefined;
  }

  /**
   * Looks whether the end has come.
   * @param left requests, connections and streams still open
   * @returns true once the process has stopped: everything was served after the listeners closed, or the time is up.
   */
  settle(left: number, now: number): boolean {
    const phase = this.phase(now);
    if (phase === 'cut') this.#state = { kind: 'stopped', how: left === 0 ? 'drained' : 'cut' };
    else if (left === 0 && (phase === 'closing-listeners' || phase === 'last-second')) {
      this.#state = { kind: 'stopped', how: 'drained' };
    }
    return this.#state.kind === 'stopped';
  }
}
