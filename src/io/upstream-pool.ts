import type { Buffer } from 'node:buffer';
import type { Readable } from 'node:stream';

/**
 * The seam between the forwarding and whatever speaks to an instance, HTTP/1.1 or HTTP/2.
 *
 * A pool belongs to one incarnation of an instance. It never queues and keeps no deadline of its own: admission held the
 * request back before, and moments live in the worker's wheel. Header sections are flat lists of names and values, one
 * character an octet, in the order of the wire. After `abort` a handler hears nothing more.
 */

export interface UpstreamRequest {
  readonly path: string;
  readonly method: string;
  /** Names and values alternating, `host` among them. */
  readonly headers: readonly string[];
  /** Null: none follows. It is read as fast as the instance takes it, and destroyed when the attempt fails. */
  readonly body: Readable | null;
  /** Length of the body, -1 when it is not known. */
  readonly bodyBytes: number;
}

/** What an attempt may do with its request, from `onRequestStart` on. */
export interface UpstreamController {
  /** The header section of the answer that has just come; an interim one's first. */
  readonly rawHeaders: readonly string[];
  /** The trailer section, complete at `onResponseEnd`; empty as a rule. */
  readonly rawTrailers: readonly string[];
  pause(): void;
  resume(): void;
  abort(reason: Error): void;
}

export type Release = (() => void) | undefined;

export interface UpstreamHandler {
  /** A connection is ready, and the request is written to it next; an `abort` here writes nothing. */
  onRequestStart(controller: UpstreamController): void;
  /** The head of an answer, once for every interim one (below 200) and once for the final one. */
  onResponseStart(controller: UpstreamController, status: number): void;
  /** @param release to be called once `chunk` is written on, if there is one: then its memory is read into again */
  onResponseData(controller: UpstreamController, chunk: Buffer, release: Release): void;
  /** The whole body of known length, one character an octet: small, and come together with its head. */
  onResponseText(controller: UpstreamController, body: string): void;
  /** The answer is whole: its framing says so, not only its connection's end. */
  onResponseEnd(controller: UpstreamController): void;
  /** Before `onRequestStart` nothing was written and the controller is undefined. */
  onResponseError(controller: UpstreamController | undefined, error: Error): void;
}

export interface UpstreamPool {
  /** Errors go to the handler; it throws for nothing. */
  dispatch(request: UpstreamRequest, handler: UpstreamHandler): void;
  /** Takes nothing new; what runs may end. */
  close(): Promise<void>;
  /** Ends everything at once. */
  destroy(): Promise<void>;
}

/** `auto`: what ALPN agrees on over TLS, else HTTP/1.1. */
export type UpstreamProtocol = 'auto' | 'h1' | 'h2';

export interface PoolOptions {
  readonly protocol: UpstreamProtocol;
  readonly connectTimeoutMs: number;
  readonly tls: TlsConnectOptions;
}

export interface TlsConnectOptions {
  readonly rejectUnauthorized: true;
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  readonly servername?: string;
}
