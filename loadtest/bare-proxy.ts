/**
 * What a gateway is measured against: @fastify/http-proxy as its README shows it, and nothing else. A process of its
 * own, one event loop, as one worker of ours. `node loadtest/bare-proxy.ts UPSTREAM_URL`; tells its port over IPC and
 * ends with its parent.
 */
import proxy from '@fastify/http-proxy';
import fastify from 'fastify';

const upstream = process.argv[2];
if (upstream === undefined) throw new Error('usage: bare-proxy.ts UPSTREAM_URL');

const app = fastify({ logger: false });
await app.register(proxy, { upstream });
await app.listen({ port: 0, host: '127.0.0.1' });
const address = app.server.address();
process.send?.({ port: typeof address === 'object' ? address?.port : undefined });
process.once('disconnect', () => process.exit(0));
process.on('SIGINT', () => undefined);
