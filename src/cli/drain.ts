/**
 * `spillway drain SERVICE/INSTANCE [--wait] [--ttl]`: no new sessions for an instance.
 *
 * `--wait` says what is left, and returns when it has neither requests in flight, streams among them, nor sessions that it
 * still serves, three looks in a row: a request that a worker took just before it heard of the drain may still be unseen at
 * the first. It fails when somebody enables the instance again, and after `--timeout`, if given.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { InvalidArgumentError, type Command } from 'commander';
import type { InstanceView, ServiceView } from '../io/admin-port.ts';
import { parseDurationMs } from '../kernel/units.ts';
import type { AdminOptions } from './admin-address.ts';
import { addAdminOptions, withAdmin, type AdminClient } from './admin-client.ts';
import type { CliContext } from './context.ts';
import { EXIT } from './exit-codes.ts';
import { leftWords } from './instance-rows.ts';
import { operatePath, parseTarget, type Target } from './target.ts';

interface DrainOptions extends AdminOptions {
  readonly wait?: boolean;
  readonly ttl?: string;
  /** ms. */
  readonly timeout?: number;
  readonly json?: boolean;
}

/** Twice as often tells nothing new, since workers hear of changes within a second. */
const LOOK_EVERY_MS = 500;
const CALM_LOOKS = 3;
/** States that take new sessions. */
const OPEN: ReadonlySet<string> = new Set(['ready', 'warming', 'degraded']);

export function addDrainCommand(program: Command, context: CliContext): void {
  const command = program.command('drain').description('give an instance no new sessions');
  addAdminOptions(command)
    .argument('<service/instance>', 'such as shop/127.0.0.1:9001', parseTarget)
    .option('--wait', 'return when it has no requests, streams and sessions left')
    .option('--ttl <duration>', 'end the drain by itself after this, such as 10m', checkedDuration)
    .option('--timeout <duration>', 'wait, and no longer than this (exit code 1)', (text: string) =>
      parseDurationMs(checkedDuration(text)),
    )
    .option('--json', 'the answer as JSON')
    .action(async (target: Target, options: DrainOptions) => {
      await withAdmin(context, options, async (client) => await drain(client, target, options, context));
    });
}

function checkedDuration(text: string): string {
  const ms = parseDurationMs(text);
  if (ms === undefined || ms <= 0)
    throw new InvalidArgumentError('A duration such as 30s or 10m is expected.');
  return text;
}

async function drain(
  client: AdminClient,
  target: Target,
  options: DrainOptions,
  { output }: CliContext,
): Promise<number> {
  const answer = await client.post<object>(
    operatePath(target, 'drain'),
    options.ttl === undefined ? {} : { ttl: options.ttl },
  );
  if (options.wait !== true && options.timeout === undefined) {
    if (options.json === true) output.json(answer);
    else output.data(`${target.text}: draining`);
    return EXIT.ok;
  }
  const end = await waitUntilIdle(client, target, options.timeout ?? Infinity, output.message);
  if (end !== 'idle') {
    output.message(`spillway: ${target.text} ${end}`);
    return EXIT.failed;
  }
  if (options.json === true) output.json({ ...answer, idle: true });
  else output.data(`${target.text}: drained`);
  return EXIT.ok;
}

/** `idle`, or in words why the wait is over. */
async function waitUntilIdle(
  client: AdminClient,
  target: Target,
  timeoutMs: number,
  say: (line: string) => void,
): Promise<string> {
  const untilMs = performance.now() + timeoutMs;
  let calm = 0;
  let wasDraining = false;
  let said = '';
  for (;;) {
    const instance = await look(client, target);
    if (instance === undefined) return 'idle';
    const isOpen = OPEN.has(instance.state);
    if (wasDraining && isOpen) return 'was enabled again';
    wasDraining ||= !isOpen;
    calm = instance.inFlight === 0 && instance.sessionsLeft === 0 ? calm + 1 : 0;
    if (calm >= CALM_LOOKS) return 'idle';
    const line = `${target.text}: ${leftWords(instance)}`;
    if (line !== said) say(line);
    said = line;
    if (performance.now() + LOOK_EVERY_MS > untilMs) return 'is not idle in time';
    await pause(LOOK_EVERY_MS);
  }
}

/** The instance as it is now; undefined when it is gone. */
async function look(client: AdminClient, target: Target): Promise<InstanceView | undefined> {
  const { services } = await client.get<{ services: Record<string, ServiceView> }>('/v1/services');
  return services[target.service]?.instances.find(({ id }) => id === target.instance);
}
