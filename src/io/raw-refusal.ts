import type { Duplex } from 'node:stream';
import { localAnswer } from '../forwarding/local-methods.ts';
import { errorRow, type ErrorCode } from '../kernel/errors.ts';
import { formatProblem } from '../kernel/problem.ts';
import { lingerOn } from './lingering.ts';
import type { WorkerContext } from './worker-context.ts';

/**
 * A refusal where there is no response object, since the parser made none: written onto the socket, then the end.
 */

export function endWithRefusal(socket: Duplex, code: ErrorCode, worker: WorkerContext): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const row = errorRow(code);
  const requestId = worker.nextRequestId();
  const { contentType, body } = formatProblem(code, requestId, '', false);
  const allow = code === 'SPW_METHOD_NOT_ALLOWED' ? `allow: ${connectAllow()}\r\n` : '';
  lingerOn(socket, worker);
  socket.end(
    `HTTP/1.1 ${row.status} ${row.title}\r\ncontent-type: ${contentType}\r\n${allow}content-length: ${Buffer.byteLength(body)}\r\n` +
      `cache-control: no-store\r\nx-request-id: ${requestId}\r\ndate: ${new Date(worker.wallMs()).toUTCString()}\r\n` +
      `connection: close\r\n\r\n${body}`,
  );
  socket.resume();
}

function connectAllow(): string {
  const answer = localAnswer('CONNECT', false, -1);
  return answer.kind === 'forward' ? '' : answer.allow;
}
