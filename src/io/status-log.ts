import type { Logger } from 'pino';
import { isFault, opensNew, type InstanceState } from '../upstreams/instance-state.ts';
import type { ServiceFigures, ServiceStates, WorkerViews } from './ipc.ts';
import { mergeFigures, mergePressure, slowdownOf } from './service-views.ts';

/**
 * The supervisor's log of what operators are woken for: an instance changed its state, or its breaker did, or load began
 * to be shed at a service, or the service turned slow, or the gateway itself came under pressure, or a mode was changed.
 *
 * Signal: the published pictures of the services, and the workers' reports of each second. Decision: one line a change;
 * what follows a line within a second waits, and comes as one line with the number of `changes`. Why: a flapping instance
 * must neither fill the log nor vanish from it, and a shed has no line of its own. A start is one line an instance: joining
 * is not told, nor the end of the slow start that follows it. Of several workers the worst counts; shedding ends when
 * nobody was shed for ten seconds. A mode counts when all workers have it. Limit: what changes there and back between two
 * pictures (20 ms) or two reports (1 s) is not seen.
 */

/** Half: a flapping instance writes twice as much; double: it is down for two seconds before the log says so again. */
const GAP_MS = 1000;

export interface StatusLogOptions {
  /** Monotonic ms. */
  readonly now: () => number;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** How each kind of subject is told, after its name. */
const NOUNS = {
  instance: 'instance is',
  breaker: 'breaker is',
  shedding: 'shedding is',
  speed: 'service is',
  mode: 'shedding mode is',
  loop: 'pressure of the event loop is',
  memory: 'pressure of memory is',
} as const;
type Noun = keyof typeof NOUNS;
/** What a service shows in the workers' reports. */
const SERVICE_NOUNS = ['breaker', 'shedding', 'speed', 'mode'] as const;
const SIGNALS = ['loop', 'memory'] as const;

/** States that operators are woken for. */
const ALARMS: ReadonlySet<string> = new Set(['open', 'forced-open', 'on', 'slow']);

/** Fields of a line beside the states. */
type Details = Readonly<Record<string, unknown>>;

/** One instance, one breaker, … */
interface Subject {
  readonly fields: { readonly service?: string; readonly instance?: string };
  readonly noun: Noun;
  /** The state of the last line. */
  told: string;
  toldAtMs: number;
  state: string;
  details: Details;
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
  /** By service, then by noun. */
  readonly #services = new Map<string, Map<Noun, Subject>>();
  readonly #gateway = new Map<Noun, Subject>(
    SIGNALS.map((signal) => [signal, newSubject(signal, {}, 'off')]),
  );
  /** By worker. */
  readonly #reported = new Map<string, WorkerViews>();
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
  reported(workerKey: string, views: WorkerViews): void {
    this.#reported.set(workerKey, views);
    this.#judge();
    const now = this.#options.now();
    for (const subject of this.#waiting) if (now - subject.toldAtMs >= GAP_MS) this.#tell(subject, now);
  }

  workerGone(workerKey: string): void {
    this.#reported.delete(workerKey);
  }

  #instance(subject: Subject, state: InstanceState, reason: string): void {
    subject.details = { reason };
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

  #judge(): void {
    const views = [...this.#reported.values()];
    const pressure = mergePressure(views);
    for (const signal of SIGNALS) {
      const subject = this.#gateway.get(signal);
      if (subject !== undefined) this.#seen(subject, pressure[signal] > 0 ? 'on' : 'off', pressure);
    }
    const merged = mergeFigures(views);
    for (const [service, subjects] of this.#services) {
      if (merged.has(service)) continue;
      this.#services.delete(service);
      for (const subject of subjects.values()) this.#waiting.delete(subject);
    }
    for (const [service, figures] of merged) this.#service(service, figures, views);
  }

  #service(service: string, figures: ServiceFigures, views: readonly WorkerViews[]): void {
    const subjects = this.#services.get(service) ?? newService(service, figures);
    this.#services.set(service, subjects);
    const states: Readonly<Record<(typeof SERVICE_NOUNS)[number], string>> = {
      breaker: figures.breaker,
      shedding: figures.shed > 0 ? 'on' : figures.wouldShed > 0 ? 'observed' : 'off',
      speed: figures.slow ? 'slow' : 'not slow',
      mode: agreedMode(service, views) ?? subjects.get('mode')?.state ?? figures.mode,
    };
    const details = detailsOf(figures);
    for (const noun of SERVICE_NOUNS) {
      const subject = subjects.get(noun);
      if (subject !== undefined) this.#seen(subject, states[noun], details[noun]);
    }
  }

  #seen(subject: Subject, state: string, details: Details): void {
    subject.details = details;
    if (subject.state !== state) this.#changed(subject, state, ALARMS.has(state));
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
    const { fields, noun, told: from, state: to, details, changes, isAlarm } = subject;
    subject.told = to;
    subject.toldAtMs = now;
    subject.changes = 0;
    subject.isAlarm = false;
    this.#waiting.delete(subject);
    const line = { ...fields, from, to, ...details, ...(changes > 1 ? { changes } : {}) };
    if (isAlarm) this.#options.log.warn(line, `${NOUNS[noun]} ${to}`);
    else this.#options.log.info(line, `${NOUNS[noun]} ${to}`);
  }
}

/** The mode that all workers have; undefined while a change is on its way to them. */
function agreedMode(service: string, views: readonly WorkerViews[]): string | undefined {
  const modes = new Set(
    views
      .flatMap(({ services }) => services.filter((each) => each.service === service))
      .map(({ mode }) => mode),
  );
  const [mode] = modes;
  return modes.size === 1 ? mode : undefined;
}

/** The figures behind each state, as far as they explain it. */
function detailsOf(figures: ServiceFigures): Readonly<Record<(typeof SERVICE_NOUNS)[number], Details>> {
  const { limit, inFlight, queueDepth, shed, wouldShed, verdict, modeForced } = figures;
  const speed = {
    baselineMs: Math.round(figures.baselineMs),
    p50Ms: Math.round(figures.p50Ms),
    slowdown: slowdownOf(figures),
  };
  return {
    breaker: {},
    shedding: { limit, inFlight, queueDepth, shed, wouldShed, verdict, ...speed },
    speed: { limit, verdict, ...speed },
    mode: { by: modeForced ? 'operator' : 'configuration' },
  };
}

/** A mode that an operator forced before the first report is a change as well. */
function newService(service: string, { mode, modeForced }: ServiceFigures): Map<Noun, Subject> {
  const fields = { service };
  return new Map<Noun, Subject>([
    ['breaker', newSubject('breaker', fields, 'closed')],
    ['shedding', newSubject('shedding', fields, 'off')],
    ['speed', newSubject('speed', fields, 'not slow')],
    ['mode', newSubject('mode', fields, modeForced ? 'as configured' : mode)],
  ]);
}

function newSubject(noun: Noun, fields: Subject['fields'], state: string): Subject {
  return {
    fields,
    noun,
    told: state,
    toldAtMs: -Infinity,
    state,
    details: {},
    changes: 0,
    isAlarm: false,
    isStarting: false,
  };
}
