/**
 * Bare `node:http` answering alone: the least that a server in this language can cost, and the origin of what is measured
 * here. A process of its own with one event loop; tells its port over IPC and ends with its parent.
 */
import { createServer } from 'node:http';

/** As the answers that the figures of the design were taken with. */
const BODY = Buffer.alloc(129, 'x');

const server = createServer({ keepAliveTimeout: 60_000 }, (_request, response) => {
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': BODY.length });
  response.end(BODY);
});
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  const address = server.address();
  process.send?.({ port: typeof address === 'object' ? address?.port : undefined });
});
process.once('disconnect', () => process.exit(0));
process.on('SIGINT', () => undefined);
