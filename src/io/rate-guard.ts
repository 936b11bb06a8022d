import type { IncomingMessage } from 'node:http';
import { BodyRate, GRACE_MS } from '../forwarding/body-rate.ts';
import { Seats } from '../kernel/seats.ts';
import type { Exchange } from './exchange.ts';
import type { RequestBody } from './request-body.ts';
import { connectionKey, sendQueues } from './send-queues.ts';

/**
 * Callers that owe us bytes, or room for bytes, and take too long (`limits.minBytesPerSecond`).
 *
 * Watched is what can be slow at all: a request whose body is not in yet when it is forwarded, an answer from the first
 * time its caller took less than it was given, and the rest of a refused body. Nothing is done for any other request, and
 * for those watched nothing at a byte: twice a second the beat compares counters. What is owed is asked at both ends of
 * each span, so a span in which an instance paused the upload, or had nothing to send, is not counted at all.
 *
 * An answer that stands still is not yet a reader that stands still (`send-queues.ts`): what the kernel got rid of
 * meanwhile counts as taken. Limits: a program that reads slowly out of a full receive buffer opens its window in steps of a
 * sixteenth of that buffer, so one that pauses (a player that has enough) is cut like one that never reads. Too slow is 408 before an answer, and a reset after: behind a full send buffer the
 * caller would learn of an orderly end only after reading everything.
 */

/** Half: twice the work for a limit kept to a quarter of a second; double: it is kept to a second. */
const CHECK_MS = 500;
/** An answer that moved nothing for so many checks is asked for at the kernel: half of the time that it may stand still. */
const STILL_CHECKS = 2;
/** The file is as long as the machine has connections. Half: 2 % of a core at 10 000; double: an honest pause is a verdict. */
const ASK_MS = 1000;

/** One watched exchange, from the first check that met it. */
class Transfer {
  readonly #exchange: Exchange;
  readonly #upload: BodyRate;
  readonly #download: BodyRate;
  #atMs: number;
  #body: RequestBody | undefined = undefined;
  #bodyBytes = 0;
  #pauses = 0;
  #wanting = false;
  #sentBytes: number;
  #blocked = false;
  #stillChecks = 0;
  /** Bytes in the kernel's queue when it was last asked, -1 before. */
  #queued = -1;
  /** Bytes the kernel got rid of since the last check. */
  #drained = 0;
  key = '';

  constructor(exchange: Exchange, now: number) {
    const { minBytesPerSecond } = exchange.listener.limits;
    this.#exchange = exchange;
    this.#upload = new BodyRate(minBytesPerSecond);
    this.#download = new BodyRate(minBytesPerSecond);
    this.#atMs = now;
    this.#sentBytes = exchange.bytesOut;
    this.#blocked = isBlocked(exchange);
    this.#beginUpload();
  }

  /** @returns whether it is too slow */
  check(now: number): boolean {
    const spanMs = now - this.#atMs;
    this.#atMs = now;
    return this.#checkUpload(spanMs) || this.#checkDownload(spanMs);
  }

  get standsStill(): boolean {
    return this.#stillChecks >= STILL_CHECKS;
  }

  /** @param queued what the kernel holds for it now */
  queue(queued: number): void {
    if (this.#queued > queued) this.#drained += this.#queued - queued;
    this.#queued = queued;
  }

  #beginUpload(): void {
    const { body } = this.#exchange;
    this.#body = body;
    this.#wanting = body?.wanting ?? false;
    this.#pauses = body?.pauses ?? 0;
  }

  #checkUpload(spanMs: number): boolean {
    const { body, facts } = this.#exchange;
    // A gRPC caller speaks when it has something to say, and its deadline bounds the call.
    if (body === undefined || facts.grpc) return false;
    if (body === this.#body) {
      const owed = this.#wanting && body.wanting && body.pauses === this.#pauses;
      this.#upload.note(owed ? spanMs : 0, body.bytes - this.#bodyBytes);
    }
    this.#beginUpload();
    this.#bodyBytes = body.bytes;
    return this.#upload.slow;
  }

  #checkDownload(spanMs: number): boolean {
    const exchange = this.#exchange;
    const blocked = isBlocked(exchange);
    const moved = exchange.bytesOut - this.#sentBytes;
    this.#sentBytes = exchange.bytesOut;
    const owed = blocked && this.#blocked;
    this.#blocked = blocked;
    this.#download.note(owed ? spanMs : 0, moved + this.#drained);
    this.#drained = 0;
    if (owed && moved === 0) this.#stillChecks += 1;
    else {
      this.#stillChecks = 0;
      this.#queued = -1;
    }
    return this.#download.slow;
  }
}

/** Bytes of the answer wait for the caller to take them. */
function isBlocked({ congested, res }: Exchange): boolean {
  return congested || (res.writableEnded && !res.writableFinished);
}

function tooSlow(exchange: Exchange): void {
  if (!exchange.res.headersSent) {
    exchange.refuse('SPW_REQUEST_TIMEOUT', 'rate');
    return;
  }
  exchange.reason = 'rate';
  exchange.cut('gateway');
}

export class RateGuard {
  readonly #watched = new Seats<Exchange>();
  /** Of those that a check has met. */
  readonly #transfers = new Map<Exchange, Transfer>();
  /** Refused bodies that are read and thrown away, since when. */
  readonly #swallowed = new Map<IncomingMessage, number>();
  #checkedMs = 0;
  #askedMs = 0;
  #asking = false;

  /** How many transfers are looked at: back to zero when all is quiet. */
  get size(): number {
    return this.#watched.size + this.#swallowed.size;
  }

  watch(exchange: Exchange): void {
    if (exchange.listener.limits.minBytesPerSecond > 0) this.#watched.add(exchange);
  }

  forget(exchange: Exchange): void {
    this.#watched.delete(exchange);
    this.#transfers.delete(exchange);
  }

  /** The rest of a small refused body, read so that its connection lives on: it may not come for ever. */
  swallow(req: IncomingMessage, now: number): void {
    req.resume();
    if (req.httpVersionMajor === 1) this.#swallowed.set(req, now);
  }

  check(now: number): void {
    if (now - this.#checkedMs < CHECK_MS) return;
    this.#checkedMs = now;
    let still = false;
    this.#watched.each((exchange) => {
      const transfer = this.#transfers.get(exchange);
      if (transfer === undefined) this.#transfers.set(exchange, new Transfer(exchange, now));
      else if (transfer.check(now)) tooSlow(exchange);
      else if (transfer.standsStill) still = true;
    });
    for (const [req, since] of this.#swallowed) {
      // Once it is answered, node:http no longer tells a request of its connection's end.
      if (req.complete || req.destroyed || req.socket.destroyed) this.#swallowed.delete(req);
      else if (now - since >= GRACE_MS) req.socket.destroy();
    }
    if (still && !this.#asking && now - this.#askedMs >= ASK_MS) void this.#ask(now);
  }

  async #ask(now: number): Promise<void> {
    this.#askedMs = now;
    this.#asking = true;
    const wanted = new Set<string>();
    for (const [exchange, transfer] of this.#transfers) {
      if (!transfer.standsStill) continue;
      if (transfer.key === '') transfer.key = connectionKey(exchange.req.socket);
      if (transfer.key !== '') wanted.add(transfer.key);
    }
    const queues = await sendQueues(wanted);
    this.#asking = false;
    if (queues === undefined) return;
    for (const transfer of this.#transfers.values()) {
      const queued = transfer.standsStill ? queues.get(transfer.key) : undefined;
      if (queued !== undefined) transfer.queue(queued);
    }
  }
}
