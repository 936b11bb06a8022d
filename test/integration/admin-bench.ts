import http from 'node:http';
import { afterEach, beforeEach, expect } from 'vitest';
import { startAdminServer, type AdminServer, type AdminServerOptions } from '../../src/io/admin-server.ts';
import { adminPortDouble, type AdminPortDouble } from './admin-port-double.ts';

/** An admin server on port 0 for each test, what it logged, and a client that sends exactly what it is told. */
export interface AdminBench {
  port: AdminPortDouble;
  server: AdminServer;
  logged: { level: string; fields: Record<string, unknown>; message: string }[];
  start: (options?: Partial<AdminServerOptions>) => Promise<void>;
  ask: (method: string, path: string, options?: AskOptions) => Promise<Answer>;
}

export interface AskOptions {
  headers?: Record<string, string>;
  body?: string;
}

export interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  text: string;
  json: Record<string, unknown>;
}

export function adminBench(): AdminBench {
  const bench = {
    start: async (options: Partial<AdminServerOptions> = {}) => {
      bench.server = await startAdminServer(bench.port, {
        host: '127.0.0.1',
        port: 0,
        token: '',
        openMetrics: false,
        log: { info: into(bench, 'info'), warn: into(bench, 'warn'), error: into(bench, 'error') },
        ...options,
      });
    },
    ask: async (method: string, path: string, options: AskOptions = {}) =>
      await ask(bench.server, method, path, options),
  } as AdminBench;
  beforeEach(() => {
    bench.port = adminPortDouble();
    bench.logged = [];
  });
  afterEach(async () => {
    await bench.server.close();
  });
  return bench;
}

function into(bench: AdminBench, level: string) {
  return (fields: object, message: string): void => {
    bench.logged.push({ level, fields: fields as Record<string, unknown>, message });
  };
}

/** node:http, not fetch: headers as a browser or an attacker would set them. */
async function ask(server: AdminServer, method: string, path: string, options: AskOptions): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const { host, port } = server.address;
  const request = http.request(
    { host, port, method, path, headers: options.headers ?? {}, agent: false },
    (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.once('end', () => {
        const isJson = (response.headers['content-type'] ?? '').includes('json') && text !== '';
        const json = isJson ? (JSON.parse(text) as Record<string, unknown>) : {};
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json });
      });
    },
  );
  request.once('error', reject);
  request.end(options.body);
  return await promise;
}

export function expectProblem(answer: Answer, status: number): void {
  expect(answer.status).toBe(status);
  expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
  const title = http.STATUS_CODES[status];
  expect(answer.json).toMatchObject({ type: 'about:blank', status, title, detail: expect.any(String) });
  expect(answer.text).not.toMatch(/\bat .*\.ts|node_modules/);
}
