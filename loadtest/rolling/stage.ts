/**
 * The stage of the rolling experiments: five instances of known capacity as processes, one or more gateways before them, and
 * the acts that an operator performs on them while the load runs.
 *
 * The load is 70 % of what the instances can do: 4 slots of 80 ms each are 250 requests/s, whatever the machine can.
 */
import { setTimeout as pause } from 'node:timers/promises';

import { startGateway } from '../../test/harness/gateway.ts';
import type { Gateway } from '../../test/harness/gateway.ts';
import { eventually, freePorts } from '../../test/harness/ports.ts';
import { startRollingInstance } from '../../test/harness/rolling-instance.ts';
import type { DrainStyle, RollingInstance } from '../../test/harness/rolling-instance.ts';
import type { PhaseFigures } from './ledger.ts';
import { RollingLoad } from './load.ts';

const INSTANCES = 5;
const SLOTS = 4;
const MEAN_MS = 80;
const LOAD = 0.7;
const RATE = LOAD * ((INSTANCES * SLOTS * 1000) / MEAN_MS);
const PROBE_MS = 250;
const SESSION_MS = 1000;
/** An instance serves on until its last session has gone and another probe has come; then a second for what is in flight. */
const DRAIN_MS = SESSION_MS + 2 * PROBE_MS;
/** How often a balancer before the gateways asks them, and how long a gateway waits for it. */
const ROTATION_MS = 200;
const GATEWAY_DELAY = '2s';

const CONFIGURATION = (urls: readonly string[]): string => `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 2
shutdown: { delay: ${GATEWAY_DELAY}, timeout: 15s }
log: { access: errors }
services:
  shop:
    instances: [${urls.join(', ')}]
    sla: 500ms
    readiness: { path: /ready, interval: ${PROBE_MS}ms }
    balancing: { slowStart: 1s }
    drain: { sessionTimeout: ${SESSION_MS}ms }
    affinity: { cookie: spillway, keys: [{ id: k1, secret: a-secret-of-the-experiment-only-000 }] }
routes: [{ path: /, service: shop }]
`;

interface Views {
  readonly services?: {
    readonly shop?: { readonly instances: readonly { readonly id: string; readonly state: string }[] };
  };
}

export class Stage implements AsyncDisposable {
  readonly load: RollingLoad;
  readonly #instances: RollingInstance[];
  readonly #gateways: Gateway[];
  #text: string;
  /** One that joins, before it has its place. */
  #spare: RollingInstance | undefined = undefined;
  readonly #serving: Set<number>;
  /** Processes that were told to leave. */
  readonly #leaving = new Set<string>();
  readonly #executed = new Map<string, number>();
  readonly #ended = new AbortController();

  static async open(gateways: number, seed: number, firstPhase: string): Promise<Stage> {
    const ports = await freePorts(INSTANCES);
    const instances = await Promise.all(ports.map(async (port) => await start(port, 'notice')));
    const text = CONFIGURATION(instances.map(({ url }) => url));
    const started = await Promise.all(
      Array.from({ length: gateways }, async () => await startGateway(text, { discardStdout: true })),
    );
    return new Stage(instances, started, text, seed, firstPhase);
  }

  private constructor(
    instances: RollingInstance[],
    gateways: Gateway[],
    text: string,
    seed: number,
    phase: string,
  ) {
    this.#instances = instances;
    this.#gateways = gateways;
    this.#text = text;
    this.#serving = new Set(gateways.map(({ port }) => port));
    this.load = new RollingLoad(
      {
        ratePerSecond: RATE,
        rotation: () => [...this.#serving],
        leaves: (instance) => this.#leaving.has(instance),
        seed,
      },
      phase,
    );
    void this.#rotate();
  }

  get ratePerSecond(): number {
    return RATE;
  }

  /**
   * Replaces every instance, one after the other: a new one joins the list and takes traffic, then the old one is told to end,
   * and leaves the list when it has. So five are there at every moment, and 70 % stays 70 %.
   */
  async rollInstances(style: DrainStyle): Promise<void> {
    for (const [index, old] of this.#instances.entries()) {
      const [port = 0] = await freePorts(1);
      const fresh = await start(port, style);
      this.#spare = fresh;
      await this.#list([...this.#instances, fresh]);
      await eventually(`${fresh.id} is ready everywhere`, async () => {
        const states = await Promise.all(this.#gateways.map(async (each) => await stateOf(each, fresh.id)));
        return states.every((state) => state === 'ready');
      });
      await old.set({ drain: style, drainMs: DRAIN_MS });
      this.#leaving.add(String(old.pid));
      await old.term();
      await this.#collect(old);
      this.#instances[index] = fresh;
      this.#spare = undefined;
      await this.#list(this.#instances);
    }
  }

  /** By a new configuration and a reload of every gateway. */
  async #list(instances: readonly RollingInstance[]): Promise<void> {
    this.#text = CONFIGURATION(instances.map(({ url }) => url));
    for (const gateway of this.#gateways) {
      await gateway.rewrite(this.#text);
      const { status, body } = await gateway.admin('/v1/reload', { method: 'POST' });
      if (status !== 200) throw new Error(`a gateway did not reload: ${JSON.stringify(body)}`);
    }
  }

  /** Replaces the workers of all gateways; resolves when the old ones have ended too. */
  async rollWorkers(): Promise<void> {
    for (const gateway of this.#gateways) {
      const before = new Set(gateway.workerPids());
      const { status, body } = await gateway.admin('/v1/workers/roll', { method: 'POST' });
      if (status !== 200) throw new Error(`the workers did not roll: ${JSON.stringify(body)}`);
      await eventually('the old workers end', () => !gateway.workerPids().some((pid) => before.has(pid)));
    }
  }

  /** Ends one gateway by SIGTERM and starts it again on its address. */
  async restartGateway(index: number): Promise<void> {
    const old = this.#gateways[index];
    if (old === undefined) throw new Error(`there is no gateway ${index}`);
    const exit = await old.stop();
    if (exit.code !== 0)
      throw new Error(`the gateway ended with ${exit.code ?? exit.signal}:\n${old.logs()}`);
    await old[Symbol.asyncDispose]();
    const { port, adminPort } = old;
    this.#gateways[index] = await startGateway(this.#text, {
      discardStdout: true,
      ports: { port, adminPort },
    });
    await eventually('it is in rotation again', () => this.#serving.has(port));
  }

  /** Ends the load. */
  async figures(): Promise<readonly PhaseFigures[]> {
    await this.load.end();
    for (const instance of this.#instances) await this.#collect(instance);
    return this.load.ledger.figures(this.#executed);
  }

  /** A balancer's health checks: a gateway that says no takes no new connections. */
  async #rotate(): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted) {
      await Promise.all(
        this.#gateways.map(async ({ adminUrl, port }) => {
          if (await isReady(adminUrl)) this.#serving.add(port);
          else if (this.#serving.size > 1) this.#serving.delete(port);
        }),
      );
      await pause(ROTATION_MS);
    }
  }

  async #collect(instance: RollingInstance): Promise<void> {
    for (const [id, count] of await instance.executed())
      this.#executed.set(id, (this.#executed.get(id) ?? 0) + count);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await Promise.all(this.#gateways.map(async (gateway) => await gateway[Symbol.asyncDispose]()));
    const instances = this.#spare === undefined ? this.#instances : [...this.#instances, this.#spare];
    await Promise.all(instances.map(async (instance) => await instance[Symbol.asyncDispose]()));
  }
}

async function start(port: number, drain: DrainStyle): Promise<RollingInstance> {
  return await startRollingInstance({ port, drain, drainMs: DRAIN_MS, slots: SLOTS, meanMs: MEAN_MS });
}

async function isReady(adminUrl: string): Promise<boolean> {
  try {
    return (await fetch(`${adminUrl}/readyz`, { signal: AbortSignal.timeout(1000) })).ok;
  } catch {
    return false;
  }
}

async function stateOf(gateway: Gateway, id: string): Promise<string> {
  const { services } = (await gateway.admin('/v1/services')).body as Views;
  return services?.shop?.instances.find((each) => each.id === id)?.state ?? '';
}
