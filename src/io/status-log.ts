import type { Logger } from 'pino';
import { isFault, opensNew, type InstanceState } from '../upstreams/instance-state.ts';
import type { ServiceStates, WorkerViews } from './ipc.ts';
import { worseBreaker } from './service-views.ts';

/**
 * The supervisor's log of what operators are woken for: an instance changed its state, a service's breaker did.
 *
 * Signal: the published pictures of the services, and the workers' reports of each second. Decision: one line a change;
 * what follows a line within a second waits, and comes as one line with the number of `changes`. Why: a flapping instance
 * must neither fill the log nor vanish from it. A start is one line an instance: joining is not told, nor the end of the
 * slow start that follows it. A breaker is told as its worst state over the workers. Limit: what changes there and back
 * between two pictures (20 ms) or two reports (1 s) is not seen.
 */

/** Half: a flapping instance writes twice as much; double: it is down for two seconds before the log says so again. */
const GAP_MS = 1000;

export interface StatusLogOptions {
  /** Monotonic ms. */
  readonly now: () => number;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** One instance, or one breaker. */
interface Subject {
  readonly fields: { readonly service: string; readonly instance?: string };
  readonly noun: 'instance' | 'breaker';
  /** The state of the last line. */
  told: string;
  toldAtMs: number;
  state: string;
  reason: string;
  /** Since the last line. */
  changes: number;
  isAlarm: boolean;
  /** Came into service from `joining`, and nothing else happened since. */
  isStarting: boolean;
}

export class StatusLog {
  readonly #options: StatusLogOptions;
  /** By service, then by id. */
  readonly #instances = new Map<string, Map<string, Subject>>();
  readonly #breakers = new Map<string, Subject>();
  /** By worker, then by service. */
  readonly #reported = new Map<string, ReadonlyMap<string, string>>();
  readonly #waiting = new Set<Subject>();

  constructor(options: StatusLogOptions) {
    this.#options = options;
  }

  /** Complete pictures of services that changed. */
  instances(pictures: readonly ServiceStates[]): void {
    for (const { service, instances } of pictures) {
      const before = this.#instances.get(service);
      const known = new Map<string, Subject>();
      for (const { id, state, reason } of instances) {
        const subject = before?.get(id) ?? newSubject('instance', { service, instance: id }, 'joining');
        known.set(id, subject);
        this.#instance(subject, state, reason);
      }
      for (const [id, subject] of before ?? []) if (!known.has(id)) this.#waiting.delete(subject);
      if (known.size === 0) this.#instances.delete(service);
      else this.#instances.set(service, known);
    }
  }

  /** A worker's report; lines that wait leave with one of the next. */
  reported(workerKey: string, { services }: WorkerViews): void {
    this.#reported.set(workerKey, new Map(services.map(({ service, breaker }) => [service, breaker])));
    this.#judgeBreakers();
    const now = this.#options.now();
    for (const subject of this.#waiting) if (now - subject.toldAtMs >= GAP_MS) this.#tell(subject, now);
  }

  workerGone(workerKey: string): void {
    this.#reported.delete(workerKey);
  }

  #instance(subject: Subject, state: InstanceState, reason: string): void {
    subject.reason = reason;
    if (subject.state === state) return;
    const from = subject.state as InstanceState;
    if (subject.isStarting && from === 'warming' && state === 'ready' && subject.changes === 0) {
      subject.state = state;
      subject.told = state;
      return;
    }
    subject.isStarting = from === 'joining' && opensNew(state);
    this.#changed(subject, state, opensNew(from) && isFault(state));
  }

  #judgeBreakers(): void {
    const worst = new Map<string, string>();
    for (const states of this.#reported.values()) {
      for (const [service, state] of states) {
        worst.set(service, worseBreaker(worst.get(service) ?? state, state));
      }
    }
    for (const [service, subject] of this.#breakers) {
      if (worst.has(service)) continue;
      this.#breakers.delete(service);
      this.#waiting.delete(subject);
    }
    for (const [service, state] of worst) {
      const subject = this.#breakers.get(service) ?? newSubject('breaker', { service }, 'closed');
      this.#breakers.set(service, subject);
      if (subject.state !== state) this.#changed(subject, state, state === 'open' || state === 'forced-open');
    }
  }

  #changed(subject: Subject, state: string, isAlarm: boolean): void {
    subject.state = state;
    subject.changes++;
    subject.isAlarm ||= isAlarm;
    const now = this.#options.now();
    if (now - subject.toldAtMs >= GAP_MS) this.#tell(subject, now);
    else this.#waiting.add(subject);
  }

  #tell(subject: Subject, now: number): void {
    const { fields, noun, told: from, state: to, reason, changes, isAlarm } = subject;
    subject.told = to;
    subject.toldAtMs = now;
    subject.changes = 0;
    subject.isAlarm = false;
    this.#waiting.delete(subject);
    const line = {
      ...fields,
      from,
      to,
      ...(noun === 'instance' ? { reason } : {}),
      ...(changes > 1 ? { changes } : {}),
    };
    if (isAlarm) this.#options.log.warn(line, `${noun} is ${to}`);
    else this.#options.log.info(line, `${noun} is ${to}`);
  }
}

function newSubject(noun: Subject['noun'], fields: Subject['fields'], state: string): Subject {
  return {
    fields,
    noun,
    told: state,
    toldAtMs: -Infinity,
    state,
    reason: '',
    changes: 0,
    isAlarm: false,
    isStarting: false,
  };
}
