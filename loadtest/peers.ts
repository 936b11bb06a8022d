/**
 * nginx, HAProxy and Caddy in front of one origin, where they are installed: one process, one thread, keep-alive to both
 * sides, no access log, bodies passed on as they come. *Tuned* is what a careful operator writes who has measured this origin (20 slots of 50 ms, answers wanted within
 * 250 ms), and is right for this origin alone.
 *
 * nginx: at most 40 requests at a time (`limit_conn`), the others 503; it has no queue and knows no priorities.
 * HAProxy: 24 at the server (`maxconn`), the others wait up to 100 ms, critical ones first (`set-priority-class`).
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

import { accepts, eventually, freePorts } from '../test/harness/ports.ts';
import { startProcess } from '../test/harness/process.ts';
import type { RunningProcess } from '../test/harness/process.ts';
import { KEYS } from './overload/anchors.ts';

export interface Peer {
  readonly port: number;
  readonly running: RunningProcess;
  readonly dispose: () => Promise<void>;
}

/** Servers live in `sbin`, which the path of ordinary users seldom names. */
const MORE_FOLDERS = ['/usr/sbin', '/usr/local/sbin'];

/** The file of a program, or undefined when this machine has none. */
export function installed(program: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...MORE_FOLDERS];
  for (const folder of folders) {
    if (folder === '') continue;
    const file = join(folder, program);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not here.
    }
  }
  return undefined;
}

/** "1.22.1", or undefined when the program is not here or does not say. */
export function versionOf(program: string): string | undefined {
  const file = installed(program);
  if (file === undefined) return undefined;
  const asked = program === 'caddy' ? 'version' : '-v';
  const { stdout, stderr } = spawnSync(file, [asked], { encoding: 'utf8', timeout: 5000 });
  return /\d+\.\d+\.\d+/.exec(`${stdout}${stderr}`)?.[0];
}

function nginxConfiguration(folder: string, port: number, origin: string, tuned: boolean): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid ${folder}/nginx.pid;
error_log stderr crit;
events { worker_connections 9000; }
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join('\n  ')}
  keepalive_requests 1000000;
  client_max_body_size 0;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  upstream origin { server ${origin}; keepalive 64; keepalive_requests 1000000; }
  limit_conn_zone $server_port zone=all:1m;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    ${tuned ? 'limit_conn all 40; limit_conn_status 503;' : ''}
    location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`;
}

function haproxyConfiguration(port: number, origin: string, tuned: boolean): string {
  const key = 'req.hdr(x-api-key)';
  const priorities = `
  http-request set-priority-class int(-10) if { ${key} ${KEYS.critical} }
  http-request set-priority-class int(10) if { ${key} ${KEYS.sheddable} }`;
  return `
global
  maxconn 6000
  nbthread 1
defaults
  mode http
  option http-keep-alive
  http-reuse always
  backlog 4096
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  timeout queue ${tuned ? '100ms' : '60s'}
frontend in
  bind 127.0.0.1:${port}${tuned ? priorities : ''}
  default_backend origin
backend origin
  server one ${origin}${tuned ? ' maxconn 24' : ''}
`;
}

function caddyConfiguration(port: number, origin: string): string {
  return `
{
  admin off
  auto_https off
}
http://:${port} {
  bind 127.0.0.1
  reverse_proxy http://${origin}
}
`;
}

async function startPeer(
  program: string,
  argumentsOf: (file: string) => readonly string[],
  configurationOf: (folder: string, port: number) => string,
  environmentOf: (folder: string) => Readonly<Record<string, string>> = () => ({}),
): Promise<Peer> {
  const file = installed(program);
  if (file === undefined) throw new Error(`${program} is not installed`);
  const [port] = await freePorts(1);
  if (port === undefined) throw new Error('no free port');
  const folder = await mkdtemp(join(tmpdir(), `spillway-${program}-`));
  const configuration = join(folder, `${program}.conf`);
  await writeFile(configuration, configurationOf(folder, port));
  const running = await startProcess(file, argumentsOf(configuration), {
    env: environmentOf(folder),
  });
  const dispose = async (): Promise<void> => {
    await running[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await eventually(`${program} accepts`, () => {
      if (running.hasExited()) throw new Error(`${program} ended while it started:\n${running.output()}`);
      return accepts(port);
    });
  } catch (error) {
    await dispose();
    throw error;
  }
  return { port, running, dispose };
}

export function startNginx(originUrl: string, tuned: boolean): Promise<Peer> {
  const origin = new URL(originUrl).host;
  return startPeer(
    'nginx',
    (file) => ['-c', file],
    (folder, port) => nginxConfiguration(folder, port, origin, tuned),
  );
}

export function startHaproxy(originUrl: string, tuned: boolean): Promise<Peer> {
  const origin = new URL(originUrl).host;
  return startPeer(
    'haproxy',
    (file) => ['-db', '-f', file],
    (_, port) => haproxyConfiguration(port, origin, tuned),
  );
}

/** Go spreads over all cores unless told otherwise; what Caddy keeps for later goes where it is removed. */
export function startCaddy(originUrl: string): Promise<Peer> {
  const origin = new URL(originUrl).host;
  return startPeer(
    'caddy',
    (file) => ['run', '--adapter', 'caddyfile', '--config', file],
    (_, port) => caddyConfiguration(port, origin),
    (folder) => ({ GOMAXPROCS: '1', HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder }),
  );
}
