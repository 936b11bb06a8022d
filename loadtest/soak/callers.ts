/**
 * The callers of a soak, as a process of their own: each kind of call arrives by chance (Poisson) at its share of the rate and
 * waits for nobody. Once a second it tells how calls ended, and each one that did not end as wanted by itself.
 */
import { readFileSync } from 'node:fs';

import { seededRandom } from '../../src/kernel/random.ts';
import {
  download,
  greedy,
  keepAlive,
  keepAliveAgent,
  overTls,
  short,
  uploadChunked,
  uploadWithLength,
} from './http-calls.ts';
import type { Call, CallTools } from './http-calls.ts';
import { http2Caller } from './http2-calls.ts';
import { failed } from './outcomes.ts';
import type { CallersSettings, FromCallers, Incident, Outcome, ToCallers } from './outcomes.ts';
import { garbage, leaves, pipelined, silent, slowBody, slowHead, slowReader } from './raw-calls.ts';
import { eventStream, webSocket } from './stream-calls.ts';
import { GREEDY_PER_SECOND } from './configuration.ts';

/** Shares of the rate. What lasts, or is slow, is rare: it adds up. */
const MIX: readonly (readonly [kind: string, share: number])[] = [
  ['keep-alive', 0.52],
  ['short', 0.09],
  ['http2', 0.11],
  ['http2-upload', 0.02],
  ['leaves', 0.1],
  ['tls', 0.03],
  ['upload', 0.025],
  ['upload-chunked', 0.025],
  ['pipelined', 0.02],
  ['download', 0.015],
  ['garbage', 0.02],
  ['websocket', 0.01],
  ['events', 0.008],
  ['silent', 0.002],
  ['slow-head', 0.002],
  ['slow-body', 0.002],
  ['slow-reader', 0.001],
];
/** Beside the rate. */
const GREEDY_TIMES = 2;
/** Open at once; past it the machine cannot follow, and more would only measure that. */
const OPEN_MOST = 4000;
const TELL_EACH_MS = 1000;
const TICK_MS = 20;
/** In one message; past it they are counted and not listed. */
const INCIDENTS_MOST = 5000;

class Callers {
  readonly #random: () => number;
  readonly #tools: CallTools;
  readonly #http2 = http2Caller();
  readonly #calls: Readonly<Record<string, Call>>;
  readonly #arrivals = new Map<string, NodeJS.Timeout>();
  #counts: Record<string, number> = {};
  #incidents: Incident[] = [];
  #certificates = new Set<string>();
  #protocols: Record<string, number> = {};
  #skipped = 0;
  #open = 0;
  #stopping = false;
  #latestMs = 0;
  #tickedMs = performance.now();

  constructor(settings: CallersSettings) {
    this.#random = seededRandom(settings.seed);
    this.#tools = {
      settings,
      random: this.#random,
      ca: readFileSync(settings.caFile),
      agent: keepAliveAgent(),
      cookies: [],
      metCertificate: (serial) => this.#certificates.add(serial),
      metProtocol: (name) => {
        this.#protocols[name] = (this.#protocols[name] ?? 0) + 1;
      },
    };
    this.#calls = {
      'keep-alive': keepAlive,
      short,
      http2: this.#http2.read,
      'http2-upload': this.#http2.upload,
      leaves,
      tls: overTls,
      upload: uploadWithLength,
      'upload-chunked': uploadChunked,
      pipelined,
      download,
      garbage,
      websocket: webSocket,
      events: eventStream,
      silent,
      'slow-head': slowHead,
      'slow-body': slowBody,
      'slow-reader': slowReader,
      greedy,
    };
  }

  take(message: ToCallers): void {
    if (message.type === 'start') {
      this.#stopping = false;
      for (const [kind, share] of MIX) this.#arrive(kind, share * message.ratePerSecond);
      this.#arrive('greedy', GREEDY_TIMES * GREEDY_PER_SECOND);
      return;
    }
    this.#stopping = true;
    for (const timer of this.#arrivals.values()) clearTimeout(timer);
    this.#arrivals.clear();
    void this.#idle(message.close);
  }

  tell(): void {
    say({
      type: 'counts',
      counts: this.#counts,
      incidents: this.#incidents,
      open: this.#open,
      latestMs: this.#latestMs,
      skipped: this.#skipped,
      protocols: this.#protocols,
      certificates: [...this.#certificates],
    });
    this.#counts = {};
    this.#incidents = [];
    this.#protocols = {};
    this.#certificates = new Set();
    this.#skipped = 0;
    this.#latestMs = 0;
  }

  /** Due each 20 ms: how late it comes tells whether the machine gives a process its time. */
  tick(): void {
    const now = performance.now();
    this.#latestMs = Math.max(this.#latestMs, now - this.#tickedMs - TICK_MS);
    this.#tickedMs = now;
  }

  /** The next arrival of a kind, and all after it; a late timer begins those that it missed at once. */
  #arrive(kind: string, perSecond: number): void {
    let dueMs = performance.now();
    const next = (): void => {
      const now = performance.now();
      while (dueMs <= now) {
        void this.#begin(kind);
        dueMs += (-Math.log(1 - this.#random()) / perSecond) * 1000;
      }
      this.#arrivals.set(kind, setTimeout(next, dueMs - now));
    };
    dueMs += (-Math.log(1 - this.#random()) / perSecond) * 1000;
    next();
  }

  async #begin(kind: string): Promise<void> {
    if (this.#open >= OPEN_MOST) {
      this.#skipped += 1;
      return;
    }
    this.#open += 1;
    const fromMs = Date.now();
    const outcome = await this.#outcome(kind);
    this.#open -= 1;
    const key = `${kind}\t${outcome.ending}\t${outcome.how}`;
    this.#counts[key] = (this.#counts[key] ?? 0) + 1;
    const wanted = outcome.ending === 'limited' ? kind === 'greedy' : outcome.ending !== 'failed';
    if (!wanted && this.#incidents.length < INCIDENTS_MOST)
      this.#incidents.push({ kind, how: outcome.how, fromMs, toMs: Date.now() });
  }

  async #outcome(kind: string): Promise<Outcome> {
    try {
      return (await this.#calls[kind]?.(this.#tools)) ?? failed('no such kind');
    } catch (error) {
      // A fault of the callers' own is told as such and judged like any other.
      return failed(`caller: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  async #idle(close: boolean): Promise<void> {
    while (this.#open > 0 && this.#stopping) await new Promise((resolve) => void setTimeout(resolve, 50));
    this.#http2.close();
    if (close) this.#tools.agent.destroy();
    this.tell();
    say({ type: 'idle' });
  }
}

function say(message: FromCallers): void {
  process.send?.(message);
}

const callers = new Callers(JSON.parse(process.argv[2] ?? '{}') as CallersSettings);
process.on('message', (message: ToCallers) => callers.take(message));
setInterval(() => callers.tell(), TELL_EACH_MS);
setInterval(() => callers.tick(), TICK_MS);
process.once('disconnect', () => process.exit(0));
// Ctrl-C reaches the whole process group: the parent decides when the callers end.
process.on('SIGINT', () => undefined);
say({ type: 'ready' });
