/**
 * Talking to a running gateway's admin address. Three ways to fail, three exit codes: nobody there (or not a Spillway),
 * an answer that says no, a command line that cannot be meant.
 */
import type { Command } from 'commander';
import { findAdmin, UsageError, type AdminAddress, type AdminOptions } from './admin-address.ts';
import type { CliContext } from './context.ts';
import { EXIT } from './exit-codes.ts';

/** The admin address answers in milliseconds; 5 s cover a machine that is short of everything. */
const PATIENCE_MS = 5000;
/** A reload waits for workers and first probes. */
export const RELOAD_PATIENCE_MS = 60_000;

/** Nobody answers there, or somebody who is no Spillway: exit code 5. */
export class NoGatewayError extends Error {}

/** The gateway says no: exit code 1. */
export class RefusedError extends Error {
  readonly status: number;
  /** The problem document. */
  readonly problem: Readonly<Record<string, unknown>>;

  constructor(status: number, problem: Readonly<Record<string, unknown>>) {
    super(typeof problem['detail'] === 'string' ? problem['detail'] : `the gateway answered ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

export class AdminClient {
  readonly url: string;
  readonly #headers: Record<string, string>;

  constructor(address: AdminAddress) {
    this.url = address.url;
    this.#headers = {
      'user-agent': 'spillway-cli',
      ...(address.token === '' ? {} : { authorization: `Bearer ${address.token}` }),
    };
  }

  /** A JSON document of the gateway. The caller names the shape: both sides are of one version. */
  async get<T>(path: string): Promise<T> {
    return (await this.#json('GET', path)) as T;
  }

  async post<T>(path: string, body: object = {}, patienceMs = PATIENCE_MS): Promise<T> {
    return (await this.#json('POST', path, JSON.stringify(body), patienceMs)) as T;
  }

  async text(path: string): Promise<string> {
    const { ok, status, text } = await this.ask('GET', path);
    if (!ok) throw new RefusedError(status, { detail: `${path} answered ${status}` });
    return text;
  }

  /** @throws NoGatewayError when there is no answer; any status is one. */
  async ask(method: string, path: string, body?: string, patienceMs = PATIENCE_MS) {
    try {
      const response = await fetch(this.url + path, {
        method,
        headers:
          body === undefined ? this.#headers : { ...this.#headers, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body }),
        redirect: 'error',
        signal: AbortSignal.timeout(patienceMs),
      });
      return {
        ok: response.ok,
        status: response.status,
        type: response.headers.get('content-type') ?? '',
        text: await response.text(),
      };
    } catch (error) {
      throw new NoGatewayError(`no gateway reached at ${this.url}: ${reasonOf(error)}`, { cause: error });
    }
  }

  async #json(method: string, path: string, body?: string, patienceMs?: number): Promise<unknown> {
    const { ok, status, type, text } = await this.ask(method, path, body, patienceMs);
    const parsed = type.includes('json') ? parse(text) : undefined;
    if (parsed === undefined)
      throw new NoGatewayError(
        `what answers at ${this.url} is not the admin address of a Spillway (${method} ${path}: ${status})`,
      );
    if (ok) return parsed;
    if (status === 401) {
      throw new RefusedError(status, {
        detail: `the token is missing or wrong: give --token or SPILLWAY_ADMIN_TOKEN (${this.url})`,
      });
    }
    throw new RefusedError(status, typeof parsed === 'object' && parsed !== null ? { ...parsed } : {});
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** `fetch failed` says nothing; its cause does. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return 'no answer in time';
  const { cause } = error;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  if (code === 'ECONNREFUSED') return 'nobody listens there';
  return cause instanceof Error && cause.message !== '' ? cause.message : error.message;
}

/** The options with which a command finds its gateway. */
export function addAdminOptions(command: Command): Command {
  return command
    .option(
      '--admin <url>',
      'admin address of the gateway (else SPILLWAY_ADMIN, the configuration, http://127.0.0.1:9090)',
    )
    .option('--token <token>', 'its token (better: SPILLWAY_ADMIN_TOKEN, which other users cannot see)')
    .option('-c, --config <file>', 'configuration whose admin section is read (spillway.yaml)');
}

/** Runs `talk` with a client and turns the ways to fail into messages and the command's exit code. */
export async function withAdmin(
  context: CliContext,
  options: AdminOptions,
  talk: (client: AdminClient) => Promise<number>,
): Promise<void> {
  try {
    context.exitCode = await talk(new AdminClient(await findAdmin(options, context.environment)));
  } catch (error) {
    const code = exitCodeOf(error);
    if (code === undefined) throw error;
    context.output.message(`spillway: ${(error as Error).message}`);
    context.exitCode = code;
  }
}

function exitCodeOf(error: unknown): number | undefined {
  if (error instanceof NoGatewayError) return EXIT.noGateway;
  if (error instanceof RefusedError) return EXIT.failed;
  return error instanceof UsageError ? EXIT.usage : undefined;
}
