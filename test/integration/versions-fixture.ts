/**
 * Five instances of three versions, each with parts of its own and no other's, behind a gateway that a test configures; and
 * a caller that says what a browser would.
 */
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { parseExposition } from './metrics-text.ts';
import { ask, startService, untilIdle, untilState, valueOf, valuesOf } from './path-fixture.ts';
import type { Answer, Listening } from './path-fixture.ts';

export const VERSIONS = ['v1', 'v1', 'v2', 'v2', 'v3'] as const;

export interface Settings {
  readonly versions: string;
  readonly affinity?: boolean;
  /** Indexes of the instances; all but the last when left out. */
  readonly running?: readonly number[];
  readonly mode?: string;
  /** Of the affinity: a header that tells callers without a cookie apart. */
  readonly fallback?: string;
  /** Of the affinity. */
  readonly idle?: string;
  readonly workers?: number;
  /** Further keys of the service, as lines. */
  readonly more?: string;
}

export interface Seen extends Answer {
  readonly version: string;
  readonly instance: string;
  readonly mismatch: string | undefined;
}

export interface Request {
  readonly cookie?: string;
  readonly navigates?: boolean;
  readonly wish?: string;
  readonly method?: string;
  /** Of the header `x-user`. */
  readonly user?: string;
}

/** What the answer sets, as a caller sends it back. */
export function set({ rawHeaders }: Answer): string {
  return valuesOf(rawHeaders, 'set-cookie')
    .map((each) => each.slice(0, each.indexOf(';')))
    .join('; ');
}

class Deployment implements AsyncDisposable {
  readonly #instances: Listening[] = [];
  #gateway: Gateway | undefined = undefined;
  /** What each instance was asked: method and target. */
  asked: string[][] = [];
  /** What was sent as `Cookie`. */
  cookies: string[] = [];
  /** How often instances of a version answer 500 to a page, 0..1. */
  failing: Readonly<Record<string, number>> = {};
  /** What answers say of their caching. */
  caching = '';

  async listen(): Promise<void> {
    for (const [index, version] of VERSIONS.entries()) {
      this.#instances.push(
        await startService((request, response) => {
          const { method = '', url = '', headers } = request;
          this.asked[index]?.push(`${method} ${url}`);
          this.cookies.push(headers.cookie ?? '');
          response.setHeader('x-version', version);
          response.setHeader('x-instance', index);
          if (this.caching !== '') response.setHeader('cache-control', this.caching);
          const [path = ''] = url.split('?');
          if (path === '/' && Math.random() < (this.failing[version] ?? 0)) {
            response.writeHead(500, { 'content-length': 0 }).end();
            return;
          }
          const has = !path.startsWith('/assets/') || path === `/assets/${version}.js`;
          const body = has ? `${version} ${path}` : 'not here';
          response.writeHead(has ? 200 : 404, { 'content-length': body.length }).end(body);
        }),
      );
    }
  }

  get gateway(): Gateway {
    if (this.#gateway === undefined) throw new Error('not started');
    return this.#gateway;
  }

  forget(): void {
    this.asked = VERSIONS.map(() => []);
    this.cookies = [];
    this.failing = {};
    this.caching = '';
  }

  async start(settings: Settings): Promise<void> {
    await this.stop();
    this.#gateway = await startGateway(this.#config(settings));
  }

  async stop(): Promise<void> {
    await this.#gateway?.[Symbol.asyncDispose]();
    this.#gateway = undefined;
  }

  async reload(settings: Settings): Promise<void> {
    await this.gateway.rewrite(this.#config(settings));
    expect((await this.gateway.admin('/v1/reload', { method: 'POST' })).status).toBe(200);
  }

  async get(
    path: string,
    { cookie, navigates = false, wish, method = 'GET', user }: Request = {},
  ): Promise<Seen> {
    const answer = await ask(this.gateway.port, {
      path,
      method,
      headers: {
        'sec-fetch-mode': navigates ? 'navigate' : 'no-cors',
        ...(cookie === undefined ? {} : { cookie }),
        ...(wish === undefined ? {} : { 'x-deployment-id': wish }),
        ...(user === undefined ? {} : { 'x-user': user }),
      },
    });
    return {
      ...answer,
      version: valueOf(answer.rawHeaders, 'x-version') ?? '',
      instance: valueOf(answer.rawHeaders, 'x-instance') ?? '',
      mismatch: valueOf(answer.rawHeaders, 'x-deployment-mismatch'),
    };
  }

  /** A document that is navigated to. */
  async page(cookie?: string): Promise<Seen> {
    return await this.get('/', { navigates: true, ...(cookie === undefined ? {} : { cookie }) });
  }

  /** A session that is at a version. */
  async sessionAt(version: string): Promise<string> {
    for (let tries = 0; tries < 200; tries++) {
      const answer = await this.page();
      if (answer.version === version) return set(answer);
    }
    throw new Error(`200 pages, and none of ${version}`);
  }

  async operate(index: number, command: 'drain' | 'disable', state: string): Promise<void> {
    const id = `127.0.0.1:${this.#instances[index]?.port ?? 0}`;
    await this.gateway.admin(`/v1/services/shop/instances/${id}/${command}`, { method: 'POST' });
    await untilState(this.gateway, 'shop', id, state);
  }

  async disable(index: number): Promise<void> {
    await this.operate(index, 'disable', 'disabled');
  }

  async counts(family: string, label: string): Promise<Readonly<Record<string, number>>> {
    await untilIdle(this.gateway, 'shop');
    const page = parseExposition(String((await this.gateway.admin('/metrics')).body));
    return Object.fromEntries(page.all(family).map(({ labels, value }) => [labels[label] ?? '', value]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    for (const each of this.#instances) await each[Symbol.asyncDispose]();
  }

  #config(settings: Settings): string {
    const { versions, affinity = true, running = [0, 1, 2, 3], workers = 1, more = '' } = settings;
    const { mode = 'soft', fallback, idle = '30m' } = settings;
    const by = fallback === undefined ? '' : `, fallback: { header: ${fallback} }`;
    const list = running.map(
      (index) => `{ url: ${this.#instances[index]?.url}, version: ${VERSIONS[index]} }`,
    );
    const keys = '[{ id: k1, secret: 0123456789abcdef }]';
    return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: ${workers}
services:
  shop:
    instances: [${list.join(', ')}]
    sla: 5s
    readiness: { path: /ready, interval: 200ms, timeout: 10s, rise: 1 }
    balancing: { slowStart: 0s }
    drain: { sessionTimeout: 60s }
${affinity ? `    affinity: { cookie: seat, idle: ${idle}, mode: ${mode}, keys: ${keys}${by} }` : ''}
    versions: ${versions}
    ${more}
routes: [{ path: /, service: shop }]
`;
  }
}

/** For the tests of one file: its instances live as long as they all, a gateway as long as the test that starts it. */
export function deployment(): Deployment {
  const made = new Deployment();
  beforeAll(async () => {
    await made.listen();
  });
  beforeEach(() => {
    made.forget();
  });
  afterEach(async () => {
    await made.stop();
  });
  afterAll(async () => {
    await made[Symbol.asyncDispose]();
  });
  return made;
}
