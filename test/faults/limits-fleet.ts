/**
 * Several gateways of one worker each in front of one origin, all under the same limits in one Redis, which each reaches through
 * a relay of its own; and callers that ask all of them at a steady pace for more than the limit allows.
 *
 * Every answer is kept with the moments when it was asked and given, so that a row can count who was admitted while what.
 */
import { Agent, request } from 'node:http';
import type { OutgoingHttpHeaders } from 'node:http';
import { expect } from 'vitest';
import type { Gateway } from '../harness/gateway.ts';
import { startGateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { Relay } from '../harness/redis.ts';
import type { Listening } from '../integration/path-fixture.ts';
import { startService } from '../integration/path-fixture.ts';

/** As limits.md has it for the failures of its table. */
export const GATEWAYS = 4;
/** What the callers' client may ask, in all. Nothing is leased, so that every window is exact while there is a store. */
export const RATE = 100;
export const BURST = 20;
/** So long after the last question its bucket is full, in the store as in each gateway, and what comes then is lost. */
export const FULL_MS = (BURST / RATE) * 1000;
/** Asked of each gateway a second; four ask three times the limit. */
const OFFERED = 75;
const PACE_MS = 1000 / OFFERED;
/** A store that is silent or late is suspected this long before it is called lost, and nobody asks it meanwhile. */
const SUSPECT_MS = 330;
/** Of a caller without a key: nothing of it comes back within a test, so what is gone from its bucket counts its charges. */
const STRANGER_BURST = 5;
export const STRANGER_TICKS = 600_000_000;

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

export interface StoreTold {
  /** How often the one that lost it most often did so. */
  readonly losses: number;
  /** How long some had lost it while others had it, times the part of all gateways that they were. */
  readonly besideMs: number;
  /** The last change, `Date.now()`. */
  readonly changedMs: number;
}

/** @param redis the section as YAML in one line; by default an address, and a relay to it for each gateway */
export class Fleet implements AsyncDisposable {
  readonly members: readonly FleetMember[];
  readonly asked: Asked[] = [];
  readonly #origin: Listening;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });
  #timers: NodeJS.Timeout[] = [];
  /** When the callers' timers went off. */
  #ticks: number[] = [];
  #running = 0;

  private constructor(members: readonly FleetMember[], origin: Listening) {
    this.members = members;
    this.#origin = origin;
  }

  static async start(port: number, redis?: string): Promise<Fleet> {
    const origin = await startService(
      (_, response) => void response.writeHead(200, { 'content-length': 2 }).end('ok'),
    );
    const members = await Promise.all(
      Array.from({ length: GATEWAYS }, async (): Promise<FleetMember> => {
        const relay = redis === undefined ? await Relay.start(port) : undefined;
        const section =
          redis ??
          `{ url: 'redis://127.0.0.1:${relay?.port}', keySecret: a-secret-of-tests, gateways: ${GATEWAYS} }`;
        return { relay, gateway: await startGateway(configurationOf(origin.url, section)) };
      }),
    );
    return new Fleet(members, origin);
  }

  /** Callers begin, spread over the gateways and over time. */
  begin(headers: (asked: number) => OutgoingHttpHeaders = asGina): void {
    this.asked.length = 0;
    this.#ticks = [];
    let asked = 0;
    for (const [index, { gateway }] of this.members.entries()) {
      const startMs = performance.now() + (index * PACE_MS) / GATEWAYS;
      let sent = 0;
      // What is due by now is sent now: a busy machine must not thin out the load.
      const timer = setInterval(() => {
        this.#ticks.push(performance.now());
        for (; startMs + sent * PACE_MS <= performance.now(); sent++)
          this.#ask(index, gateway.port, headers(asked++));
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

  async lost(some = GATEWAYS): Promise<void> {
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

  /** Those who were admitted, asked and answered between the two moments. */
  admitted(fromMs = -Infinity, toMs = Infinity, gateway?: number): number {
    return this.#between(fromMs, toMs, gateway).filter(({ status }) => status === 200).length;
  }

  /** The first question and the last answer. */
  get span(): readonly [firstMs: number, lastMs: number] {
    return [Math.min(...this.asked.map(({ startMs }) => startMs)), Math.max(...this.asked.map(endOf))];
  }

  /**
   * For how much of this time the limit could be used: all of it, but for pauses of the callers or of a gateway that may have
   * been long enough for a bucket to be full. Of one gateway, or of all as one.
   */
  usableMs(fromMs: number, toMs: number, gateway?: number): number {
    const asked = this.#between(fromMs, toMs, gateway).toSorted((a, b) => a.startMs - b.startMs);
    const starts = [fromMs, ...asked.map(({ startMs }) => startMs)];
    const ends = [...asked.map(endOf), toMs];
    // One was decided after it was asked, the next before it was answered.
    return starts.reduce(
      (usable, startMs, i) => usable - Math.max(0, (ends[i] as number) - startMs - FULL_MS),
      toMs - fromMs,
    );
  }

  /** How many times too seldom the callers' timers went off between two moments: 1 where the machine has time. */
  slowness(fromMs: number, toMs: number): number {
    const ticks = this.#ticks.filter((at) => at >= fromMs && at <= toMs).length;
    return (toMs - fromMs) / (PACE_MS / 2 / GATEWAYS) / Math.max(1, ticks);
  }

  /** How often the store was asked for a request so far, as the relays saw it. */
  storeAsked(): number {
    return this.members.reduce((sum, { relay }) => sum + (relay?.asked ?? 0), 0);
  }

  /** How often each gateway's worker tried its connection so far. */
  beats(): number[] {
    return this.members.map(({ relay }) => relay?.beats ?? 0);
  }

  /** What the gateways say of their store since a moment (`Date.now()`). */
  storeTold(sinceMs: number): StoreTold {
    const changes: { at: number; gateway: number; lost: boolean }[] = [];
    for (const [gateway, member] of this.members.entries()) {
      for (const line of member.gateway.logs().split('\n')) {
        if (!/"msg":"Redis is (up|down)"/.test(line)) continue;
        const { time, msg, reason } = JSON.parse(line) as { time: number; msg: string; reason: string };
        const lost = msg.endsWith('down');
        const at = lost && /silent|slow/.test(reason) ? time - SUSPECT_MS : time;
        if (time >= sinceMs) changes.push({ at, gateway, lost });
      }
    }
    const lost = new Set<number>();
    let besideMs = 0;
    let before = 0;
    for (const change of changes.toSorted((a, b) => a.at - b.at)) {
      if (lost.size < GATEWAYS) besideMs += ((change.at - before) * lost.size) / GATEWAYS;
      if (change.lost) lost.add(change.gateway);
      else lost.delete(change.gateway);
      before = change.at;
    }
    const losses = this.members.map(
      (_, i) => changes.filter((each) => each.lost && each.gateway === i).length,
    );
    return { losses: Math.max(...losses), besideMs, changedMs: before };
  }

  #between(fromMs: number, toMs: number, gateway?: number): Asked[] {
    return this.asked.filter(
      (each) =>
        each.startMs >= fromMs && endOf(each) <= toMs && (gateway === undefined || each.gateway === gateway),
    );
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

  #ask(gateway: number, port: number, headers: OutgoingHttpHeaders): void {
    const startMs = performance.now();
    this.#running++;
    const ended = (status: number): void => {
      this.#running--;
      this.asked.push({ gateway, startMs, waitedMs: performance.now() - startMs, status });
    };
    const sent = request({ host: '127.0.0.1', port, agent: this.#agent, headers }, (response) => {
      response.resume();
      response.once('end', () => ended(response.statusCode ?? 0));
    });
    sent.once('error', () => ended(0));
    sent.end();
  }
}

/**
 * What the gateways must let through by their shares of r/G each while all have lost the store, and may at most: r·W, but for
 * a unit at either end for each, and for the time in which their buckets stood full.
 */
export function expectFairShares(fleet: Fleet, fromMs: number, toMs: number): void {
  let least = 0;
  for (let i = 0; i < GATEWAYS; i++)
    least += (RATE / GATEWAYS) * (fleet.usableMs(fromMs, toMs, i) / 1000) - 2;
  expect(fleet.admitted(fromMs, toMs)).toBeGreaterThanOrEqual(Math.floor(least));
  const most = (RATE * (toMs - fromMs)) / 1000 + BURST + GATEWAYS;
  expect(fleet.admitted(fromMs, toMs)).toBeLessThanOrEqual(most);
}

/** Every caller was answered, some were admitted and some refused, and none heard a 5xx. */
export function expectAnswered({ asked }: Fleet): void {
  expect(new Set(asked.map(({ status }) => status))).toEqual(new Set([200, 429]));
}

/**
 * L7 of limits.md: r·W + (1 + k)(b + G·c) + N·B, k = how often the store was lost; N·B is nothing here. Beside it a burst for
 * each key that the store forgot by itself, and r·cut/G for as long as only some were cut off.
 */
export function expectWithinBound(fleet: Fleet, sinceMs: number, forgotten = 0): void {
  const { losses, besideMs } = fleet.storeTold(sinceMs);
  const bursts = (1 + losses) * (BURST + GATEWAYS) + forgotten * BURST;
  const [first, last] = fleet.span;
  const most = (RATE * (last - first + besideMs)) / 1000 + bursts;
  expect(fleet.admitted()).toBeLessThanOrEqual(most);
}

/** Every one comes from another address, and so has a bucket of its own. */
export function asStranger(asked: number): OutgoingHttpHeaders {
  return { 'x-forwarded-for': `10.0.${asked >> 8}.${asked & 255}` };
}

function asGina(): OutgoingHttpHeaders {
  return { 'x-api-key': 'the-key' };
}

function endOf({ startMs, waitedMs }: Asked): number {
  return startMs + waitedMs;
}

/** @param redis empty: no such section */
export function configurationOf(originUrl: string, redis: string, workers = 1): string {
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: ${workers}
log: { access: errors }
${redis === '' ? '' : `redis: ${redis}`}
services: { shop: { instances: [${originUrl}], shedding: { mode: off }, sla: 30s, timeout: { request: 60s }, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
trust: { proxies: [127.0.0.1/32] }
clients: { keys: [{ key: the-key, client: gina, tier: gold }] }
tiers: { gold: { rate: ${RATE}/s, burst: ${BURST} }, default: { rate: 1/m, burst: ${STRANGER_BURST} } }
limits: { enforcement: exact }
routes: [{ path: /, service: shop }]
`;
}
