/**
 * What the tests of the control plane share: a configuration to change, a reload with its answer, and workers that fail
 * where the supervisor does not.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { pathToFileURL } from 'node:url';

import { expect } from 'vitest';

import type { Gateway } from '../harness/gateway.ts';

export interface Sections {
  readonly listeners?: string;
  readonly workers?: number;
  /** Added to the service `shop`. */
  readonly shop?: string;
  /** Instead of the one service `shop`. */
  readonly services?: string;
  readonly routes?: string;
  readonly more?: string;
}

export function yaml(originUrl: string, sections: Sections = {}): string {
  const shop = `shop: { instances: [${originUrl}], sla: 500ms, readiness: { path: /ready, interval: 200ms }${
    sections.shop === undefined ? '' : `, ${sections.shop}`
  } }`;
  return `
listeners: [${sections.listeners ?? '{ port: __PORT__, host: 127.0.0.1 }'}]
workers: ${sections.workers ?? 1}
log: { access: off }
shedding: { mode: observe }
services: { ${sections.services ?? shop} }
routes: [${sections.routes ?? '{ path: /, service: shop }'}]
${sections.more ?? ''}
`;
}

export async function reload(
  gateway: Gateway,
  text: string,
): Promise<{ status: number; faults: readonly string[]; warnings: readonly string[] }> {
  await gateway.rewrite(text);
  const { status, body } = await gateway.admin('/v1/reload', { method: 'POST' });
  const { faults = [], warnings = [] } = body as { faults?: string[]; warnings?: string[] };
  return { status, faults, warnings };
}

/** Status of a request on a connection of its own; 0 when it failed. */
export async function statusOf(port: number, path = '/'): Promise<number> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
      headers: { connection: 'close' },
      signal: AbortSignal.timeout(30_000),
    });
    await answer.arrayBuffer();
    return answer.status;
  } catch {
    return 0;
  }
}

interface WorkerStatus {
  readonly pid: number;
  readonly state: string;
}

export async function workersOf(gateway: Gateway): Promise<readonly WorkerStatus[]> {
  const { status, body } = await gateway.admin('/v1/status');
  expect(status).toBe(200);
  return (body as { workers: WorkerStatus[] }).workers;
}

export interface Sabotage extends AsyncDisposable {
  /** A certificate of which the script may say who can read it. */
  readonly certificate: string;
  /** A folder for the test. */
  readonly folder: string;
  /** For the gateway's environment. */
  readonly env: Readonly<Record<string, string>>;
}

/** A script that every process of the gateway runs first; it knows `isWorker`, `fs`, `net`, `marker` and `certificate`. */
export async function sabotage(script: string): Promise<Sabotage> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-control-'));
  const certificate = join(folder, 'ca.pem');
  await writeFile(certificate, rootCertificates[0] ?? '');
  const module = join(folder, 'preload.mjs');
  await writeFile(
    module,
    `import fs from 'node:fs'; import net from 'node:net'; import { syncBuiltinESMExports } from 'node:module';
const marker = ${JSON.stringify(join(folder, 'marker'))}; const certificate = ${JSON.stringify(certificate)};
const isWorker = process.argv[2] === 'worker';
${script}
`,
  );
  return {
    certificate,
    folder,
    env: { NODE_OPTIONS: `--import=${pathToFileURL(module).href}` },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/** The first worker that reads the certificate may not; all others, and later reads, may. */
export const FIRST_READER_FAILS = `
const { readFileSync } = fs;
fs.readFileSync = (path, ...more) => {
  if (isWorker && path === certificate) {
    let first = true;
    try { fs.writeFileSync(marker, '', { flag: 'wx' }); } catch { first = false; }
    if (first) throw new Error('EACCES: this worker may not');
  }
  return readFileSync(path, ...more);
};
syncBuiltinESMExports();`;

/** The supervisor can read the certificate when it checks the configuration, and no more when it uses it. */
export const GONE_AFTER_THE_CHECK = `
const { readFileSync } = fs;
let reads = 0;
fs.readFileSync = (path, ...more) => {
  if (!isWorker && path === certificate && ++reads % 2 === 0) throw new Error('ENOENT: gone since the check');
  return readFileSync(path, ...more);
};
syncBuiltinESMExports();`;

/** No worker can listen where the backlog is 77. */
export const NOBODY_LISTENS = `
const { listen } = net.Server.prototype;
net.Server.prototype.listen = function (handle, backlog, ...more) {
  if (backlog !== 77) return listen.call(this, handle, backlog, ...more);
  queueMicrotask(() => this.emit('error', new Error('EADDRINUSE: somebody else listens')));
  return this;
};`;
