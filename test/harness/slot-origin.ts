/**
 * An origin of known capacity in the test's own process, which notices when a caller leaves: his place is free at once,
 * in service or in line. Being in the same process as the callers it knows the moment at which each of them left, so
 * it can tell how long it worked for nobody.
 *
 * `slots` requests are worked on at a time, each for a lognormal time around `meanMs`; the rest wait, first in first
 * out. What a test gives as `other` may take a request out of all this: streams, slow bodies.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

import { seededRandom } from '../../src/kernel/random.ts';
import { startListener } from './origin.ts';
import type { InProcessOrigin } from './origin.ts';

export interface SlotOriginOptions {
  readonly slots: number;
  readonly meanMs: number;
  readonly sigma?: number;
  readonly seed?: number;
  /** True: it has taken this request, which is neither counted nor given a slot. */
  readonly other?: (request: IncomingMessage, response: ServerResponse) => boolean;
}

export interface SlotOrigin extends Omit<InProcessOrigin, 'requests'> {
  readonly counts: {
    arrived: number;
    answered: number;
    /** In service or in line whose caller had not left. */
    held: number;
    maxHeld: number;
    /** Slot time, and the part of it spent after the caller of the path had left. */
    busyMs: number;
    wastedMs: number;
  };
  /** The caller that asks for this path leaves now. */
  readonly leaves: (path: string) => void;
}

interface Job {
  readonly path: string;
  readonly response: ServerResponse;
  startedMs: number;
  timer: NodeJS.Timeout | undefined;
  over: boolean;
  /** Its caller has not left. */
  present: boolean;
}

export async function startSlotOrigin(options: SlotOriginOptions): Promise<SlotOrigin> {
  const { slots, meanMs, sigma = 0.5, seed = 7, other } = options;
  const random = seededRandom(seed);
  const counts: SlotOrigin['counts'] = {
    arrived: 0,
    answered: 0,
    held: 0,
    maxHeld: 0,
    busyMs: 0,
    wastedMs: 0,
  };
  const line: Job[] = [];
  /** Of a path, its job; when its caller left. */
  const jobs = new Map<string, Job>();
  const leftAtMs = new Map<string, number>();
  let busy = 0;

  const serviceMs = (): number => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return meanMs * Math.exp(sigma * normal - (sigma * sigma) / 2);
  };
  const fill = (): void => {
    while (busy < slots) {
      const job = line.shift();
      if (job === undefined) return;
      if (job.over) continue;
      busy += 1;
      job.startedMs = performance.now();
      job.timer = setTimeout(finish, serviceMs(), job);
    }
  };
  const forsake = (job: Job | undefined): void => {
    if (job?.present !== true) return;
    job.present = false;
    counts.held -= 1;
  };
  const end = (job: Job): void => {
    job.over = true;
    forsake(job);
    if (job.timer === undefined) return;
    clearTimeout(job.timer);
    busy -= 1;
    const now = performance.now();
    counts.busyMs += now - job.startedMs;
    const leftMs = leftAtMs.get(job.path);
    if (leftMs !== undefined) counts.wastedMs += now - Math.max(leftMs, job.startedMs);
  };
  const finish = (job: Job): void => {
    if (job.over) return;
    end(job);
    counts.answered += 1;
    job.response.writeHead(200, { 'content-length': 2 }).end('ok');
    fill();
  };
  const origin = await startListener((request, response) => {
    const path = request.url ?? '';
    if (path === '/ready') {
      response.writeHead(200, { 'content-length': 0 }).end();
      return;
    }
    if (other?.(request, response) === true) return;
    request.resume();
    counts.arrived += 1;
    const present = !leftAtMs.has(path);
    const job: Job = { path, response, startedMs: 0, timer: undefined, over: false, present };
    jobs.set(path, job);
    if (present) counts.held += 1;
    counts.maxHeld = Math.max(counts.maxHeld, counts.held);
    response.once('close', () => {
      if (job.over) return;
      end(job);
      fill();
    });
    line.push(job);
    fill();
  });
  return {
    ...origin,
    counts,
    leaves: (path) => {
      leftAtMs.set(path, performance.now());
      forsake(jobs.get(path));
    },
  };
}
