/**
 * `node test/security/differential.ts`: the raw requests through us and through the peers that are installed (nginx, HAProxy,
 * Caddy), judged alike, and what we send read by nginx as an instance. Prints one table, class × gateway, passed of all.
 *
 * Peers answer in their own words, so of an answer only its number and its being a refusal count; what went upstream is
 * judged by the strict reader as it is for us, without what only we add or strip.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { accepts, eventually, freePorts } from '../harness/ports.ts';
import { startProcess } from '../harness/process.ts';
import { CLASS_CASES, CLASS_EXPECTATIONS } from './class-cases.ts';
import { EXPECTATIONS, type Expectation } from './expectations.ts';
import { WHOLE, judge, type RawCase } from './judge.ts';
import { JUDGED } from './judged-gateway.ts';
import { OWN_CASES, OWN_EXPECTATIONS } from './own-cases.ts';
import { RawOrigin } from './raw-origin.ts';
import { fieldOf, type StrictRequest } from './strict-parser.ts';

const CORPUS = JSON.parse(
  readFileSync(new URL('corpus/raw-requests.json', import.meta.url), 'utf8'),
) as readonly RawCase[];
const CASES = [...CORPUS, ...OWN_CASES, ...CLASS_CASES];
const CLASSES = ['RL', 'HO', 'HS', 'FR', 'HB', 'OWN'] as const;

interface Peer {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  readonly configuration: (port: number, origin: number, folder: string) => string;
}

const PEERS: readonly Peer[] = [
  {
    name: 'nginx',
    command: ['nginx', '-e', 'stderr', '-c'],
    configuration: (port, origin, folder) => `
${process.getuid?.() === 0 ? 'user root;' : ''}
daemon off; pid ${folder}/pid; error_log stderr crit; events {}
http { access_log off; client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f;
  uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  upstream o { server 127.0.0.1:${origin}; keepalive 8; }
  server { listen 127.0.0.1:${port}; location / { proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_set_header Host $http_host; proxy_request_buffering off; } } }`,
  },
  {
    name: 'haproxy',
    command: ['haproxy', '-db', '-f'],
    configuration: (port, origin) => `
defaults
  mode http
  timeout client 15s
  timeout server 15s
  timeout connect 5s
frontend f
  bind 127.0.0.1:${port}
  default_backend b
backend b
  server o 127.0.0.1:${origin}
`,
  },
  {
    name: 'caddy',
    command: ['caddy', 'run', '--adapter', 'caddyfile', '--config'],
    configuration: (port, origin) =>
      `{\n admin off\n auto_https off\n}\nhttp://:${port} {\n bind 127.0.0.1\n reverse_proxy 127.0.0.1:${origin}\n}\n`,
  },
];

function expectationOf({ id }: RawCase): Expectation {
  const found = EXPECTATIONS[id] ?? OWN_EXPECTATIONS[id] ?? CLASS_EXPECTATIONS[id];
  if (found === undefined) throw new Error(`no expectation for ${id}`);
  return found;
}

/** What only our own words or fields could satisfy is nobody else's fault. */
const OWN_WORDS =
  /^(not problem|the problem|no Allow|\S+ was passed on|\S+ is |the connection stays open$|status [45]\d\d instead of [45])/;

async function passedOf(port: number, origin: RawOrigin, all: boolean): Promise<Map<string, string[]>> {
  const failed = new Map<string, string[]>();
  for (const rawCase of CASES) {
    const expectation = expectationOf(rawCase);
    const trial = { port, origin, rawCase, placement: 'alone', cuts: WHOLE } as const;
    const faults = await judge({
      ...trial,
      expectation: all ? expectation : { ...expectation, closes: false },
    });
    const counted = all ? faults : faults.filter((fault) => !OWN_WORDS.test(fault));
    if (counted.length > 0) failed.set(rawCase.id, counted);
  }
  return failed;
}

function row(name: string, failed: ReadonlyMap<string, readonly string[]>): string {
  const cells = CLASSES.map((prefix) => {
    const ids = CASES.map(({ id }) => id).filter((id) => id.startsWith(prefix));
    return `${ids.filter((id) => !failed.has(id)).length}/${ids.length}`;
  });
  return `| ${[name, ...cells, `${CASES.length - failed.size}/${CASES.length}`].join(' | ')} |`;
}

async function peerRow(peer: Peer): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-peer-'));
  await using origin = await RawOrigin.start();
  try {
    const [port = 0] = await freePorts(1);
    const file = join(folder, 'configuration');
    await writeFile(file, peer.configuration(port, origin.port, folder));
    const [command, ...args] = peer.command;
    await using running = await startProcess(command, [...args, file], { cwd: folder });
    await eventually(`${peer.name} listens`, async () => {
      if (running.hasExited()) throw new Error(running.output());
      return await accepts(port);
    });
    const failed = await passedOf(port, origin, false);
    for (const [id, faults] of failed) process.stderr.write(`${peer.name} ${id}: ${faults.join('; ')}\n`);
    return row(peer.name, failed);
  } catch (error) {
    return `| ${peer.name} | missing: ${String(error).split('\n')[0] ?? ''} |`;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What nginx, as our instance, read of the requests that we served, against what the strict reader read. */
async function outputIntoNginx(
  wanted: readonly (readonly [RawCase, readonly StrictRequest[]])[],
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-peer-'));
  try {
    const [port = 0] = await freePorts(1);
    const log = join(folder, 'log');
    await writeFile(
      join(folder, 'conf'),
      `${process.getuid?.() === 0 ? 'user root;' : ''}
daemon off; pid ${folder}/pid; error_log stderr crit; events {}
http { client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f;
  uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  large_client_header_buffers 8 32k;
  log_format read escape=none '$request_method $request_uri $http_host [$http_content_length] [$http_transfer_encoding]';
  server { listen 127.0.0.1:${port}; access_log ${log} read; location / { return 200 "ok"; } } }`,
    );
    await using running = await startProcess('nginx', ['-e', 'stderr', '-c', join(folder, 'conf')], {
      cwd: folder,
    });
    await eventually('nginx listens', async () => {
      if (running.hasExited()) throw new Error(running.output());
      return await accepts(port);
    });
    const gateway = await JUDGED.find(({ name }) => name === 'the real process')?.start(port);
    if (gateway === undefined) throw new Error('nobody to judge');
    // Judged for nothing but that it is sent: this origin sees none of it.
    await using nobody = await RawOrigin.start();
    const lines: string[] = [];
    let skipped = 0;
    const skip = async (): Promise<string[]> => {
      const all = (await readFile(log, 'latin1')).split('\n').slice(0, -1);
      const fresh = all.slice(skipped);
      skipped = all.length;
      return fresh;
    };
    let same = 0;
    try {
      await skip();
      for (const [rawCase, requests] of wanted) {
        const expectation = expectationOf(rawCase);
        await judge({
          port: gateway.port,
          origin: nobody,
          rawCase,
          expectation,
          placement: 'alone',
          cuts: WHOLE,
        });
        const read = await skip();
        const sent = requests.map(
          (request) =>
            `${request.method} ${request.target} ${fieldOf(request, 'host') ?? ''} [${fieldOf(request, 'content-length') ?? ''}] [${fieldOf(request, 'transfer-encoding') ?? ''}]`,
        );
        // Without a Host from the caller ours is the instance's own, and these are two instances.
        const plain = (each: readonly string[]): string =>
          JSON.stringify(each).replaceAll(/127\.0\.0\.1:\d+/g, 'INSTANCE');
        if (plain(read) === plain(sent)) same += 1;
        else
          lines.push(
            `nginx as instance ${rawCase.id}: read ${JSON.stringify(read)}, sent ${JSON.stringify(sent)}`,
          );
      }
    } finally {
      await gateway.close();
    }
    process.stderr.write(lines.map((line) => `${line}\n`).join(''));
    return `our output read by nginx as it was sent: ${same}/${wanted.length}`;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  const table = [
    `| gateway | ${CLASSES.join(' | ')} | all |`,
    `| --- |${' --- |'.repeat(CLASSES.length + 1)}`,
  ];
  const sent: [RawCase, readonly StrictRequest[]][] = [];
  for (const { name, start } of JUDGED) {
    await using origin = await RawOrigin.start();
    const gateway = await start(origin.port);
    try {
      table.push(row(`Spillway, ${name}`, await passedOf(gateway.port, origin, true)));
      if (name !== 'the real process') continue;
      for (const rawCase of CASES) {
        const expectation = expectationOf(rawCase);
        if (expectation.upstream !== 'served') continue;
        await judge({ port: gateway.port, origin, rawCase, expectation, placement: 'alone', cuts: WHOLE });
        sent.push([rawCase, origin.seen().requests]);
      }
    } finally {
      await gateway.close();
    }
  }
  for (const peer of PEERS) table.push(await peerRow(peer));
  table.push('', await outputIntoNginx(sent));
  process.stdout.write(`${table.join('\n')}\n`);
}

await main();
