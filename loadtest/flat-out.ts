/**
 * A closed loop flat out: connections that each send their next request when they have their answer.
 *
 * By wrk where it is installed: autocannon takes a core for itself, and more CPU a request than what it measures. Several
 * requests are sent in turn (callers with sessions of their own), each written once beforehand.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import autocannon from 'autocannon';

import { installed } from './peers.ts';

export interface FlatOutRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface FlatOutOptions {
  readonly port: number;
  readonly seconds: number;
  readonly connections: number;
  readonly requests: readonly FlatOutRequest[];
}

export interface FlatOutResult {
  readonly seconds: number;
  readonly answers: number;
  /** Answers of 400 and above. */
  readonly refused: number;
  /** Connections and requests that failed without an answer. */
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export function senderName(): 'wrk' | 'autocannon' {
  return installed('wrk') === undefined ? 'autocannon' : 'wrk';
}

export async function flatOut(options: FlatOutOptions): Promise<FlatOutResult> {
  const wrk = installed('wrk');
  return wrk === undefined ? byAutocannon(options) : byWrk(wrk, options);
}

async function byAutocannon(options: FlatOutOptions): Promise<FlatOutResult> {
  const { port, seconds, connections, requests } = options;
  const result = await autocannon({
    url: `http://127.0.0.1:${port}`,
    connections,
    duration: seconds,
    requests: requests.map(({ path, headers }) => ({ method: 'GET', path, headers })),
  });
  return {
    seconds: result.duration,
    answers: result['2xx'] + result.non2xx,
    refused: result.non2xx,
    failed: result.errors + result.timeouts,
    p50Ms: result.latency.p50,
    p99Ms: result.latency.p99,
  };
}

/** Lua strings know the escapes of JSON that occur in paths and headers. */
function luaRequest({ path, headers }: FlatOutRequest): string {
  const fields = Object.entries(headers).map(
    ([name, value]) => `[${JSON.stringify(name)}] = ${JSON.stringify(value)}`,
  );
  return `wrk.format("GET", ${JSON.stringify(path)}, { ${fields.join(', ')} })`;
}

export function wrkScript(requests: readonly FlatOutRequest[]): string {
  return `
local all, at
function init(arguments)
  all = { ${requests.map((request) => luaRequest(request)).join(',\n    ')} }
  at = 0
end
function request()
  at = at % #all + 1
  return all[at]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"seconds":%.6f,"answers":%d,"refused":%d,"failed":%d,"p50Ms":%.3f,"p99Ms":%.3f}\\n',
    summary.duration / 1e6, summary.requests, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
`;
}

async function byWrk(wrk: string, options: FlatOutOptions): Promise<FlatOutResult> {
  const { port, seconds, connections, requests } = options;
  const folder = await mkdtemp(join(tmpdir(), 'spillway-wrk-'));
  try {
    const script = join(folder, 'requests.lua');
    await writeFile(script, wrkScript(requests));
    const output = await outputOf(wrk, [
      '-t1',
      `-c${connections}`,
      `-d${seconds}s`,
      '-s',
      script,
      `http://127.0.0.1:${port}`,
    ]);
    const json = /^\{.*\}$/m.exec(output)?.[0];
    if (json === undefined) throw new Error(`wrk said nothing to count:\n${output}`);
    return JSON.parse(json) as FlatOutResult;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function outputOf(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, [...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once('error', reject);
  child.once('close', resolve);
  try {
    const code = await promise;
    if (code !== 0) throw new Error(`${command} ended with ${code}:\n${output}`);
    return output;
  } finally {
    process.off('exit', kill);
  }
}
