/**
 * Programs that the tests run and npm can't bring. `test/run.ts` installs what of them is missing; a test that finds one
 * missing all the same fails and says which package it is in.
 */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** A program, by the names it may have, and Debian's package of it. */
export interface Tool {
  readonly names: readonly string[];
  readonly package: string;
}

/** What a fresh machine is given before the tests run; `redis.ts` says why Valkey does as well. */
export const TOOLS: readonly Tool[] = [
  { names: ['redis-server', 'valkey-server'], package: 'redis-server' },
  { names: ['chromium', 'chromium-browser', 'google-chrome'], package: 'chromium' },
  { names: ['slowhttptest'], package: 'slowhttptest' },
  { names: ['nghttp'], package: 'nghttp2-client' },
  { names: ['haproxy'], package: 'haproxy' },
  { names: ['nginx'], package: 'nginx-light' },
  { names: ['dnsmasq'], package: 'dnsmasq-base' },
  { names: ['cc', 'gcc', 'clang'], package: 'gcc' },
];

/** The path of a program of `TOOLS`, found on the PATH by one of its names. */
export function findExecutable(name: string): string {
  const tool = TOOLS.find(({ names }) => names.includes(name));
  const path = tool === undefined ? undefined : pathOf(tool);
  if (path !== undefined) return path;
  throw new Error(`this test needs ${name}: install Debian's package ${tool?.package ?? name}`);
}

export function isInstalled(tool: Tool): boolean {
  return pathOf(tool) !== undefined;
}

function pathOf({ names }: Tool): string | undefined {
  const folders = (process.env['PATH'] ?? '')
    .split(delimiter)
    .concat('/usr/bin', '/usr/sbin', '/usr/local/bin');
  for (const folder of folders) {
    for (const name of names) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not here.
      }
    }
  }
  return undefined;
}
