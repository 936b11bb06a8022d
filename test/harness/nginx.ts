/**
 * nginx as an instance: HTTP/2 and HTTP/1.1 over TLS, and in clear text, from one configuration in a folder of its own.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { CertificateFiles } from './certificates.ts';
import { findExecutable } from './executable.ts';
import { accepts, eventually, freePorts } from './ports.ts';
import { startProcess } from './process.ts';

export interface Nginx extends AsyncDisposable {
  /** HTTP/2 by ALPN, else HTTP/1.1. */
  readonly securePort: number;
  /** HTTP/2 with prior knowledge. */
  readonly h2Port: number;
  readonly pid: number;
  readonly output: () => string;
}

/** @param locations further `location` blocks of all its servers */
export async function startNginx(files: CertificateFiles, locations: string): Promise<Nginx> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-nginx-'));
  const [securePort = 0, h2Port = 0] = await freePorts(2);
  await mkdir(join(folder, 'temp'));
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${join(folder, 'temp', name)};`,
  );
  const configFile = join(folder, 'nginx.conf');
  await writeFile(
    configFile,
    // Else its worker is nobody, who may not write into a folder of ours.
    `${process.getuid?.() === 0 ? 'user root;' : ''}
daemon off;
worker_processes 1;
pid ${join(folder, 'nginx.pid')};
error_log stderr info;
events { worker_connections 1024; }
http {
  access_log off;
  ${temp.join('\n  ')}
  server {
    listen 127.0.0.1:${securePort} ssl http2;
    listen 127.0.0.1:${h2Port} http2;
    ssl_certificate ${files.cert};
    ssl_certificate_key ${files.key};
    root ${folder};
    location = /ready { return 200; }
    ${locations}
  }
}
`,
  );
  const running = await startProcess(findExecutable('nginx'), [
    '-p',
    folder,
    '-c',
    configFile,
    '-e',
    'stderr',
  ]);
  await eventually('nginx listens', async () => {
    if (running.hasExited()) throw new Error(`nginx ended:\n${running.output()}`);
    return (await accepts(securePort)) && (await accepts(h2Port));
  });
  return {
    securePort,
    h2Port,
    pid: running.pid,
    output: running.output,
    [Symbol.asyncDispose]: async () => {
      await running[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
