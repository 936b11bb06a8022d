/**
 * An origin of known capacity, as a process of its own: `slots` requests are worked on at a time, each for a lognormal
 * time, the rest wait first in, first out, without bound. That is the model of every overload figure of this project: capacity is exactly slots ÷ mean time.
 *
 * It does not notice that a caller has left: what was sent is worked on, as most services do; the time so spent is
 * counted. Told what to do, and asked for its counts, over IPC only, so that no load can delay a command; it ends with
 * its parent. A mean of 0 answers at once.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';

import { seededRandom } from '../../src/kernel/random.ts';
import type { OriginCommand, OriginReport, OriginSettings } from './origin.ts';

interface Job {
  readonly response: ServerResponse;
  left: boolean;
}

function serve(initial: OriginSettings): void {
  const random = seededRandom(initial.seed);
  let { slots, meanMs, sigma, exponential, hangsUp, ready, status, bodyBytes } = initial;
  let body = Buffer.alloc(bodyBytes, 'x');
  const waiting: Job[] = [];
  let head = 0;
  let busy = 0;
  let maxBusy = 0;
  let arrived = 0;
  let answered = 0;
  let abandoned = 0;
  let busyMs = 0;
  let busyAfterLeftMs = 0;
  let probes = 0;
  const byPath = new Map<string, number>();

  /** Lognormal with the mean `meanMs`: μ = ln(mean) − σ²/2. Box–Muller from the seeded source. Or exponential. */
  const serviceMs = (): number => {
    if (meanMs === 0) return 0;
    if (exponential) return -meanMs * Math.log(1 - random());
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return meanMs * Math.exp(sigma * normal - (sigma * sigma) / 2);
  };
  const finish = (job: Job, startedAt: number): void => {
    const tookMs = performance.now() - startedAt;
    busyMs += tookMs;
    busy -= 1;
    if (job.left) {
      abandoned += 1;
      busyAfterLeftMs += tookMs;
    } else {
      answered += 1;
      job.response.writeHead(status, { 'content-type': 'text/plain', 'content-length': body.length });
      job.response.end(body);
    }
    startNext();
  };
  const startNext = (): void => {
    while (busy < slots && head < waiting.length) {
      const job = waiting[head];
      head += 1;
      if (head > 1024 && head * 2 > waiting.length) {
        waiting.splice(0, head);
        head = 0;
      }
      if (job === undefined) return;
      busy += 1;
      maxBusy = Math.max(maxBusy, busy);
      const startedAt = performance.now();
      const spanMs = serviceMs();
      if (spanMs === 0) finish(job, startedAt);
      else setTimeout(finish, spanMs, job, startedAt);
    }
  };
  const take = (request: IncomingMessage, response: ServerResponse): void => {
    if (request.url === '/ready') {
      probes += 1;
      response.writeHead(ready ? 200 : 503, { 'content-length': 0 }).end();
      return;
    }
    arrived += 1;
    if (hangsUp) {
      request.socket.destroy();
      return;
    }
    const path = request.url ?? '';
    if (byPath.size < 100 || byPath.has(path)) byPath.set(path, (byPath.get(path) ?? 0) + 1);
    const job: Job = { response, left: false };
    response.once('close', () => {
      job.left = !response.writableFinished;
    });
    request.resume();
    waiting.push(job);
    startNext();
  };
  const report = (): OriginReport => ({
    arrived,
    answered,
    abandoned,
    probes,
    busyMs,
    busyAfterLeftMs,
    inService: busy,
    maxInService: maxBusy,
    queued: waiting.length - head,
    byPath: Object.fromEntries(byPath),
  });

  const server = createServer({ keepAliveTimeout: 60_000 }, take);
  server.listen({ port: initial.port, host: '127.0.0.1', backlog: 4096 }, () => {
    const address = server.address();
    process.send?.({ type: 'listening', port: typeof address === 'object' ? address?.port : undefined });
  });
  process.on('message', (command: OriginCommand) => {
    if (command.type === 'set') {
      slots = command.slots ?? slots;
      meanMs = command.meanMs ?? meanMs;
      sigma = command.sigma ?? sigma;
      exponential = command.exponential ?? exponential;
      hangsUp = command.hangsUp ?? hangsUp;
      ready = command.ready ?? ready;
      status = command.status ?? status;
      if (command.bodyBytes !== undefined && command.bodyBytes !== bodyBytes) {
        bodyBytes = command.bodyBytes;
        body = Buffer.alloc(bodyBytes, 'x');
      }
      startNext();
    }
    process.send?.({ type: 'report', id: command.id, report: report() });
  });
  process.once('disconnect', () => process.exit(0));
  // Ctrl-C reaches the whole process group: the parent decides when the origin ends.
  process.on('SIGINT', () => undefined);
}

serve(JSON.parse(process.argv[2] ?? '{}') as OriginSettings);
