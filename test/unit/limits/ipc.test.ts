import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { IpcLimitStore, serveLimitBatch } from '../../../src/io/limit-store/ipc.ts';
import type { LimitBatchMessage } from '../../../src/io/limit-store/ipc.ts';
import { EmbeddedStore } from '../../../src/limits/embedded-store.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import { Limiter } from '../../../src/limits/limiter.ts';
import { Ask, Caller, charge, decideNow, ScriptedStore, terms } from './fixtures.ts';

/** A worker and a supervisor with a channel between them that may stand still; time is the test's. */
class Channel {
  readonly supervisor = new EmbeddedStore(1000, seededRandom(2));
  readonly sent: LimitBatchMessage[] = [];
  readonly told: string[] = [];
  readonly worker: IpcLimitStore;
  state: 'flows' | 'silent' | 'closed' = 'flows';

  constructor() {
    this.worker = new IpcLimitStore({
      send: (message) => this.#send(message),
      timeoutMs: 25,
      random: seededRandom(3),
      onState: (state, reason) => this.told.push(`${state} ${reason}`.trim()),
    });
  }

  serve(message: LimitBatchMessage): void {
    // As the channel does it: everything passes through JSON.
    const copy = JSON.parse(JSON.stringify(message)) as LimitBatchMessage;
    this.worker.receive(serveLimitBatch(this.supervisor, copy, performance.now()));
  }

  decisions(): LimitBatchMessage[] {
    return this.sent.filter((message) => message[3].length > 0);
  }

  #send(message: LimitBatchMessage): boolean {
    if (this.state === 'closed') return false;
    this.sent.push(message);
    if (this.state === 'flows') queueMicrotask(() => this.serve(message));
    return true;
  }
}

const rate = compileRate(1, 3);

/** A worker that has lost its store, or waits for it, and may ask this supervisor for its share. */
function sharing(channel: Channel, mode: ScriptedStore['mode']): { store: ScriptedStore; limiter: Limiter } {
  const store = new ScriptedStore();
  const limiter = new Limiter({ store, onUnavailable: 'local', workers: 1, random: seededRandom(1) });
  limiter.configure({ onUnavailable: 'local', store, share: { store: channel.worker, withinMs: 27 } });
  store.mode = mode;
  store.pause = 250;
  return { store, limiter };
}

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate', 'performance'],
  });
});
afterEach(() => {
  vi.useRealTimers();
});

async function started(): Promise<Channel> {
  const channel = new Channel();
  await vi.advanceTimersByTimeAsync(60);
  expect(channel.told).toEqual(['fit']);
  return channel;
}

describe('the limit store over the message channel', () => {
  test('asks from its first moment on', () => {
    const channel = new Channel();
    expect(channel.worker.decide(new Ask(['a'], terms(rate)), performance.now())).toBe(true);
    channel.worker.close();
  });

  test('decisions of one turn are one message, and each gets its own answer', async () => {
    const channel = await started();
    const calls = Array.from(
      { length: 5 },
      (_, i) => new Ask(['a', `b${i}`], [...terms(rate), ...terms(rate)]),
    );
    for (const call of calls) channel.worker.decide(call, performance.now());
    expect(channel.decisions()).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(channel.decisions()).toHaveLength(1);
    expect(calls.map((call) => call.reply?.[0])).toEqual([1, 1, 1, 0, 0]);
    expect(calls.map((call) => call.reply?.[6])).toEqual([2, 2, 2, 3, 3]);
    channel.worker.close();
  });

  test('a silent supervisor delays nobody past the deadline, and then nobody at all', async () => {
    const channel = await started();
    channel.state = 'silent';
    const first = new Ask(['a'], terms(rate));
    const askedAt = performance.now();
    expect(channel.worker.decide(first, askedAt)).toBe(true);
    await vi.advanceTimersByTimeAsync(30);
    expect(first.told).toBe(1);
    expect(first.reply).toBeUndefined();
    expect(first.toldAt - askedAt).toBeLessThanOrEqual(27);
    expect(channel.worker.decide(new Ask(['a'], terms(rate)), performance.now())).toBe(false);
    await vi.advanceTimersByTimeAsync(300);
    expect(channel.told).toEqual(['fit', 'unfit silent']);
    channel.worker.close();
  });

  test('the late answer ends the suspicion and decides nothing twice', async () => {
    const channel = await started();
    channel.state = 'silent';
    const call = new Ask(['a'], terms(rate));
    channel.worker.decide(call, performance.now());
    await vi.advanceTimersByTimeAsync(60);
    channel.state = 'flows';
    channel.serve(channel.decisions()[0] ?? ([0, [], [], []] as const));
    expect(call.told).toBe(1);
    expect(channel.worker.decide(new Ask(['a'], terms(rate)), performance.now())).toBe(true);
    expect(channel.told).toEqual(['fit']);
    channel.worker.close();
  });

  test('heartbeats bring it back, within two seconds of the end of the silence', async () => {
    const channel = await started();
    channel.state = 'silent';
    channel.worker.decide(new Ask(['a'], terms(rate)), performance.now());
    await vi.advanceTimersByTimeAsync(5000);
    expect(channel.worker.view(performance.now()).state).toBe('open');
    channel.state = 'flows';
    await vi.advanceTimersByTimeAsync(2000);
    expect(channel.told).toEqual(['fit', 'unfit silent', 'fit']);
    const call = new Ask(['a'], terms(rate));
    channel.worker.decide(call, performance.now());
    await vi.advanceTimersByTimeAsync(1);
    expect(call.reply?.[0]).toBe(1);
    channel.worker.close();
  });

  test('forgets a bucket, and says whether anything was missing from it', async () => {
    const channel = await started();
    channel.worker.decide(new Ask(['a', 'b'], [...terms(rate), ...terms(rate)]), performance.now());
    await vi.advanceTimersByTimeAsync(1);
    expect(await channel.worker.forget('a')).toBe(true);
    expect(await channel.worker.forget('a')).toBe(false);
    const call = new Ask(['a', 'b'], [...terms(rate), ...terms(rate)]);
    channel.worker.decide(call, performance.now());
    await vi.advanceTimersByTimeAsync(1);
    // Two of three are left of the one that was forgotten, one of the other.
    expect([call.reply?.[2], call.reply?.[6]]).toEqual([2, 1]);
    channel.worker.close();
  });

  test('an order that a silent supervisor does not confirm is refused at the deadline, on a closed channel at once', async () => {
    const channel = await started();
    channel.state = 'silent';
    const askedAt = performance.now();
    const late = channel.worker.forget('a').catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(30);
    expect(await late).toMatchObject({ message: 'slow' });
    expect(performance.now() - askedAt).toBeLessThanOrEqual(31);
    channel.state = 'closed';
    await expect(channel.worker.forget('a')).rejects.toThrow('closed');
    await vi.advanceTimersByTimeAsync(2000);
    await expect(channel.worker.forget('a')).rejects.toThrow('closed');
    channel.worker.close();
  });

  test('a closed channel: who waits is told at once', async () => {
    const channel = await started();
    channel.state = 'closed';
    const call = new Ask(['a'], terms(rate));
    channel.worker.decide(call, performance.now());
    await vi.advanceTimersByTimeAsync(1);
    expect([call.told, call.reply]).toEqual([1, undefined]);
    expect(channel.told.at(-1)).toBe('unfit closed');
    channel.worker.close();
  });

  test('close tells everybody who waits, once', async () => {
    const channel = await started();
    channel.state = 'silent';
    const sent = new Ask(['a'], terms(rate));
    channel.worker.decide(sent, performance.now());
    await vi.advanceTimersByTimeAsync(1);
    const unsent = new Ask(['a'], terms(rate));
    channel.worker.decide(unsent, performance.now());
    channel.worker.close();
    await vi.advanceTimersByTimeAsync(100);
    expect([sent.told, unsent.told]).toEqual([1, 1]);
  });

  test('with the supervisor silent the limiter gives this worker its share and never waits again', async () => {
    const channel = await started();
    channel.state = 'silent';
    const limiter = new Limiter({
      store: channel.worker,
      onUnavailable: 'local',
      workers: 3,
      random: seededRandom(1),
    });
    const callers = Array.from({ length: 10 }, () => new Caller([charge('client', compileRate(3, 9))]));
    for (const caller of callers) limiter.decide(caller, performance.now());
    await vi.advanceTimersByTimeAsync(30);
    expect(callers.filter((caller) => caller.decision?.ok === true)).toHaveLength(3);
    expect(callers.every((caller) => caller.told === 1 && caller.decision?.path === 'fallback')).toBe(true);
    const next = new Caller([charge('client', compileRate(3, 9))]);
    limiter.decide(next, performance.now());
    expect(next.told).toBe(1);
    channel.worker.close();
  });
});

describe('calls for the share of an outage', () => {
  const own = charge('client', compileRate(2000, 2000));

  test('tell what the worker knew of a bucket, beside calls that know nothing', async () => {
    const channel = await started();
    const { store, limiter } = sharing(channel, 'answers');
    const slow = charge('client', compileRate(1 / 3600, 10));
    for (let i = 0; i < 6; i++) decideNow(limiter, [slow], performance.now());
    store.mode = 'unfit';
    const plain = new Ask(['a'], terms(rate));
    channel.worker.decide(plain, performance.now());
    const callers = Array.from({ length: 5 }, () => new Caller([slow]));
    for (const caller of callers) limiter.decide(caller, performance.now());
    await vi.advanceTimersByTimeAsync(1);
    expect(channel.decisions()).toHaveLength(1);
    expect(plain.reply?.[2]).toBe(2);
    expect(callers.map(({ decision }) => decision?.levels[0]?.remaining)).toEqual([3, 2, 1, 0, 0]);
    expect(callers.map(({ decision }) => decision?.ok)).toEqual([true, true, true, true, false]);
    channel.worker.close();
  });

  test('wait 5 ms at most, others as long as ever; the answer is not lost, and until it comes nobody waits', async () => {
    const channel = await started();
    const { limiter } = sharing(channel, 'unfit');
    channel.state = 'silent';
    const first = new Caller([own]);
    const plain = new Ask(['b'], terms(rate));
    limiter.decide(first, performance.now());
    channel.worker.decide(plain, performance.now());
    await vi.advanceTimersByTimeAsync(4);
    expect(first.told).toBe(0);
    await vi.advanceTimersByTimeAsync(3);
    expect([first.told, first.decision?.path, plain.told]).toEqual([1, 'fallback', 0]);
    expect(decideNow(limiter, [own], performance.now()).path).toBe('fallback');
    const [message] = channel.decisions();
    if (message !== undefined) channel.serve(message);
    expect([first.told, plain.reply?.[2]]).toEqual([1, 2]);
    expect(channel.told).toEqual(['fit']);
    channel.state = 'flows';
    const next = new Caller([own]);
    limiter.decide(next, performance.now());
    expect(next.told).toBe(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(next.decision).toMatchObject({ ok: true, path: 'fallback' });
    channel.worker.close();
  });

  test('of requests that have waited for the store already wait no longer than callers are promised', async () => {
    const channel = await started();
    const { store, limiter } = sharing(channel, 'late');
    channel.state = 'silent';
    const caller = new Caller([own]);
    const askedAt = performance.now();
    limiter.decide(caller, askedAt);
    await vi.advanceTimersByTimeAsync(25);
    store.waiting[0]?.unavailable(performance.now());
    expect(caller.told).toBe(0);
    await vi.advanceTimersByTimeAsync(4);
    expect([caller.told, caller.decision?.path]).toEqual([1, 'fallback']);
    // Noticed so late that nothing is left of its time, it does not wait at all.
    channel.worker.receive([0, []]);
    const late = new Caller([own]);
    limiter.decide(late, performance.now());
    await vi.advanceTimersByTimeAsync(30);
    store.waiting[1]?.unavailable(performance.now());
    await vi.advanceTimersByTimeAsync(1);
    expect([late.told, late.decision?.path]).toEqual([1, 'fallback']);
    channel.worker.close();
  });
});
