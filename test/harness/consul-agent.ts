/**
 * A stand-in for a Consul agent as far as `/v1/health/service/NAME` goes: blocking queries by index, tokens, and the ways in which
 * a real one fails. It keeps to "Blocking Queries": an answer carries `X-Consul-Index`; a question with `index` waits until the
 * index is past it, or for `wait`.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

import { StandIn } from './stand-in.ts';

export interface Entry {
  readonly id: string;
  readonly address: string;
  readonly port: number;
  readonly tags?: readonly string[];
  readonly version?: string;
  readonly checks?: readonly { readonly CheckID: string; readonly Status: string }[];
}

interface Waiting {
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly service: string;
  readonly timer: NodeJS.Timeout;
}

export class ConsulAgent extends StandIn {
  token = '';
  /** Answers with this status, or not at all. */
  mood: 'ok' | 'silent' | number = 'ok';
  /** Without the header. */
  hidesIndex = false;
  questions = 0;
  readonly asked: string[] = [];
  #index = 10;
  readonly #services = new Map<string, readonly Entry[]>();
  readonly #waiting = new Set<Waiting>();

  static async start(): Promise<ConsulAgent> {
    return await new ConsulAgent(createServer()).listen();
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  set(service: string, entries: readonly Entry[]): void {
    this.#services.set(service, entries);
    this.#index += 1;
    this.#answerAll();
  }

  /** Another server leads, whose index begins anew: who waits is answered with it. */
  resetIndex(): void {
    this.#index = 1;
    this.#answerAll();
  }

  protected override answer(request: IncomingMessage, response: ServerResponse): void {
    this.questions += 1;
    this.asked.push(request.url ?? '');
    const url = new URL(request.url ?? '', 'http://agent');
    const service = /^\/v1\/health\/service\/([^/]+)$/.exec(url.pathname)?.[1];
    if (this.mood === 'silent') return;
    if (typeof this.mood === 'number' || service === undefined) {
      response.writeHead(typeof this.mood === 'number' ? this.mood : 404).end('rpc error: No cluster leader');
      return;
    }
    if (this.token !== '' && request.headers['x-consul-token'] !== this.token) {
      response.writeHead(403).end('Permission denied');
      return;
    }
    const query = url.searchParams;
    const waitMs = Number(/^(\d+)s$/.exec(query.get('wait') ?? '')?.[1] ?? 300) * 1000;
    const timer = setTimeout(() => this.#answer(waiting), waitMs);
    const waiting = { response, query, service: decodeURIComponent(service), timer };
    this.#waiting.add(waiting);
    response.on('close', () => {
      clearTimeout(timer);
      this.#waiting.delete(waiting);
    });
    const index = Number(query.get('index') ?? 0);
    if (index === 0 || index < this.#index) this.#answer(waiting);
  }

  #answerAll(): void {
    for (const waiting of this.#waiting) this.#answer(waiting);
  }

  #answer(waiting: Waiting): void {
    const { response, query, service, timer } = waiting;
    clearTimeout(timer);
    this.#waiting.delete(waiting);
    const tag = query.get('tag');
    const entries = (this.#services.get(service) ?? []).filter(
      ({ tags = [] }) => tag === null || tags.includes(tag),
    );
    if (!this.hidesIndex) response.setHeader('x-consul-index', String(this.#index));
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(entries.map(rowOf)));
  }
}

function rowOf({ id, address, port, tags = [], version, checks }: Entry): object {
  return {
    Node: { ID: `node-of-${id}`, Node: 'node-1', Address: '127.0.0.1', Datacenter: 'dc1' },
    Service: {
      ID: id,
      Service: 'shop',
      Tags: tags,
      Address: address,
      Port: port,
      Meta: version === undefined ? null : { version },
      Weights: { Passing: 1, Warning: 1 },
    },
    Checks: checks ?? [{ CheckID: 'serfHealth', Status: 'passing' }],
  };
}
