/**
 * A real redis-server for tests: on a free port, in a directory of its own that goes with it, ended by its process id.
 * And a relay in front of it, for what a network does: freeze, cut, lead somewhere else.
 */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';

import { LIVE_KEY } from '../../src/io/limit-store/scripts.ts';
import { findExecutable } from './executable.ts';
import { freePorts } from './ports.ts';

/** A port that was free a moment ago, and that no outgoing connection takes while a Redis restarts. */
export async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1);
  return port;
}

/** Starts something on a port that was free a moment ago; twice more on another if somebody else took it meanwhile. */
export async function onFreePort<T>(start: (port: number) => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await start(await freePort());
    } catch (error) {
      if (tries === 3 || !String(error).includes('Address already in use')) throw error;
    }
  }
}

type Environment = Readonly<Record<string, string>>;

export class RedisServer {
  readonly port: number;
  readonly directory: string;
  readonly #args: readonly string[];
  readonly #env: Environment;
  #process: ChildProcess | undefined;

  private constructor(port: number, args: readonly string[], env: Environment) {
    this.port = port;
    this.directory = mkdtempSync(join(tmpdir(), 'spillway-redis-'));
    this.#args = args;
    this.#env = env;
  }

  /** Starts one and waits until it answers. `args` are further options of redis-server, `env` is added to ours. */
  static async start(args: readonly string[] = [], env: Environment = {}): Promise<RedisServer> {
    return await onFreePort(async (port) => {
      const server = new RedisServer(port, args, env);
      try {
        await server.#launch();
      } catch (error) {
        await server.stop();
        throw error;
      }
      return server;
    });
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** A plain client for looking inside; the caller ends it. */
  client(password = ''): Redis {
    const options = { protocol: 2, disableClientInfo: true } as const;
    const client = new Redis(this.port, '127.0.0.1', password === '' ? options : { ...options, password });
    client.on('error', ignore);
    return client;
  }

  /** The process stands still, its sockets stay open. */
  pause(): void {
    this.#process?.kill('SIGSTOP');
  }

  resume(): void {
    this.#process?.kill('SIGCONT');
  }

  /** Dies at once and keeps nothing. */
  async kill(): Promise<void> {
    const running = this.#process;
    if (running === undefined) return;
    this.#process = undefined;
    const gone = once(running, 'exit');
    running.kill('SIGKILL');
    await gone;
  }

  /** On the same port, empty. */
  async restart(): Promise<void> {
    await this.kill();
    await this.#launch();
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #launch(): Promise<void> {
    const args = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.directory];
    args.push('--save', '', '--appendonly', 'no', ...this.#args);
    this.#process = await launch(args, 'Ready to accept connections', this.#env);
  }
}

/** A redis-server process, once it has said the word on its standard output. */
export async function launch(
  args: readonly string[],
  word: string,
  env: Environment = {},
): Promise<ChildProcess> {
  const running = spawn(findExecutable('redis-server'), args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  // A test run that ends in the middle takes its servers along.
  const takeAlong = (): void => void running.kill('SIGKILL');
  process.once('exit', takeAlong);
  running.once('exit', () => process.off('exit', takeAlong));
  let output = '';
  await new Promise<void>((resolve, reject) => {
    running.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      if (output.includes(word)) resolve();
    });
    running.once('exit', (code) =>
      reject(new Error(`redis-server ended with ${code}: ${output.slice(-500)}`)),
    );
    running.once('error', reject);
  });
  return running;
}

/** A TCP relay on a port of its own. Connections keep the target that they were opened to. */
export class Relay {
  readonly port: number;
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #target: number;
  #delayMs = 0;
  #lagMs = 0;
  #refusing = false;
  /** Connections accepted so far. */
  accepted = 0;
  /** Calls of scripts by their digest that came through so far: what a limiter asks for requests. */
  asked = 0;
  /** Heartbeats of workers that came through so far. */
  beats = 0;

  private constructor(server: Server, port: number, target: number) {
    this.#server = server;
    this.port = port;
    this.#target = target;
  }

  static async start(target: number): Promise<Relay> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const relay = new Relay(server, (server.address() as AddressInfo).port, target);
    server.on('connection', (socket) => relay.#accept(socket));
    return relay;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** New connections lead to another port. */
  retarget(port: number): void {
    this.#target = port;
  }

  /** From now on every answer comes this much later; 0 = as it comes. */
  lag(ms: number): void {
    this.#lagMs = ms;
  }

  /** Present connections are reset, new ones too, as long as it says so. */
  refuse(refusing: boolean): void {
    this.#refusing = refusing;
    if (refusing) this.cut();
  }

  /** New connections hear nothing for this long. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  /** Present connections carry nothing any more and stay open. */
  freeze(): void {
    for (const [near, far] of this.#pairs) {
      near.removeAllListeners('data');
      far.removeAllListeners('data');
      near.pause();
      far.pause();
    }
  }

  /** Answers on present connections are swallowed, calls still arrive. */
  swallowAnswers(): void {
    for (const [, far] of this.#pairs) {
      far.removeAllListeners('data');
      far.resume();
    }
  }

  /** Present connections are reset. */
  cut(): void {
    for (const [near, far] of this.#pairs) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.cut();
    await closed;
  }

  #accept(near: Socket): void {
    this.accepted++;
    if (this.#refusing) {
      near.resetAndDestroy();
      return;
    }
    const far = connect(this.#target, '127.0.0.1');
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    const readyAt = performance.now() + this.#delayMs;
    near.on('data', (chunk) => {
      const commands = chunk.toString('latin1');
      this.asked += commands.split('\r\nevalsha\r\n').length - 1;
      this.beats += commands.split(`\r\n${LIVE_KEY}\r\n`).length - 1;
      far.write(chunk);
    });
    far.on('data', (chunk) => {
      const wait = Math.max(readyAt - performance.now(), this.#lagMs);
      if (wait <= 0) near.write(chunk);
      else setTimeout(() => near.write(chunk), wait);
    });
    for (const [socket, other] of [pair, [far, near] as const]) {
      socket.on('error', ignore);
      socket.on('close', () => {
        this.#pairs.delete(pair);
        other.destroy();
      });
    }
  }
}

function ignore(): void {
  // A lost connection is what these tests are about.
}
