import type { Buffer } from 'node:buffer';
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  answerTrailers,
  buildInterimHeaders,
  buildResponseHeaders,
  type ResponseHead,
} from '../forwarding/response-headers.ts';
import { addAffinity } from './affinity-answer.ts';
import { beginLife } from './answer-life.ts';
import type { Attempt } from './attempt.ts';
import { exchangeOf, type Exchange } from './exchange.ts';
import { discardRest } from './lingering.ts';
import { STATUS_CODES } from './node-http.ts';
import { addLimitFields } from './refusal.ts';
import { serverTiming } from './server-timing.ts';
import type { Release } from './upstream-pool.ts';

/**
 * An instance's answer on its way to the caller: head and bytes as they come, with back pressure.
 *
 * A chunk that completes a known length leaves with the head in one write. Any other head is flushed at the end of the
 * tick it came in, so that an event stream's head does not wait for its first event. When the caller reads slowly the
 * instance is paused; at most one high-water mark is held here.
 */

/** Half: ordinary pages take two buffers; double: copying costs what the system call saves. */
const ONE_WRITE_BYTES = 8 * 1024;
/** An instance that sends more interim answers than this is not talking HTTP to us. */
const MOST_INTERIMS = 8;

export function answerInterim(attempt: Attempt, status: number, rawHeaders: readonly string[]): void {
  const { exchange } = attempt;
  if (attempt.interims > MOST_INTERIMS || status === 101) {
    attempt.abandon();
    exchange.refuse('SPW_UPSTREAM_PROTOCOL', 'interim answers');
    return;
  }
  // A caller of HTTP/1.0 knows no interim answers; a 100 is our own word, given when the request was admitted.
  if (status === 100 || exchange.req.httpVersionMinor === 0 || exchange.res.headersSent) return;
  writeInterim(exchange.res, status, buildInterimHeaders(rawHeaders));
}

/** Node before 26.2 can write early hints only, and of their links only those in the form it likes. */
interface OlderResponse {
  writeInformation?: ServerResponse['writeInformation'];
  _writeRaw(text: string, encoding: 'latin1'): boolean;
}

function writeInterim(res: ServerResponse, status: number, headers: readonly string[]): void {
  const older = res as unknown as OlderResponse;
  if (older.writeInformation !== undefined) {
    res.writeInformation(status, headers);
    return;
  }
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Interim'}\r\n`;
  for (let index = 0; index + 1 < headers.length; index += 2)
    head += `${headers[index] ?? ''}: ${headers[index + 1] ?? ''}\r\n`;
  older._writeRaw(`${head}\r\n`, 'latin1');
}

export function answerHead(
  attempt: Attempt,
  status: number,
  rawHeaders: readonly string[],
  now: number,
): void {
  const { exchange } = attempt;
  const { route, res, req, worker } = exchange;
  if (route === undefined || res.headersSent) return;
  const head = buildResponseHeaders(rawHeaders, status, req.method ?? 'GET', route.responsePlan);
  if (head.code !== '') {
    attempt.abandon();
    worker.recorder.protocolFault(exchange, attempt, now);
    exchange.refuse(head.code, head.reason);
    return;
  }
  const { timeout, limits } = route.service.configuration;
  exchange.mostBytesOut = limits.responseBytes ?? Infinity;
  if (head.contentLength > exchange.mostBytesOut) {
    attempt.abandon();
    exchange.abortedBy = 'gateway';
    exchange.refuse('SPW_UPSTREAM_PROTOCOL', 'size');
    return;
  }
  if (head.drains) route.service.noteDrain(attempt.slot);
  if (head.loadReport !== '') route.service.noteLoad(attempt.slot, head.loadReport, now);
  addOwnHeaders(exchange, head, status, now);
  exchange.status = status;
  exchange.expectedBytes = head.contentLength;
  exchange.phase = 'answering';
  if (head.eventStream) {
    exchange.permit?.asStream(now);
    worker.recorder.settleBreaker(exchange, now);
    worker.streams.add(exchange);
  }
  // A call of gRPC may be a stream of events as well, and nothing in its head tells.
  beginLife(exchange, head.eventStream || exchange.facts.grpc ? timeout.tunnelIdle : timeout.idle, now);
  res.writeHead(status, head.list);
  worker.flushSoon(exchange);
}

function addOwnHeaders(exchange: Exchange, head: ResponseHead, status: number, now: number): void {
  const { worker, req, snapshot } = exchange;
  const { list } = head;
  list.push('x-request-id', exchange.requestId);
  addLimitFields(exchange, list);
  addAffinity(exchange, head, status);
  if (snapshot.serverTiming) list.push('server-timing', serverTiming(exchange, now));
  // An answer that came before the upload was over leaves bytes on the connection that nobody will read.
  const early = exchange.facts.hasBody && !req.complete;
  if (worker.draining || early || exchange.closes) {
    exchange.connection.closing = true;
    list.push('connection', 'close');
  }
}

/** The answer is whole: what is left of an upload reaches nobody any more, and is dropped so that the answer arrives. */
function leaveUpload({ exchange, body }: Attempt): void {
  if (body === null || exchange.req.complete) return;
  body.destroy();
  discardRest(exchange);
}

/** Cuts an answer that has grown past the service's limit. */
function isTooLarge(exchange: Exchange): boolean {
  if (exchange.bytesOut <= exchange.mostBytesOut) return false;
  exchange.reason = 'size';
  exchange.cut('gateway');
  return true;
}

/** A small body that is whole: head and body leave in one write. */
export function answerText(attempt: Attempt, body: string): void {
  const { exchange } = attempt;
  exchange.bodyBegun = true;
  exchange.bytesOut += body.length;
  if (isTooLarge(exchange)) return;
  exchange.ended = true;
  leaveUpload(attempt);
  exchange.res.end(body, 'latin1');
}

export function answerChunk(attempt: Attempt, chunk: Buffer, release: Release): void {
  const { exchange } = attempt;
  const { res, worker } = exchange;
  exchange.bodyBegun = true;
  exchange.bytesOut += chunk.length;
  exchange.lastByteMs = worker.now();
  if (isTooLarge(exchange)) return;
  if (exchange.bytesOut === exchange.expectedBytes) {
    exchange.ended = true;
    leaveUpload(attempt);
    // As text a small body joins the head in one write; as bytes it would be a second buffer, and a dearer system call.
    if (chunk.length <= ONE_WRITE_BYTES) res.end(chunk.toString('latin1'), 'latin1');
    else res.end(chunk, release);
    return;
  }
  if (res.write(chunk, release)) return;
  attempt.pause();
  if (exchange.congested) return;
  exchange.congested = true;
  exchange.worker.rates.watch(exchange);
  res.once('drain', onDrain);
}

function onDrain(this: ServerResponse): void {
  const exchange = exchangeOf(this);
  if (exchange === undefined) return;
  exchange.congested = false;
  exchange.lastByteMs = exchange.worker.now();
  exchange.attempt?.resume();
}

export function answerEnd(attempt: Attempt, trailers: readonly string[]): void {
  const { exchange } = attempt;
  exchange.attempt = undefined;
  exchange.bodyBegun = true;
  leaveUpload(attempt);
  if (exchange.ended) return;
  // Whoever did not say that he reads trailers gets none (RFC 9110 §6.5.1).
  if (trailers.length > 0 && exchange.facts.trailers) exchange.res.addTrailers(answerTrailers(trailers));
  exchange.res.end();
}

/** An ordinary answer of the instance to an upgrade: relayed as it is, then the connection ends. */
export function answerRelayed(exchange: Exchange, response: IncomingMessage): void {
  const { route, res } = exchange;
  if (route === undefined || res.headersSent) return;
  const status = response.statusCode ?? 502;
  const head = buildResponseHeaders(response.rawHeaders, status, 'GET', route.responsePlan);
  if (head.code !== '') {
    response.destroy();
    exchange.refuse(head.code, head.reason);
    return;
  }
  head.list.push('x-request-id', exchange.requestId, 'connection', 'close');
  addLimitFields(exchange, head.list);
  exchange.status = status;
  exchange.phase = 'answering';
  beginLife(exchange, route.service.configuration.timeout.idle, exchange.worker.now());
  res.writeHead(status, head.list);
  response.on('data', (chunk: Buffer) => {
    exchange.lastByteMs = exchange.worker.now();
    exchange.bytesOut += chunk.length;
  });
  response.once('error', () => {
    exchange.cut('upstream');
  });
  response.pipe(res);
}
