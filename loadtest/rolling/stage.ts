/**
 * The stage of the rolling experiments: five instances of known capacity as processes, one or more gateways before them, and
 * the acts that an operator performs on them while the load runs.
 *
 * The load is a share of what the instances can do: 4 slots of 80 ms each are 250 requests/s, whatever the machine can.
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
/** Requests/s. */
export const INSTANCE_CAPACITY = (SLOTS * 1000) / MEAN_MS;
const ROLL_LOAD = 0.7;
export const PROBE_MS = 250;
const SESSION_MS = 1000;
/** An instance serves on until its last session has gone and another probe has come; then a second for what is in flight. */
const DRAIN_MS = SESSION_MS + 2 * PROBE_MS;
/** How often a balancer before the gateways asks them, and how long a gateway waits for it. */
const ROTATION_MS = 200;
const GATEWAY_DELAY = '2s';

const ROLLING = (instances: readonly RollingInstance[]): string => `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 2
shutdown: { delay: ${GATEWAY_DELAY}, timeout: 15s }
log: { access: errors }
services:
  shop:
    instances: [${instances.map(({ url }) => url).join(', ')}]
    sla: 500ms
    readiness: { path: /ready, interval: ${PROBE_MS}ms }
    balancing: { slowStart: 1s }
    drain: { sessionTimeout: ${SESSION_MS}ms }
    affinity: { cookie: spillway, keys: [{ id: k1, secret: a-secret-of-the-experiment-only-000 }] }
routes: [{ path: /, service: shop }]
`;

interface Views {
  readonly services: {
    readonly shop: { readonly instances: readonly { readonly id: string; readonly state: string }[] };
  };
}

export interface StageOptions {
  /** How many. */
  readonly gateways: number;
  readonly seed: number;
  /** What is sent at first belongs to it. */
  readonly phase: string;
  /** Share of what the instances can do; without it 70 %. */
  readonly load?: number;
  /** Of the gateways, for these instances; without it one for rolls. */
  readonly configuration?: (instances: readonly RollingInstance[]) => string;
  /** The instances are on one port of several addresses, as those of a name in DNS are. */
  readonly onePort?: boolean;
}

export class Stage implements AsyncDisposable {
  readonly load: RollingLoad;
  readonly #ratePerSecond: number;
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

  static async open(options: StageOptions): Promise<Stage> {
    const { onePort = false, configuration = ROLLING } = options;
    const ports = await freePorts(onePort ? 1 : INSTANCES);
    const instances = await Promise.all(
      Array.from({ length: INSTANCES }, async (_, index) =>
        onePort
          ? await startInstance(ports[0] ?? 0, `127.0.0.${index + 1}`)
          : await startInstance(ports[index] ?? 0),
      ),
    );
    const text = configuration(instances);
    const gateways = await Promise.all(
      Array.from({ length: options.gateways }, async () => await startGateway(text, { discardStdout: true })),
    );
    return new Stage(options, instances, gateways, text);
  }

  private constructor(
    options: StageOptions,
    instances: RollingInstance[],
    gateways: Gateway[],
    text: string,
  ) {
    this.#instances = instances;
    this.#gateways = gateways;
    this.#text = text;
    this.#serving = new Set(gateways.map(({ port }) => port));
    this.#ratePerSecond = (options.load ?? ROLL_LOAD) * INSTANCES * INSTANCE_CAPACITY;
    this.load = new RollingLoad(
      {
        ratePerSecond: this.#ratePerSecond,
        rotation: () => [...this.#serving],
        leaves: (instance) => this.#leaving.has(instance),
        seed: options.seed,
      },
      options.phase,
    );
    void this.#rotate();
  }

  /** What was sent, in words. */
  get loadText(): string {
    const { stood } = this.load;
    return `${this.#ratePerSecond} requests/s${stood === '' ? '' : `; ${stood}`}`;
  }

  get instances(): readonly RollingInstance[] {
    return this.#instances;
  }

  get gateways(): readonly Gateway[] {
    return this.#gateways;
  }

  /**
   * Replaces every instance, one after the other: a new one joins the list and takes traffic, then the old one is told to end,
   * and leaves the list when it has. So five are there at every moment, and 70 % stays 70 %.
   */
  async rollInstances(style: DrainStyle): Promise<void> {
    for (const [index, old] of this.#instances.entries()) {
      const [port = 0] = await freePorts(1);
      const fresh = await startInstance(port);
      this.#spare = fresh;
      await this.#list([...this.#instances, fresh]);
      await eventually(`${fresh.id} is ready everywhere`, async () => {
        const states = await Promise.all(this.#gateways.map(statesOf));
        return states.every((each) => each.get(fresh.id) === 'ready');
      });
      await old.set({ drain: style, drainMs: DRAIN_MS });
      this.forgive(old);
      await old.term();
      await this.#collect(old);
      this.#instances[index] = fresh;
      this.#spare = undefined;
      await this.#list(this.#instances);
    }
  }

  /** By a new configuration and a reload of every gateway. */
  async #list(instances: readonly RollingInstance[]): Promise<void> {
    this.#text = ROLLING(instances);
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

  /** Who moves away from this process has a cause. */
  forgive({ pid }: RollingInstance): void {
    this.#leaving.add(String(pid));
  }

  /** Another process takes the place of one that has ended, on its address. */
  async restartInstance(index: number): Promise<void> {
    const old = this.#instances[index];
    if (old === undefined) throw new Error(`there is no instance ${index}`);
    await this.#collect(old);
    this.#instances[index] = await startInstance(old.port, old.host);
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

export async function startInstance(port: number, host = '127.0.0.1'): Promise<RollingInstance> {
  const settings = { host, port, slots: SLOTS, meanMs: MEAN_MS };
  return await startRollingInstance({ ...settings, drain: 'notice', drainMs: DRAIN_MS });
}

async function isReady(adminUrl: string): Promise<boolean> {
  try {
    return (await fetch(`${adminUrl}/readyz`, { signal: AbortSignal.timeout(1000) })).ok;
  } catch {
    return false;
  }
}

/** What a gateway says of each of its instances, by id. */
export async function statesOf(gateway: Gateway): Promise<ReadonlyMap<string, string>> {
  const { services } = (await gateway.admin('/v1/services')).body as Views;
  return new Map(services.shop.instances.map(({ id, state }) => [id, state]));
}
