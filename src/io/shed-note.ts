import type { ShedCode } from '../kernel/errors.ts';
import type { AdmissionView } from '../shedding/admission.ts';
import type { Verdict } from '../shedding/verdict.ts';
import type { PressureView } from '../shedding/pressure.ts';

/**
 * The figures behind a refusal for overload, as they stood when it was decided: by the end of the answer, a millisecond
 * later in the worst second of a surge, they are others.
 */
export interface ShedFigures {
  readonly code: ShedCode;
  /** Under observe it was let pass all the same. */
  readonly enforced: boolean;
  readonly slaMs: number;
  readonly waitedMs: number;
  /** Undefined: it had no route. */
  readonly service:
    | Pick<
        AdmissionView,
        | 'verdict'
        | 'limit'
        | 'inFlight'
        | 'queueDepth'
        | 'expectedWaitMs'
        | 'baselineMs'
        | 'p50Ms'
        | 'pressure'
      >
    | undefined;
  readonly gateway: Pick<PressureView, 'loop' | 'memory' | 'lagMs'>;
}

/** The same as plain numbers in a record of the ring, written over in place: what a ring keeps outlives its generation. */
export class ShedNote {
  #code: ShedCode | '' = '';
  #enforced = false;
  #verdict: Verdict = 'cold';
  #slaMs = 0;
  #waitedMs = 0;
  #limit = 0;
  #inFlight = 0;
  #queueDepth = 0;
  #expectedWaitMs = 0;
  #baselineMs = 0;
  #p50Ms = 0;
  #service = 0;
  #loop = 0;
  #memory = 0;
  #lagMs = 0;

  take(figures: ShedFigures | undefined): void {
    if (figures === undefined) {
      this.#code = '';
      return;
    }
    const { service, gateway } = figures;
    this.#code = figures.code;
    this.#enforced = figures.enforced;
    this.#slaMs = figures.slaMs;
    this.#waitedMs = figures.waitedMs;
    this.#verdict = service?.verdict ?? 'cold';
    this.#limit = service?.limit ?? 0;
    this.#inFlight = service?.inFlight ?? 0;
    this.#queueDepth = service?.queueDepth ?? 0;
    this.#expectedWaitMs = service?.expectedWaitMs ?? 0;
    this.#baselineMs = service?.baselineMs ?? 0;
    this.#p50Ms = service?.p50Ms ?? 0;
    this.#service = service?.pressure ?? 0;
    this.#loop = gateway.loop;
    this.#memory = gateway.memory;
    this.#lagMs = gateway.lagMs;
  }

  /** As `explain` shows it; undefined when nothing was, or would have been, shed. */
  told(): unknown {
    if (this.#code === '') return undefined;
    return {
      code: this.#code,
      enforced: this.#enforced,
      slaMs: this.#slaMs,
      waitedMs: this.#waitedMs,
      limit: this.#limit,
      verdict: this.#verdict,
      inFlight: this.#inFlight,
      queueDepth: this.#queueDepth,
      expectedWaitMs: this.#expectedWaitMs,
      baselineMs: this.#baselineMs,
      p50Ms: this.#p50Ms,
      pressure: { loop: this.#loop, memory: this.#memory, service: this.#service },
      lagMs: this.#lagMs,
    };
  }
}
