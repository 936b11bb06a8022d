/**
 * Looks into a running process over the inspector protocol, so that the gateway needs no window of its own for a soak: heap after a
 * collection, active resources, how many objects of which class live, how long its timer wheels and maps are.
 *
 * The process is started with `--inspect=127.0.0.1:0 --expose-gc` in NODE_OPTIONS and tells its address on stderr; forked workers
 * inherit both. A session lasts as long as one question, so that none is counted among the sockets. Nothing is enabled
 * (`Debugger`, `Profiler`), so the code runs as it always does.
 */
import { join } from 'node:path';

import { PROJECT_ROOT } from '../../test/harness/gateway.ts';

export const INSPECTED_ENV = { NODE_OPTIONS: '--inspect=127.0.0.1:0 --expose-gc' } as const;

const ANSWER_MS = 30_000;

interface Reply {
  readonly id: number;
  readonly result?: {
    readonly result?: { readonly objectId?: string; readonly value?: unknown };
    readonly objects?: { readonly objectId?: string };
    readonly exceptionDetails?: unknown;
  };
  readonly error?: unknown;
}

class Session implements Disposable {
  readonly #socket: WebSocket;
  readonly #pending = new Map<number, (reply: Reply | undefined) => void>();
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => {
      const reply = JSON.parse(String(data)) as Reply;
      this.#pending.get(reply.id)?.(reply);
      this.#pending.delete(reply.id);
    });
    socket.addEventListener('close', () => {
      for (const settle of this.#pending.values()) settle(undefined);
    });
  }

  static async open(url: string): Promise<Session> {
    const socket = new WebSocket(url);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.addEventListener('open', () => resolve());
    socket.addEventListener('error', () => reject(new Error(`no inspector at ${url}`)));
    await promise;
    return new Session(socket);
  }

  async ask(method: string, params: object): Promise<NonNullable<Reply['result']>> {
    this.#lastId += 1;
    const { promise, resolve } = Promise.withResolvers<Reply | undefined>();
    const timer = setTimeout(() => resolve(undefined), ANSWER_MS);
    this.#pending.set(this.#lastId, resolve);
    this.#socket.send(JSON.stringify({ id: this.#lastId, method, params }));
    const reply = await promise;
    clearTimeout(timer);
    if (reply?.result === undefined || reply.result.exceptionDetails !== undefined)
      throw new Error(`${method}: ${JSON.stringify(reply ?? 'no answer')}`);
    return reply.result;
  }

  async value(expression: string): Promise<unknown> {
    return (await this.ask('Runtime.evaluate', { expression, returnByValue: true })).result?.value;
  }

  /** Calls `declaration` with `this` = all living objects behind the prototype that `expression` names. */
  async ofAll(expression: string, declaration: string): Promise<unknown> {
    const prototype = await this.ask('Runtime.evaluate', { expression });
    const found = await this.ask('Runtime.queryObjects', { prototypeObjectId: prototype.result?.objectId });
    const objectId = found.objects?.objectId;
    const called = { objectId, functionDeclaration: declaration, returnByValue: true };
    return (await this.ask('Runtime.callFunctionOn', called)).result?.value;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

export interface HeapSample {
  /** After a full collection. */
  readonly heapBytes: number;
  readonly externalBytes: number;
  /** What keeps the event loop alive, by kind. */
  readonly resources: Readonly<Record<string, number>>;
}

const HEAP = `(() => {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  const resources = {};
  for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1;
  return { heapBytes: heapUsed, externalBytes: external, resources };
})()`;

export interface Census {
  /** Living objects by the name of their class. */
  readonly classes: Readonly<Record<string, number>>;
  /** Sizes of the largest maps and sets, in falling order. */
  readonly largest: readonly number[];
  /** Armed entries of all timer wheels; undefined where the process has none. */
  readonly wheelNodes: number | undefined;
}

/** Through descriptors, since a getter of some exotic object must not run. */
const COUNT = `function () {
  const counts = new Map();
  const sizes = [];
  for (const each of this) {
    const prototype = Reflect.getPrototypeOf(each);
    counts.set(prototype, (counts.get(prototype) ?? 0) + 1);
    if (each instanceof Map || each instanceof Set) {
      try { sizes.push(each instanceof Map ? Reflect.get(Map.prototype, 'size', each) : Reflect.get(Set.prototype, 'size', each)); } catch {}
    }
  }
  const classes = {};
  for (const [prototype, count] of counts) {
    const owner = prototype && Reflect.getOwnPropertyDescriptor(prototype, 'constructor')?.value;
    const name = typeof owner === 'function' && owner.name !== '' ? owner.name : '(none)';
    classes[name] = (classes[name] ?? 0) + count;
  }
  return { classes, largest: sizes.sort((a, b) => b - a).slice(0, 12) };
}`;

const WHEEL = `process.getBuiltinModule('node:module')
  .createRequire(${JSON.stringify(join(PROJECT_ROOT, 'package.json'))})(${JSON.stringify(join(PROJECT_ROOT, 'src', 'io', 'wheel.ts'))}).Wheel.prototype`;

/** The processes of one gateway, by their process ids. */
export class Inspector {
  readonly #logs: () => string;
  readonly #urls = new Map<number, string>();
  readonly #seen = new Set<string>();

  /** `logs`: what the gateway has written to stderr, where each process tells its inspector's address. */
  constructor(logs: () => string) {
    this.#logs = logs;
  }

  async heap(pid: number): Promise<HeapSample | undefined> {
    using session = await this.#session(pid);
    return session === undefined ? undefined : ((await session.value(HEAP)) as HeapSample);
  }

  /** The value of an expression in that process. @throws when it is not there */
  async value(pid: number, expression: string): Promise<unknown> {
    using session = await this.#session(pid);
    if (session === undefined) throw new Error(`no inspector of process ${pid}`);
    return await session.value(expression);
  }

  async census(pid: number, isWorker: boolean): Promise<Census | undefined> {
    using session = await this.#session(pid);
    if (session === undefined) return undefined;
    const counted = (await session.ofAll('Object.prototype', COUNT)) as Omit<Census, 'wheelNodes'>;
    const sum = 'function () { return this.reduce((sum, wheel) => sum + wheel.size, 0); }';
    const wheelNodes = isWorker ? ((await session.ofAll(WHEEL, sum)) as number) : undefined;
    return { ...counted, wheelNodes };
  }

  async #session(pid: number): Promise<Session | undefined> {
    if (!this.#urls.has(pid)) await this.#learn();
    const url = this.#urls.get(pid);
    if (url === undefined) return undefined;
    try {
      return await Session.open(url);
    } catch {
      // The process has gone.
      return undefined;
    }
  }

  async #learn(): Promise<void> {
    for (const [url] of this.#logs().matchAll(/ws:\/\/127\.0\.0\.1:\d+\/[0-9a-f-]+/g)) {
      if (this.#seen.has(url)) continue;
      this.#seen.add(url);
      try {
        using session = await Session.open(url);
        this.#urls.set((await session.value('process.pid')) as number, url);
      } catch {
        // A process that has gone again.
      }
    }
  }
}
