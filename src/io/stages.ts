import type { Server, Socket } from 'node:net';

/**
 * Stages that a connection passes before the server that accepted it sees it: the PROXY header, a count by address, and
 * behind the handshake the choice of a protocol.
 *
 * One server object does everything from accept to answer, so that its count of connections, its cap and its timeouts hold
 * whatever stands between; a stage is put in the place of the server's own listener of the event and passes the
 * socket on to it. Where there is no stage nothing is replaced, and a connection costs what it did.
 */
export function insertStage<S extends Socket>(
  server: Server,
  event: 'connection' | 'secureConnection',
  stage: (socket: S, pass: (socket: S) => void) => void,
): void {
  const own = server.rawListeners(event) as ((this: Server, socket: S) => void)[];
  server.removeAllListeners(event);
  const pass = (socket: S): void => {
    for (const listener of own) listener.call(server, socket);
  };
  server.on(event, (socket: S) => {
    stage(socket, pass);
  });
}
