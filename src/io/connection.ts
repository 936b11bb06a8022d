import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { SessionMemo } from '../affinity/session-memo.ts';
import { HostMemo } from '../forwarding/host.ts';
import type { ErrorCode } from '../kernel/errors.ts';
import type { Exchange } from './exchange.ts';

/**
 * A connection is one customer: its requests are begun one at a time, in order.
 *
 * Node parses pipelined requests ahead and would start them all at once, a hundred upstream calls for one socket, and it
 * would start what stands behind a request whose answer ends the connection: bytes that nobody will answer must not
 * reach an instance. Followers wait here unstarted, their clocks too, and are forgotten when an answer says `close`.
 */

/** A request that came and was not begun. */
export interface Arrival {
  readonly req: IncomingMessage;
  /** Undefined for an upgrade, whose response object is made at its turn. */
  readonly res: ServerResponse | undefined;
  readonly socket: Duplex | undefined;
  readonly head: Buffer | undefined;
}

/** More than this many waiting is no client in a hurry any more: the connection ends with the answer that is due. */
const MOST_WAITING = 128;

const CONNECTION = Symbol('connection');

interface Carrier {
  [CONNECTION]?: Connection;
}

export class Connection {
  /** The request between its start and the end of its answer. */
  current: Exchange | undefined = undefined;
  /** The peer's address in its shortest form; found at the first request, since it cannot change. */
  peerAddress = '';
  /** Of the peer's certificate, '' without one; found with its address. */
  subject = '';
  /** What its last requests said, since the next ones say the same. */
  readonly hosts = new HostMemo();
  readonly session = new SessionMemo();
  /** An answer said `close`: nothing behind it is begun. */
  closing = false;
  /** What the parser could not read, or a CONNECT, stands behind the running request: told when that has its answer. */
  brokenBy: ErrorCode | '' = '';
  readonly #waiting: Arrival[] = [];

  /** @returns true when the request may begin now; otherwise it waits or is forgotten. */
  arrived(arrival: Arrival): boolean {
    if (this.closing || this.brokenBy !== '') return false;
    if (this.current === undefined) return true;
    if (this.#waiting.length < MOST_WAITING) this.#waiting.push(arrival);
    else {
      this.closing = true;
      this.current.closes = true;
    }
    return false;
  }

  /** The next in line; undefined when nobody waits, or nothing may follow. */
  next(): Arrival | undefined {
    if (this.closing || this.brokenBy !== '') return undefined;
    return this.#waiting.shift();
  }
}

/** The connection of a socket; made at its first request. */
export function connectionOf(socket: Duplex): Connection {
  const carrier = socket as Carrier;
  carrier[CONNECTION] ??= new Connection();
  return carrier[CONNECTION];
}
