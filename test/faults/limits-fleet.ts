/**
 * Several gateways of one worker each in front of one origin, all under the same limits in one Redis, which each reaches through
 * a relay of its own; and callers that ask all of them at a steady pace for more than the limit allows.
 *
 * Every answer is kept with the moments when it was asked and given, so that a row can count who was admitted while what.
 */
import { Agent, request } from 'node:http';
import type { Gateway } from '../harness/gateway.ts';
import { startGateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { Relay } from '../harness/redis.ts';
import type { Listening } from '../integration/path-fixture.ts';
import { startService } from '../integration/path-fixture.ts';

/** What the callers' one client may ask, in all. */
export const RATE = 100;
export const BURST = 20;
/** Asked of each gateway a second; three ask three times the limit. */
const OFFERED = 100;
const PACE_MS = 1000 / OFFERED;
/** A store that stands still is suspected this long before it is called lost, and nobody asks it meanwhile. */
const SUSPECT_MS = 330;

export interface Asked {
  readonly gateway: number;
  readonly startMs: number;
  readonly waitedMs: number;
  /** 0 when the connection failed. */
  readonly status: number;
}

export interface FleetMember {
  readonly gateway: Gateway;
  /** Undefined where the gateway goes to Redis by itself. */
  readonly relay: Relay | undefined;
}

/** @param redis the section as YAML in one line; by default an address, and a relay to it for each gateway */
export class Fleet implements AsyncDisposable {
  readonly members: readonly FleetMember[];
  readonly asked: Asked[] = [];
  readonly #origin: Listening;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });
  #timers: NodeJS.Timeout[] = [];
  #running = 0;

  private constructor(members: readonly FleetMember[], origin: Listening) {
    this.members = members;
    this.#origin = origin;
  }

  static async start(gateways: number, port: number, redis?: string): Promise<Fleet> {
    const origin = await startService(
      (_, response) => void response.writeHead(200, { 'content-length': 2 }).end('ok'),
    );
    const members = await Promise.all(
      Array.from({ length: gateways }, async (): Promise<FleetMember> => {
        const relay = redis === undefined ? await Relay.start(port) : undefined;
        const section =
          redis ??
          `{ url: 'redis://127.0.0.1:${relay?.port}', keySecret: a-secret-of-tests, gateways: ${gateways} }`;
        return { relay, gateway: await startGateway(configurationOf(origin.url, section)) };
      }),
    );
    return new Fleet(members, origin);
  }

  /** Callers begin, spread over the gateways and over time. */
  begin(): void {
    this.asked.length = 0;
    for (const [index, { gateway }] of this.members.entries()) {
      const startMs = performance.now() + (index * PACE_MS) / this.members.length;
      let sent = 0;
      // What is due by now is sent now: a busy machine must not thin out the load.
      const timer = setInterval(() => {
        for (; startMs + sent * PACE_MS <= performance.now(); sent++) this.#ask(index, gateway.port);
      }, PACE_MS / 2);
      this.#timers.push(timer);
    }
  }

  /** Callers stop; resolves when the last answer is there. */
  async end(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
    await eventually('the last answer is there', () => this.#running === 0);
  }

  /** Until every gateway decides by the store, as `/metrics` says. */
  async whole(): Promise<void> {
    await eventually('every gateway has its store', async () => {
      const fallbacks = await this.metric('limit_fallback');
      return fallbacks.every((value) => value === 0);
    });
  }

  async lost(some = this.members.length): Promise<void> {
    await eventually('the store is lost', async () => {
      const fallbacks = await this.metric('limit_fallback');
      return fallbacks.filter((value) => value === 1).length >= some;
    });
  }

  /** Of each gateway; the sum over a metric's labels that fit. */
  async metric(name: string, labels = ''): Promise<number[]> {
    return await Promise.all(
      this.members.map(async ({ gateway }) => {
        const text = String((await gateway.admin('/metrics')).body);
        let sum = 0;
        for (const [, shown = '', value] of text.matchAll(
          new RegExp(`^spillway_${name}(\\{.*\\})? (\\S+)$`, 'gm'),
        )) {
          if (shown.includes(labels)) sum += Number(value);
        }
        return sum;
      }),
    );
  }

  /** Those who were asked and answered between the two moments. */
  admitted(fromMs = -Infinity, toMs = Infinity, gateway?: number): number {
    return this.asked.filter(
      (each) =>
        each.status === 200 &&
        each.startMs >= fromMs &&
        each.startMs + each.waitedMs <= toMs &&
        (gateway === undefined || each.gateway === gateway),
    ).length;
  }

  /** From the first question to the last answer. */
  get spanMs(): number {
    const from = Math.min(...this.asked.map(({ startMs }) => startMs));
    return Math.max(...this.asked.map(({ startMs, waitedMs }) => startMs + waitedMs)) - from;
  }

  /**
   * What the gateways say of their store since a moment (`Date.now()`): how often the one that lost it most often did so, and
   * for how long some had it while others had not. One that is slow is left for up to a third of a second before it is said.
   */
  storeTold(sinceMs: number): { losses: number; mixedMs: number } {
    const changes: { at: number; gateway: number; lost: boolean }[] = [];
    for (const [gateway, member] of this.members.entries()) {
      for (const line of member.gateway.logs().split('\n')) {
        if (!/"msg":"Redis is (up|down)"/.test(line)) continue;
        const { time, msg } = JSON.parse(line) as { time: number; msg: string };
        const lost = msg.endsWith('down');
        const at = lost ? time - SUSPECT_MS : time;
        if (time >= sinceMs) changes.push({ at, gateway, lost });
      }
    }
    const lost = new Set<number>();
    let mixedMs = 0;
    let before = 0;
    for (const change of changes.toSorted((a, b) => a.at - b.at)) {
      if (lost.size > 0 && lost.size < this.members.length) mixedMs += change.at - before;
      if (change.lost) lost.add(change.gateway);
      else lost.delete(change.gateway);
      before = change.at;
    }
    const losses = this.members.map(
      (_, i) => changes.filter((each) => each.lost && each.gateway === i).length,
    );
    return { losses: Math.max(...losses), mixedMs };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#agent.destroy();
    await Promise.all(
      this.members.map(async ({ gateway, relay }) => {
        await gateway.kill();
        await gateway[Symbol.asyncDispose]();
        await relay?.stop();
      }),
    );
    await this.#origin[Symbol.asyncDispose]();
  }

  #ask(gateway: number, port: number): void {
    const startMs = performance.now();
    this.#running++;
    const ended = (status: number): void => {
      this.#running--;
      this.asked.push({ gateway, startMs, waitedMs: performance.now() - startMs, status });
    };
    const headers = { 'x-api-key': 'the-key' };
    const sent = request({ host: '127.0.0.1', port, agent: this.#agent, headers }, (response) => {
      response.resume();
      response.once('end', () => ended(response.statusCode ?? 0));
    });
    sent.once('error', () => ended(0));
    sent.end();
  }
}

/** @param redis empty: no such section */
export function configurationOf(originUrl: string, redis: string, workers = 1): string {
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: ${workers}
log: { access: errors }
${redis === '' ? '' : `redis: ${redis}`}
services: { shop: { instances: [${originUrl}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
clients: { keys: [{ key: the-key, client: gina, tier: gold }] }
tiers: { gold: { rate: ${RATE}/s, burst: ${BURST} } }
routes: [{ path: /, service: shop }]
`;
}
