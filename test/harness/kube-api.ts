/**
 * A stand-in for a Kubernetes API server as far as EndpointSlices go: list with pages, watch from a version, bookmarks, versions
 * that become too old (410), and the ways in which a real one fails: it refuses, ends watches, cuts them, says nothing.
 * It keeps to "Kubernetes API concepts": one counter of versions, every change an event, a watch tells all events behind its
 * version in order and nothing of before.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';

import { StandIn } from './stand-in.ts';

export interface Slice {
  readonly service: string;
  readonly addressType?: string;
  readonly ports?: readonly unknown[] | null;
  readonly endpoints: readonly unknown[];
}

/** A slice of ready pods with these addresses; `leaving` ones terminate and still serve. */
export function podSlice(port: number, hosts: readonly string[], leaving: readonly string[] = []): Slice {
  return {
    service: 'shop',
    ports: [{ name: 'http', protocol: 'TCP', port }],
    endpoints: hosts.map((host) => ({
      addresses: [host],
      conditions: leaving.includes(host)
        ? { ready: false, serving: true, terminating: true }
        : { ready: true, serving: true, terminating: false },
      targetRef: { kind: 'Pod', uid: `pod-${host}` },
    })),
  };
}

interface Event {
  readonly type: string;
  readonly version: number;
  readonly object: unknown;
  readonly namespace: string;
  readonly service: string;
}

/** What it does with a question: `ok`, a status, or nothing at all. */
export type Mood = 'ok' | 'silent' | number;

export class KubeApi extends StandIn {
  readonly #isSecure: boolean;
  /** Bearer token that is asked for; empty = none. */
  token = '';
  list: Mood = 'ok';
  watch: Mood = 'ok';
  /** Watches that are open tell nothing of what changes. */
  deaf = false;
  /** A watch from a version before this one is too old. */
  oldest = 0;
  /** 410 as a status and not as an event of the stream. */
  expiresByStatus = false;
  pageSize = Infinity;
  lists = 0;
  watches = 0;
  /** Paths and queries as they came. */
  readonly asked: string[] = [];
  #version = 100;
  readonly #slices = new Map<string, { namespace: string; service: string; object: unknown }>();
  readonly #events: Event[] = [];
  readonly #open = new Set<{ response: ServerResponse; namespace: string; service: string }>();

  private constructor(server: Server, isSecure: boolean) {
    super(server);
    this.#isSecure = isSecure;
  }

  static async start(tls?: { readonly cert: string; readonly key: string }): Promise<KubeApi> {
    const server = tls === undefined ? createServer() : createTlsServer(tls);
    return await new KubeApi(server, tls !== undefined).listen();
  }

  override get url(): string {
    return `${this.#isSecure ? 'https' : 'http'}://127.0.0.1:${this.port}`;
  }

  get openWatches(): number {
    return this.#open.size;
  }

  /** Sets a slice, or takes it away. */
  set(name: string, slice: Slice | undefined, namespace = 'default'): void {
    const version = ++this.#version;
    const known = this.#slices.get(name);
    const service = slice?.service ?? known?.service ?? '';
    if (slice === undefined && known === undefined) return;
    const {
      addressType = 'IPv4',
      ports = [{ name: 'http', protocol: 'TCP', port: 8080 }],
      endpoints = [],
    } = slice ?? {};
    const object = {
      metadata: {
        name,
        namespace,
        resourceVersion: String(version),
        labels: { 'kubernetes.io/service-name': service },
      },
      addressType,
      ports,
      endpoints,
    };
    const type = slice === undefined ? 'DELETED' : known === undefined ? 'ADDED' : 'MODIFIED';
    if (slice === undefined) this.#slices.delete(name);
    else this.#slices.set(name, { namespace, service, object });
    const event = { type, version, object, namespace, service };
    this.#events.push(event);
    if (this.deaf) return;
    for (const open of this.#open) if (concerns(open, event)) write(open.response, type, object);
  }

  /** Moves all watches along without a change. */
  bookmark(): void {
    const object = { kind: 'EndpointSlice', metadata: { resourceVersion: String(++this.#version) } };
    for (const { response } of this.#open) write(response, 'BOOKMARK', object);
  }

  /** Open watches end in order, as after their `timeoutSeconds`. */
  endWatches(): void {
    this.#endAll('');
  }

  /** Open watches are told that they are too old. */
  expireWatches(): void {
    this.oldest = this.#version + 1;
    this.#endAll(errorLine(410));
  }

  /** Open watches are told something that is none. */
  babble(text: string): void {
    for (const { response } of this.#open) response.write(`${text}\n`);
  }

  /** Every connection is cut, also in the middle of a line. */
  cut(): void {
    for (const { response } of this.#open) response.write('{"type":"ADDED","obj');
    this.#open.clear();
    this.cutAll();
  }

  #endAll(lastWords: string): void {
    for (const { response } of this.#open) response.end(lastWords);
    this.#open.clear();
  }

  protected override answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', 'http://api');
    this.asked.push(`${url.pathname}${url.search}`);
    const match = /^\/apis\/discovery\.k8s\.io\/v1\/namespaces\/([^/]+)\/endpointslices$/.exec(url.pathname);
    const service = /^kubernetes\.io\/service-name=(.+)$/.exec(
      url.searchParams.get('labelSelector') ?? '',
    )?.[1];
    if (match === null || service === undefined) {
      refuse(response, 404);
      return;
    }
    if (this.token !== '' && request.headers.authorization !== `Bearer ${this.token}`) {
      refuse(response, 401);
      return;
    }
    const namespace = match[1] ?? '';
    const isWatch = url.searchParams.get('watch') === '1';
    const mood = isWatch ? this.watch : this.list;
    if (mood === 'silent') return;
    if (typeof mood === 'number') refuse(response, mood);
    else if (isWatch) this.#watch(url.searchParams, { response, namespace, service });
    else this.#list(url.searchParams, { response, namespace, service });
  }

  #list(
    query: URLSearchParams,
    asked: { response: ServerResponse; namespace: string; service: string },
  ): void {
    this.lists += 1;
    const all = [...this.#slices.values()].filter((slice) => concerns(asked, slice));
    const from = Number(query.get('continue') ?? 0);
    const to = from + Math.min(this.pageSize, Number(query.get('limit') ?? Infinity));
    const list = {
      kind: 'EndpointSliceList',
      metadata: {
        resourceVersion: String(this.#version),
        ...(to < all.length ? { continue: String(to) } : {}),
      },
      items: all.slice(from, to).map(({ object }) => object),
    };
    asked.response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(list));
  }

  #watch(
    query: URLSearchParams,
    asked: { response: ServerResponse; namespace: string; service: string },
  ): void {
    this.watches += 1;
    const { response } = asked;
    const version = Number(query.get('resourceVersion'));
    const isOld = version < this.oldest;
    if (isOld && this.expiresByStatus) {
      refuse(response, 410);
      return;
    }
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (isOld) {
      response.end(errorLine(410));
      return;
    }
    this.#open.add(asked);
    response.on('close', () => this.#open.delete(asked));
    if (this.deaf) return;
    for (const event of this.#events)
      if (event.version > version && concerns(asked, event)) write(response, event.type, event.object);
  }
}

function concerns(
  asked: { namespace: string; service: string },
  of: { namespace: string; service: string },
): boolean {
  return asked.namespace === of.namespace && asked.service === of.service;
}

function write(response: ServerResponse, type: string, object: unknown): void {
  response.write(`${JSON.stringify({ type, object })}\n`);
}

function errorLine(code: number): string {
  return `${JSON.stringify({ type: 'ERROR', object: statusOf(code) })}\n`;
}

function statusOf(code: number): object {
  return { kind: 'Status', status: 'Failure', code, message: `stand-in says ${code}` };
}

function refuse(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(statusOf(status)));
}
