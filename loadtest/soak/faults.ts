/** Does to a gateway and its surroundings what the timeline says, and notes when. */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { setTimeout as pause } from 'node:timers/promises';

import type { Gateway } from '../../test/harness/gateway.ts';
import { eventually } from '../../test/harness/ports.ts';
import { isAlive, startProcess } from '../../test/harness/process.ts';
import type { RunningProcess } from '../../test/harness/process.ts';
import { openRaw } from '../../test/harness/raw.ts';
import type { RawConnection } from '../../test/harness/raw.ts';
import type { RedisServer } from '../../test/harness/redis.ts';
import type { Certificates } from './configuration.ts';
import { refusal } from './outcomes.ts';
import type { Recorder } from './recorder.ts';
import type { SoakEvent } from './timeline.ts';

/** Starts an instance on this port and waits until it listens. */
export async function startInstance(port: number): Promise<RunningProcess> {
  const script = fileURLToPath(new URL('instance.ts', import.meta.url));
  const running = await startProcess(process.execPath, [script, JSON.stringify({ port })], { ipc: true });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  running.child.once('message', () => resolve());
  void running.exited.then(() => reject(new Error(`an instance ended:\n${running.output()}`)));
  await promise;
  return running;
}

export interface Surroundings {
  readonly gateway: Gateway;
  readonly redis: RedisServer;
  readonly certificates: Certificates;
  /** Replaced by each restart. */
  readonly instances: { readonly port: number; running: RunningProcess }[];
  /** The port of the listener that one variant adds. */
  readonly extraPort: number;
  readonly yaml: (variant: number) => string;
  readonly recorder: Recorder;
}

/** What a soak leaves behind for its judgement. */
export interface Done {
  readonly refusedReloads: string[];
  /** When which certificate came in place, by serial number. */
  readonly swaps: { readonly atMs: number; readonly serial: string }[];
  /** The one that was killed and the one that came. */
  killedWorker: number | undefined;
  heir: number | undefined;
  readonly reloads: { count: number };
}

/** Carries out all events in their time, each by itself, and returns when the last is over. */
export async function injectFaults(
  events: readonly SoakEvent[],
  around: Surroundings,
  isOver: () => boolean,
): Promise<Done> {
  const done: Done = {
    refusedReloads: [],
    swaps: [],
    killedWorker: undefined,
    heir: undefined,
    reloads: { count: 0 },
  };
  const idle: RawConnection[] = [];
  const running: Promise<void>[] = [];
  for (const event of events) {
    while (around.recorder.nowMs < event.atMs && !isOver())
      await pause(Math.min(250, Math.max(1, event.atMs - around.recorder.nowMs)));
    if (isOver()) break;
    running.push(inject(event, around, done, idle));
  }
  await Promise.all(running);
  for (const connection of idle) connection.socket.unref();
  return done;
}

async function inject(
  event: SoakEvent,
  around: Surroundings,
  done: Done,
  idle: RawConnection[],
): Promise<void> {
  const { recorder, redis, gateway } = around;
  const fromMs = Date.now();
  const note = (): void => {
    recorder.faults.push({ what: event.what, fromMs, toMs: Date.now() });
  };
  switch (event.what) {
    case 'reload':
      await reload(event.variant, around, done, idle);
      break;
    case 'kill-instance': {
      const place = around.instances[event.index];
      if (place === undefined) return;
      await place.running.kill();
      note();
      await pause(event.forMs);
      place.running = await startInstance(place.port);
      return;
    }
    case 'redis-away':
      if (event.how === 'stopped') redis.pause();
      else await redis.kill();
      await pause(event.forMs);
      if (event.how === 'stopped') redis.resume();
      else await redis.restart();
      break;
    case 'kill-worker': {
      const before = gateway.workerPids();
      const [victim] = before;
      if (victim === undefined) return;
      done.killedWorker = victim;
      process.kill(victim, 'SIGKILL');
      await eventually('the end of the worker', () => !isAlive(victim));
      note();
      await eventually('another worker', () => gateway.workerPids().some((pid) => !before.includes(pid)));
      done.heir = gateway.workerPids().find((pid) => !before.includes(pid));
      return;
    }
    case 'certificate':
      await around.certificates.swap();
      done.swaps.push({
        atMs: recorder.nowMs,
        serial: new X509Certificate(await readFile(around.certificates.certFile)).serialNumber,
      });
      break;
    default:
      event satisfies never;
  }
  note();
}

async function reload(
  variant: number,
  around: Surroundings,
  done: Done,
  idle: RawConnection[],
): Promise<void> {
  const { gateway, yaml, extraPort } = around;
  const fromMs = Date.now();
  await gateway.rewrite(yaml(variant));
  const { status, body } = await gateway.admin('/v1/reload', { method: 'POST' });
  done.reloads.count += 1;
  if (status !== 200) {
    done.refusedReloads.push(`variant ${variant}: ${status} ${JSON.stringify(body).slice(0, 300)}`);
    return;
  }
  if (variant !== 2) return;
  const note = (how: string): void =>
    around.recorder.noteIncident({ kind: 'new listener', how, fromMs, toMs: Date.now() });
  // A connection that idles on a listener while that goes: it ends by the listener's own limit.
  const connection = await openRaw(extraPort);
  connection.write('GET /item HTTP/1.1\r\nhost: localhost\r\nx-api-key: load\r\n\r\n');
  const { answers } = await connection.untilAnswers(1);
  const [answer] = answers;
  if (answer === undefined) note('unheard');
  else if (answer.status !== 200) note(refusal(answer.status, answer.body).how);
  idle.push(connection);
}
