import type { Evidence } from '../kernel/evidence.ts';
import type { Active } from './instance-state.ts';

/**
 * What probes make of one instance.
 *
 * Signal: evidence, one piece a probe. Decision: an explicit no acts at once and is never overridden by silence; silence
 * acts after `fall` of them in a row and only when the governor lets it; a return needs `rise` answers in a row and a hold
 * since leaving; the first verdict of a joiner needs one. Why so: a no is certain, silence may be the prober's own fault.
 * Cold start: `unknown`, which takes no traffic. Idle gap: none, probes do not depend on traffic.
 * Limits: two instances behind one address look like one that changes its mind.
 */

export interface ActivePolicy {
  readonly intervalMs: number;
  /** How long a probe waits for its answer. */
  readonly timeoutMs: number;
  /** Answers in a row before it gets traffic again. */
  readonly rise: number;
  /** Silences in a row before it loses traffic. */
  readonly fall: number;
}

/** Refusals in a row that need no token. One may be a restart caught in the act; three would cost another interval. */
const CERTAIN_REFUSALS = 2;
/** Longest hold after leaving. Half: a crash loop of 1 s flips traffic; double: a good instance waits for nothing. */
const MAX_HOLD_MS = 2000;

const HINTED = 'discovery says that it is not ready';

export class ActiveAxis {
  value: Active = 'unknown';
  reason = '';
  failingChecks: readonly string[] = [];
  /** The last probe was answered, so `failingChecks` is what the instance says now. */
  answers = false;
  /** Held out for longer than others after it left, see `FlapHold`. */
  extraHoldMs = 0;
  /** Its removal waits for the governor. */
  held = false;
  /** Discovery says that it is not ready: silence, whatever its probes say; both must agree. */
  #hinted = false;
  #goods = 0;
  #passes = 0;
  #silences = 0;
  #refusals = 0;
  #leftAt = 0;
  /** What the silence was last, kept while a removal is held. */
  #silence = '';

  /**
   * Takes one piece of evidence.
   * @param mayRemove asked only when silence would take an instance out of use; false holds it
   */
  take(evidence: Evidence, now: number, policy: ActivePolicy, mayRemove: () => boolean): void {
    switch (evidence.kind) {
      case 'void':
        return;
      case 'pass':
      case 'drain':
        this.#good(evidence, this.#passes + 1);
        if (this.value === 'unknown') this.#admit('pass', evidence.kind === 'pass' ? '' : evidence.reason);
        break;
      case 'warn':
        this.#good(evidence, 0);
        if (this.value === 'unknown') this.#admit('warn', evidence.reason);
        else if (this.value === 'pass' || this.value === 'warn') this.#set('warn', evidence.reason);
        break;
      case 'explicit':
        this.#clear();
        this.answers = true;
        this.failingChecks = evidence.failingChecks;
        if (this.value !== 'failExplicit') this.#leftAt = now;
        this.#set('failExplicit', evidence.reason);
        return;
      case 'absent':
        this.#absent(evidence, now, policy, mayRemove);
        return;
    }
    this.settle(now, policy, mayRemove);
  }

  /** What time alone may change: the end of a hold, and a removal that had to wait for the governor. */
  settle(now: number, policy: ActivePolicy, mayRemove: () => boolean): void {
    switch (this.value) {
      case 'unknown':
        // The probe has agreed; discovery did not until now.
        if (!this.#hinted && this.#goods > 0) this.#set(this.#passes > 0 ? 'pass' : 'warn', '');
        return;
      case 'pass':
        this.#removeSilent(now, policy, mayRemove);
        return;
      case 'warn':
        if (this.#passes >= policy.rise) this.#set('pass', '');
        else this.#removeSilent(now, policy, mayRemove);
        return;
      case 'failExplicit':
      case 'failSilent': {
        const holdMs = Math.min(MAX_HOLD_MS, 2 * policy.intervalMs);
        if (this.#goods < policy.rise || now - this.#leftAt < holdMs) return;
        if (this.#hinted) {
          this.reason = HINTED;
          return;
        }
        if (now - this.#leftAt < this.extraHoldMs) {
          this.reason = `flaps: held out for ${this.extraHoldMs / 1000} s`;
          return;
        }
        if (this.#passes >= policy.rise) this.#set('pass', '');
        else this.#set('warn', this.reason);
        return;
      }
    }
  }

  /** Sets what discovery says; `settle` acts on it. */
  hint(notReady: boolean): void {
    if (this.#hinted && !notReady && this.held) {
      this.held = false; // silence of its own holds it again at the next settling
      this.reason = '';
    }
    this.#hinted = notReady;
  }

  /** Out of use by what probes say. */
  get isOut(): boolean {
    return this.value === 'failExplicit' || this.value === 'failSilent';
  }

  /** The last probe that said something was a good one. */
  get passing(): boolean {
    return this.#goods > 0;
  }

  /** Refused so often in a row that the port is surely closed. */
  get portClosed(): boolean {
    return this.#refusals >= CERTAIN_REFUSALS;
  }

  /** Begins again without history: another process may answer at this address now. */
  restart(): void {
    this.#clear();
    this.#set('unknown', '');
    this.failingChecks = [];
    this.answers = false;
  }

  #absent(evidence: Evidence, now: number, policy: ActivePolicy, mayRemove: () => boolean): void {
    this.#goods = 0;
    this.#passes = 0;
    this.#silences++;
    this.#refusals = evidence.refused ? this.#refusals + 1 : 0;
    this.answers = false;
    this.failingChecks = [];
    if (this.value === 'failExplicit') return; // its last word was no, and silence does not take that back
    if (this.value !== 'pass' && this.value !== 'warn') this.reason = evidence.reason;
    if (this.value === 'unknown' && this.#silences >= policy.fall) this.#leave(now, evidence.reason);
    else {
      this.#silence = evidence.reason;
      this.#removeSilent(now, policy, mayRemove);
    }
  }

  #removeSilent(now: number, policy: ActivePolicy, mayRemove: () => boolean): void {
    if (this.value !== 'pass' && this.value !== 'warn') return;
    const silent = this.#silences >= policy.fall;
    if (!silent && !this.#hinted) return;
    const reason = silent ? this.#silence : HINTED;
    if (this.portClosed || mayRemove()) this.#leave(now, reason);
    else {
      this.held = true;
      this.reason = `held: ${reason}`;
    }
  }

  #leave(now: number, reason: string): void {
    this.#leftAt = now;
    this.#set('failSilent', reason);
  }

  #good(evidence: Evidence, passes: number): void {
    this.#clear(this.#goods + 1, passes);
    this.answers = true;
    this.failingChecks = evidence.failingChecks;
    if (this.value === 'pass') this.reason = '';
    else if (evidence.kind === 'warn') this.reason = evidence.reason;
  }

  #clear(goods = 0, passes = 0): void {
    this.#goods = goods;
    this.#passes = passes;
    this.#silences = 0;
    this.#refusals = 0;
    this.held = false;
  }

  /** A joiner's first good probe; discovery must agree. */
  #admit(value: 'pass' | 'warn', reason: string): void {
    if (this.#hinted) this.reason = HINTED;
    else this.#set(value, reason);
  }

  #set(value: Active, reason: string): void {
    this.value = value;
    this.reason = reason;
    this.held = false;
  }
}
