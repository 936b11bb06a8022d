/**
 * Where a running gateway's admin address is, and with which token: `--admin`, else SPILLWAY_ADMIN, else the `admin`
 * section of the configuration file, else http://127.0.0.1:9090; the token likewise (`--token`, SPILLWAY_ADMIN_TOKEN).
 *
 * The file is read loosely, not through the schema: `status` must work while the file has the fault that one wants to
 * mend. What cannot be understood in it counts as not written.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Environment } from './context.ts';

/** What `run` reads, too, when nothing else is said. */
const DEFAULT_FILE = 'spillway.yaml';
const DEFAULT_HOST = '127.0.0.1';
const DEFAULT_PORT = 9090;
const VARIABLE = /\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}/g;

export interface AdminOptions {
  readonly admin?: string | undefined;
  readonly token?: string | undefined;
  /** Path of the configuration file. */
  readonly config?: string | undefined;
}

export interface AdminAddress {
  /** `http://host:port`, without a path. */
  readonly url: string;
  /** Empty = none. */
  readonly token: string;
}

/** A command line that cannot be meant: exit code 2. */
export class UsageError extends Error {}

/** @throws UsageError for an address that is none. */
export async function findAdmin(options: AdminOptions, environment: Environment): Promise<AdminAddress> {
  const given = options.admin ?? environment['SPILLWAY_ADMIN'] ?? '';
  const givenToken = options.token ?? environment['SPILLWAY_ADMIN_TOKEN'] ?? '';
  if (given !== '' && givenToken !== '') return { url: normal(given), token: givenToken };
  const file = options.config ?? DEFAULT_FILE;
  const section = existsSync(file) ? await adminSection(file, environment) : {};
  return {
    url: given === '' ? addressOf(section) : normal(given),
    token: givenToken === '' ? tokenOf(section['token'], file) : givenToken,
  };
}

/** `127.0.0.1:9090` and `http://127.0.0.1:9090/` → `http://127.0.0.1:9090`. */
function normal(given: string): string {
  const text = /^https?:\/\//i.test(given) ? given : `http://${given}`;
  if (!URL.canParse(text))
    throw new UsageError(
      `the admin address ${JSON.stringify(given)} is not a URL such as http://127.0.0.1:9090`,
    );
  return new URL(text).origin;
}

async function adminSection(file: string, environment: Environment): Promise<Record<string, unknown>> {
  // Only now: most calls name their gateway or have no file, and YAML costs a fifth of the start.
  const { parse } = await import('yaml');
  let tree: unknown;
  try {
    tree = parse(readFileSync(file, 'utf8'), { logLevel: 'silent' });
  } catch {
    return {};
  }
  if (!isRecord(tree) || !isRecord(tree['admin'])) return {};
  const section: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(tree['admin'])) {
    section[key] = typeof value === 'string' ? withVariables(value, environment) : value;
  }
  return section;
}

function withVariables(text: string, environment: Environment): string {
  return text.replaceAll(VARIABLE, (_, name: string, fallback: string | undefined) => {
    const value = environment[name];
    return value === undefined || value === '' ? (fallback ?? '') : value;
  });
}

function addressOf(section: Readonly<Record<string, unknown>>): string {
  const host = typeof section['host'] === 'string' && section['host'] !== '' ? section['host'] : DEFAULT_HOST;
  const port = Number(section['port'] ?? DEFAULT_PORT);
  return `http://${reachable(host)}:${Number.isInteger(port) && port > 0 ? port : DEFAULT_PORT}`;
}

/** An address to bind is not always one to connect to. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return DEFAULT_HOST;
  if (host === '::') return '[::1]';
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
}

function tokenOf(token: unknown, file: string): string {
  if (typeof token === 'string') return token;
  if (!isRecord(token) || typeof token['file'] !== 'string') return '';
  try {
    return readFileSync(path.resolve(path.dirname(file), token['file']), 'utf8').trim();
  } catch {
    return '';
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
