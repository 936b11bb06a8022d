import type { Server } from 'node:http';
import fastify, { LogController, type FastifyHttpOptions, type FastifyInstance } from 'fastify';
import { clientIdentity } from '../plugins/client-identity.ts';
import { guard } from '../plugins/guard.ts';
import { loadShed } from '../plugins/load-shed.ts';
import { outcome } from '../plugins/outcome.ts';
import { proxy, rewriteMounts } from '../plugins/proxy.ts';
import { rateLimit } from '../plugins/rate-limit.ts';
import { requestContext } from '../plugins/request-context.ts';
import { upstream } from '../plugins/upstream.ts';
import { exchangeOf } from './io/exchange.ts';
import { METHODS } from './io/node-http.ts';
import type { RequestPath, Snapshot } from './io/snapshot.ts';
import { walker, type Step } from './io/steps.ts';
import { restoreStringMethods } from './io/string-methods.ts';
import { WorkerRuntime } from './io/worker-runtime.ts';

/**
 * The worker's composition root: the ordered list below IS the path of a request.
 *
 * Step 1, the front gate, stands before it on the raw listener (`io/front-gate.ts`); step 8 closes every request, also
 * those refused before this list, when its response ends (`io/outcome-recorder.ts`).
 */
const STEPS: readonly Step[] = [
  requestContext, // 2 route, deadline
  clientIdentity, // 3 client, tier, priority
  guard, // 4 who is blocked; only where something blocks
  rateLimit, // 4 limits
  loadShed, // 5 admission
  upstream, // 6 instance
  proxy, // 7 forward
];

/** Where no route has a guard and no tier a penalty, no request walks past one. */
function stepsOf({ guards }: Snapshot): readonly Step[] {
  return guards === undefined ? STEPS.filter((step) => step !== guard) : STEPS;
}

async function composePath(snapshot: Snapshot): Promise<RequestPath> {
  return { walk: walker(stepsOf(snapshot)), application: await composeApplication(snapshot) };
}

/** What the last step of rewriting routes needs: a router that knows their mounts. */
async function composeApplication(snapshot: Snapshot): Promise<FastifyInstance> {
  const app: FastifyInstance = fastify({
    logger: false,
    logController: new LogController({ disableRequestLogging: true }),
    exposeHeadRoutes: false,
    return503OnClosing: false,
    routerOptions: { maxParamLength: 16_384, constraints: { mount: mountConstraint } },
  });
  for (const method of METHODS) {
    if (!app.supportedMethods.includes(method)) app.addHttpMethod(method, { hasBody: true });
  }
  await app.register(outcome);
  await app.register(rewriteMounts, { rewrites: rewritesOf(snapshot), methods: app.supportedMethods });
  await app.ready();
  return app;
}

/** Runs this process as a worker until the supervisor ends it; `exit` is called with the exit code. */
export function startWorker(exit: (code: number) => void): void {
  restoreStringMethods();
  new WorkerRuntime(composePath, exit).start();
}

type MountStrategy = NonNullable<
  NonNullable<FastifyHttpOptions<Server>['routerOptions']>['constraints']
>[string];
type MountHandler = Parameters<ReturnType<MountStrategy['storage']>['set']>[1];

/** The router's part in choosing a mount: our own route table has already decided which route a request takes. */
const mountConstraint: MountStrategy = {
  name: 'mount',
  storage: () => {
    const mounts = new Map<string, MountHandler>();
    return {
      get: (mount) => mounts.get(mount) ?? null,
      set: (mount, handler) => {
        mounts.set(mount, handler);
      },
    };
  },
  deriveConstraint: (req) => exchangeOf(req)?.route?.mount as string,
  mustMatchWhenDerived: false,
};

function rewritesOf({ configuration, routes }: Snapshot): { mount: string; path: string; rewrite: string }[] {
  return configuration.routes.flatMap(({ path, rewrite }, index) => {
    const mount = routes[index]?.mount;
    return rewrite === null || mount === undefined ? [] : [{ mount, ...joinable(path, rewrite) }];
  });
}

/** Prefix and replacement end alike, so that what follows the prefix is appended with exactly one slash. */
function joinable(path: string, rewrite: string): { path: string; rewrite: string } {
  const bare = path.endsWith('/') ? path.slice(0, -1) : path;
  if (bare === '') return { path: '/', rewrite: rewrite.endsWith('/') ? rewrite : `${rewrite}/` };
  return { path: bare, rewrite };
}
