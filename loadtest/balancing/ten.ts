/**
 * Ten instances as processes of known capacity behind one gateway, for what balancing promises when some of them are bad:
 * eight slots each, exponential times as in the simulations (test/simulation/balancing.test.ts), callers that wait for nobody.
 */
import { startGateway } from '../../test/harness/gateway.ts';
import type { Gateway } from '../../test/harness/gateway.ts';
import type { LoadResult } from '../../test/harness/load-statistics.ts';
import { runOpenLoop } from '../../test/harness/open-loop.ts';
import { startOrigin } from '../../test/harness/origin.ts';
import type { Origin } from '../../test/harness/origin.ts';

export const TEN = 10;
const SLOTS = 8;
/** Twice the simulated time: half would leave p99 to the scheduler of a machine with two cores, double needs rounds of a minute. */
const MEAN_MS = 40;

const CONFIGURATION = (instances: readonly Origin[], workers: number): string => `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: ${workers}
log: { access: off }
services:
  shop:
    instances: [${instances.map(({ url }) => url).join(', ')}]
    sla: 2s
    readiness: { path: /ready, interval: 500ms, rise: 1 }
    shedding: { mode: observe }
routes: [{ path: /, service: shop }]
`;

export class Ten implements AsyncDisposable {
  readonly instances: readonly Origin[];
  readonly gateway: Gateway;

  static async start(workers: number): Promise<Ten> {
    const instances = await Promise.all(
      Array.from({ length: TEN }, (_, index) =>
        startOrigin({ slots: SLOTS, meanMs: MEAN_MS, exponential: true, seed: 100 + index }),
      ),
    );
    return new Ten(instances, await startGateway(CONFIGURATION(instances, workers), { discardStdout: true }));
  }

  private constructor(instances: readonly Origin[], gateway: Gateway) {
    this.instances = instances;
    this.gateway = gateway;
  }

  /** The first of them take so many times as long from now on. */
  async slow(count: number, times: number): Promise<void> {
    await Promise.all(this.instances.slice(0, count).map((one) => one.set({ meanMs: times * MEAN_MS })));
  }

  /**
   * @param loadRatio of what so many whole instances can do
   * @param fromMs what is sent before is not counted
   */
  async load(
    loadRatio: number,
    whole: number,
    seconds: number,
    seed: number,
    fromMs = 0,
  ): Promise<LoadResult> {
    return await runOpenLoop({
      port: this.gateway.port,
      classes: [{ name: 'all', share: 1 }],
      phases: [{ seconds, ratePerSecond: loadRatio * whole * ((SLOTS / MEAN_MS) * 1000) }],
      slaMs: 2000,
      measureFromMs: fromMs,
      seed,
    });
  }

  /** How many requests each instance was sent. */
  async arrivals(): Promise<readonly number[]> {
    return (await Promise.all(this.instances.map((one) => one.report()))).map(({ arrived }) => arrived);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway[Symbol.asyncDispose]();
    await Promise.all(this.instances.map((one) => one[Symbol.asyncDispose]()));
  }
}
