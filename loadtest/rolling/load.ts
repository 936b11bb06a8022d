/**
 * The callers of a rolling experiment: Poisson arrivals that wait for nobody, over keep-alive connections, each request of one
 * of many sessions that keep their cookie. One in ten is a POST with an id of its own.
 *
 * Connections are treated as a balancer of connections before several gateways does it: a new one goes to a gateway that is in
 * rotation, one that is open is used until an answer says `connection: close` or it is closed. Nothing is sent twice: what
 * fails has failed, a request on a connection that ended in the same moment too.
 *
 * Where the machine lets the sender itself stand still, its callers stand still with it, and how long is told: all at once
 * they would be a surge of several times what the instances bear, which is the subject of other cases.
 */
import { seededRandom } from '../../src/kernel/random.ts';
import { LoadConnection } from '../../test/harness/load-connection.ts';
import { arrivals } from '../../test/harness/open-loop.ts';
import { eventually } from '../../test/harness/ports.ts';
import { Ledger } from './ledger.ts';

export interface RollingLoadOptions {
  readonly ratePerSecond: number;
  /** Ports that take new connections now. */
  readonly rotation: () => readonly number[];
  /** Whether the process that names itself so in `x-instance` was told to leave. */
  readonly leaves: (instance: string) => boolean;
  readonly seed: number;
}

/** Whoever has no answer by then has failed. */
const PATIENCE_MS = 10_000;
/** At 70 % load some twenty requests are in flight; half would hide that connections are used again, double leaves them idle. */
const SESSIONS = 200;
const CONNECTIONS = 60;
const POST_SHARE = 0.1;
const TICK_MS = 2;
/** Later than this the sender stood still. At half what any caller may do is left out; at double 35 come at once, in front of 20 slots. */
const STOOD_MS = 100;
/** Longer than any experiment. */
const ENDLESS_SECONDS = 86_400;

const SET_COOKIE = /\r\nset-cookie:[ \t]*([^;\r]+)/i;
const INSTANCE = /\r\nx-instance:[ \t]*([^\r]+)/i;
/** Of an answer that another service gave. */
const FOREIGN = /\r\nx-service:[ \t]*(?!shop(?:\r|$))\S/i;

interface Session {
  cookie: string;
  instance: string;
  busy: boolean;
  /** Its instance has left, and it has no other yet. */
  adrift: boolean;
}

interface Sent {
  readonly session: Session;
  readonly phase: string;
  readonly method: 'GET' | 'POST';
  readonly id: string;
  /** When it was due. */
  readonly atMs: number;
  /** When the sender came to it, at its next tick. */
  readonly sentMs: number;
  head: string;
}

export class RollingLoad {
  readonly ledger = new Ledger();
  readonly #options: RollingLoadOptions;
  readonly #random: () => number;
  readonly #sessions: Session[];
  readonly #idle: LoadConnection[] = [];
  readonly #inFlight = new Map<LoadConnection, Sent>();
  readonly #waiting: (() => void)[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #startedAt = performance.now();
  #open = 0;
  #serial = 0;
  #turn = 0;
  #phase = '';
  #stood = { times: 0, ms: 0 };

  /** Begins to send. */
  constructor(options: RollingLoadOptions, phase: string) {
    this.#options = options;
    this.#phase = phase;
    this.#random = seededRandom(options.seed);
    this.#sessions = Array.from({ length: SESSIONS }, () => ({
      cookie: '',
      instance: '',
      busy: false,
      adrift: false,
    }));
    const { ratePerSecond, seed } = options;
    const next = arrivals([{ seconds: ENDLESS_SECONDS, ratePerSecond }], seededRandom(seed + 1));
    let dueMs = next();
    let lastMs = 0;
    this.#timer = setInterval(() => {
      const nowMs = performance.now() - this.#startedAt;
      const { times, ms } = this.#stood;
      if (nowMs - lastMs > STOOD_MS) this.#stood = { times: times + 1, ms: ms + nowMs - lastMs };
      lastMs = nowMs;
      for (; dueMs + this.#stood.ms <= nowMs; dueMs = next()) this.#send(dueMs + this.#stood.ms);
      this.#expire(nowMs);
    }, TICK_MS);
  }

  /** How often and how long the sender itself stood still; empty when never. */
  get stood(): string {
    const { times, ms } = this.#stood;
    return times === 0 ? '' : `the sender stood still ${times} times, ${ms.toFixed(0)} ms in all`;
  }

  /** What is sent from now on belongs to this phase. */
  begin(phase: string): void {
    this.#phase = phase;
  }

  /** Sends no more; resolves when every request has its end. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    await eventually(
      'the last answers',
      () => {
        this.#expire(performance.now() - this.#startedAt);
        return this.#inFlight.size === 0 && this.#waiting.length === 0;
      },
      2 * PATIENCE_MS,
    );
    for (const connection of this.#idle) connection.destroy();
  }

  #send(atMs: number): void {
    const session = this.#freeSession();
    const method = this.#random() < POST_SHARE ? 'POST' : 'GET';
    this.#serial += 1;
    const id = method === 'POST' ? `p${this.#serial}` : '';
    session.busy = true;
    const sentMs = performance.now() - this.#startedAt;
    const sent: Sent = { session, phase: this.#phase, method, id, atMs, sentMs, head: '' };
    const write = (): void => this.#write(sent);
    if (this.#idle.length > 0 || this.#open < CONNECTIONS) write();
    else this.#waiting.push(write);
  }

  #freeSession(): Session {
    for (let tries = 0; ; tries += 1) {
      const session = this.#sessions[Math.floor(this.#random() * SESSIONS)];
      if (session !== undefined && (!session.busy || tries > SESSIONS)) return session;
    }
  }

  #write(sent: Sent): void {
    // The one that has been idle longest, so that every connection stays in use.
    const connection = this.#idle.shift() ?? this.#connect();
    const { session, method, id } = sent;
    const cookie = session.cookie === '' ? '' : `cookie: ${session.cookie}\r\n`;
    const body = method === 'POST' ? `x-id: ${id}\r\ncontent-length: 5\r\n\r\nhello` : '\r\n';
    this.#inFlight.set(connection, sent);
    connection.send(Buffer.from(`${method} /item HTTP/1.1\r\nhost: shop\r\n${cookie}${body}`));
  }

  #connect(): LoadConnection {
    const ports = this.#options.rotation();
    this.#turn += 1;
    const port = ports[this.#turn % ports.length];
    if (port === undefined) throw new Error('no gateway is in rotation');
    this.#open += 1;
    return new LoadConnection(port, '127.0.0.1', {
      head: (connection, head) => {
        const sent = this.#inFlight.get(connection);
        if (sent !== undefined) sent.head = head;
      },
      answered: (connection, status, code, reusable) => {
        this.#settle(connection, this.#faultOf(connection, status, code));
        if (reusable) this.#idle.push(connection);
        else this.#open -= 1;
        this.#waiting.shift()?.();
      },
      failed: (connection, failure, untouched) => {
        this.#open -= 1;
        this.#settle(connection, untouched ? `${failure}, connection used before` : failure);
        this.#waiting.shift()?.();
      },
      gone: (connection) => {
        this.#open -= 1;
        const at = this.#idle.indexOf(connection);
        if (at >= 0) this.#idle.splice(at, 1);
      },
    });
  }

  #faultOf(connection: LoadConnection, status: number, code: string): string {
    if (status !== 200) return `${status} ${code}`.trim();
    return FOREIGN.test(this.#inFlight.get(connection)?.head ?? '') ? 'answered by another service' : '';
  }

  #settle(connection: LoadConnection, fault: string): void {
    const sent = this.#inFlight.get(connection);
    if (sent === undefined) return;
    this.#inFlight.delete(connection);
    const { session, phase, method, id, atMs, sentMs, head } = sent;
    const nowMs = performance.now() - this.#startedAt;
    session.busy = false;
    this.ledger.add({ phase, method, id, tookMs: nowMs - atMs, toldMs: nowMs - sentMs, fault });
    if (fault === '') this.#follow(session, phase, head);
  }

  /** The session goes on with the cookie that it was given. */
  #follow(session: Session, phase: string, head: string): void {
    const instance = INSTANCE.exec(head)?.[1] ?? '';
    const cookie = SET_COOKIE.exec(head)?.[1];
    const before = session.instance;
    if (cookie !== undefined) session.cookie = cookie;
    if (before === instance) return;
    if (before === '') {
      session.instance = instance;
      return;
    }
    const left = session.adrift || this.#options.leaves(before);
    session.adrift = left && cookie === undefined;
    // One that starts again on its address keeps its sessions: their cookies name the address.
    if (left || cookie !== undefined) session.instance = instance;
    this.ledger.moved(phase, left ? 'with the instance' : cookie === undefined ? 'spill' : 'without a cause');
  }

  #expire(nowMs: number): void {
    for (const [connection, { atMs }] of this.#inFlight) {
      if (nowMs - atMs < PATIENCE_MS) continue;
      this.#open -= 1;
      connection.destroy();
      this.#settle(connection, 'no answer');
      this.#waiting.shift()?.();
    }
  }
}
