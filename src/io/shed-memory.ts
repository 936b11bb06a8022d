import { ERRORS, errorRow, type ErrorCode, type ShedCode } from '../kernel/errors.ts';
import { priorityOf, type PriorityRank } from '../kernel/priority.ts';
import type { Exchange } from './exchange.ts';
import { ShedNote, type ShedFigures } from './shed-note.ts';
import { VERDICTS } from './verdict-words.ts';

/**
 * Why requests of a flood were shed, for `GET /v1/explain/REQUEST_ID`.
 *
 * The ring of whole records (`explain-ring.ts`) holds a fraction of a second of a flood, and the flood would push out of it
 * whatever else happened. So sheds beyond those that get a line of the access log are kept here, as numbers alone: code,
 * words and figures, by the serial number in the request's id; not who asked for what. That is half of a record's cost
 * and a sixth of its size. Only ids of our own have a number; the others go to the ring as ever.
 */

/** 64 K of 77 bytes are 4.8 MiB a worker: 4 s at 16 000 sheds a second, half a minute at 2 000. */
const SHEDS_KEPT = 65_536;
/** What `explain` shows of each, in this order; six digits are enough. */
const COLUMNS = [
  'waitedMs',
  'durationMs',
  'slaMs',
  'limit',
  'inFlight',
  'queueDepth',
  'expectedWaitMs',
  'baselineMs',
  'p50Ms',
  'service',
  'loop',
  'memory',
  'lagMs',
] as const;
type Column = (typeof COLUMNS)[number];
const WIDTH = COLUMNS.length;

const CODES = Object.keys(ERRORS).filter((code) => code.startsWith('SPW_SHED_')) as ShedCode[];

/** Words that come again and again: of routes, services and reasons there are as many as the configuration and code have. */
class Words {
  readonly #words: string[] = [];
  readonly #places = new Map<string, number>();

  placeOf(word: string): number {
    const known = this.#places.get(word);
    if (known !== undefined) return known;
    const place = this.#words.length;
    this.#words.push(word);
    this.#places.set(word, place);
    return place;
  }

  at(place: number): string {
    return this.#words[place] ?? '';
  }
}

export class ShedMemory {
  readonly #size: number;
  /** `NAME-`, before the serial number in our own ids. */
  readonly #prefix: string;
  readonly #words = new Words();
  readonly #serials: Float64Array;
  readonly #wallMs: Float64Array;
  readonly #figures: Float32Array;
  readonly #codes: Uint8Array;
  readonly #verdicts: Uint8Array;
  readonly #ranks: Uint8Array;
  readonly #reasons: Uint16Array;
  readonly #routes: Uint16Array;
  readonly #services: Uint16Array;
  #next = 0;

  /** @param name begins the request ids of this worker */
  constructor(name: string, size: number = SHEDS_KEPT) {
    this.#prefix = `${name}-`;
    this.#size = size;
    this.#serials = new Float64Array(size);
    this.#wallMs = new Float64Array(size);
    this.#figures = new Float32Array(size * WIDTH);
    this.#codes = new Uint8Array(size);
    this.#verdicts = new Uint8Array(size);
    this.#ranks = new Uint8Array(size);
    this.#reasons = new Uint16Array(size);
    this.#routes = new Uint16Array(size);
    this.#services = new Uint16Array(size);
  }

  /** Keeps a shed that is over; nothing happens to one that was none. */
  keep(exchange: Exchange, figures: ShedFigures | undefined, now: number): void {
    const { route, serial } = exchange;
    if (figures === undefined || serial === 0) return;
    const at = this.#next;
    this.#next = at + 1 === this.#size ? 0 : at + 1;
    this.#serials[at] = serial;
    this.#wallMs[at] = exchange.worker.wallMs();
    this.#codes[at] = CODES.indexOf(figures.code);
    this.#ranks[at] = exchange.rank;
    this.#reasons[at] = this.#words.placeOf(exchange.reason);
    this.#routes[at] = this.#words.placeOf(route?.name ?? '');
    this.#services[at] = this.#words.placeOf(route?.service.name ?? '');
    const { service, gateway } = figures;
    this.#verdicts[at] = VERDICTS.indexOf(service?.verdict ?? 'cold');
    const own = this.#figures;
    let column = at * WIDTH;
    own[column++] = figures.waitedMs;
    own[column++] = now - exchange.startedMs;
    own[column++] = figures.slaMs;
    own[column++] = service?.limit ?? 0;
    own[column++] = service?.inFlight ?? 0;
    own[column++] = service?.queueDepth ?? 0;
    own[column++] = service?.expectedWaitMs ?? 0;
    own[column++] = service?.baselineMs ?? 0;
    own[column++] = service?.p50Ms ?? 0;
    own[column++] = service?.pressure ?? 0;
    own[column++] = gateway.loop;
    own[column++] = gateway.memory;
    own[column] = gateway.lagMs;
  }

  /** As `explain` shows it; undefined when it is not (or no longer) known. */
  told(requestId: string): unknown {
    const serial = this.#serialOf(requestId);
    const at = serial === 0 ? -1 : this.#serials.indexOf(serial);
    if (at < 0) return undefined;
    const code = CODES[this.#codes[at] ?? 0] ?? 'SPW_SHED_OVERLOAD';
    const figures = this.#figuresAt(at);
    const note = new ShedNote();
    note.take({
      code,
      enforced: true,
      slaMs: figures.slaMs,
      waitedMs: figures.waitedMs,
      service: {
        ...figures,
        pressure: figures.service,
        verdict: VERDICTS[this.#verdicts[at] ?? 0] ?? 'cold',
      },
      gateway: figures,
    });
    return {
      wallMs: this.#wallMs[at],
      requestId,
      priority: priorityOf((this.#ranks[at] ?? 1) as PriorityRank),
      route: this.#words.at(this.#routes[at] ?? 0),
      service: this.#words.at(this.#services[at] ?? 0),
      status: errorRow(code).status,
      code,
      reason: this.#reason(at, code),
      durationMs: figures.durationMs,
      queueMs: figures.waitedMs,
      attempts: 0,
      note: 'one of a flood: who asked for what was not kept',
      shedding: note.told(),
    };
  }

  #reason(at: number, code: ErrorCode): string {
    const reason = this.#words.at(this.#reasons[at] ?? 0);
    return reason === '' ? errorRow(code).detail : reason;
  }

  #figuresAt(at: number): Record<Column, number> {
    const row = this.#figures.subarray(at * WIDTH, (at + 1) * WIDTH);
    return Object.fromEntries(COLUMNS.map((name, column) => [name, row[column] ?? 0])) as Record<
      Column,
      number
    >;
  }

  /** The number in an id of ours, 1 or more; 0: another's. */
  #serialOf(requestId: string): number {
    if (!requestId.startsWith(this.#prefix)) return 0;
    const digits = requestId.slice(this.#prefix.length);
    const serial = Number.parseInt(digits, 36);
    return serial > 0 && serial.toString(36) === digits ? serial : 0;
  }
}
