import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { EndpointSlices, type EndpointPolicy } from '../../discovery/endpoint-slices.ts';
import { retryMs } from '../../discovery/pauses.ts';
import type { DiscoveryListener, DiscoverySource, Found } from '../../discovery/source.ts';
import { between, type Random } from '../../kernel/random.ts';
import { errorMessage } from '../error-message.ts';
import { readPem } from '../pem.ts';
import { askJson, askLines, SourceFault, type HttpQuestion } from './http-question.ts';

/**
 * Instances as the EndpointSlices of a service, listed and then watched (Kubernetes API concepts, "Efficient detection of
 * changes").
 *
 * Signal: the list, the events of the watch, its end. Decision: a watch that ends goes on from the last version within 250 ms,
 * and no event is lost by it; bookmarks move that version along while nothing happens. The list is read again when the
 * version is too old (410), and every five minutes in any case, on a new connection, so that a conversation that fell asleep
 * is found out by what it did not tell. Everything that fails is tried again for ever, more slowly each time. Cold start:
 * a list. Why our own: an informer that stops at an error, or is deaf between two of its lists, loses deploys in silence.
 * Inside of a cluster, address, token and authority are those of the pod's service account, read at each question, since
 * tokens are renewed; it needs `list` and `watch` of `endpointslices` in the namespace.
 */

/** Half: twice the lists for a server with many gateways; double: what a silent watch hid stays hidden for ten minutes. */
const RELIST_MS = 300_000;
const SPREAD = 0.1;
/** Half: more trips for large services; double: pages of a megabyte. */
const PAGE = 500;
const MOST_PAGES = 100;

/**
 * Events that come within this are told as one set: of a thousand instances each costs the supervisor 1.6 ms. Half: a deploy of
 * a large fleet takes twice as much of it; double: an instance that ends is drained a twentieth of a second later.
 */
const TELL_MS = 50;

/** Where a pod finds its own cluster. */
export interface Cluster {
  /** Empty outside of one. */
  readonly host: string;
  readonly port: string;
  /** Token, authority and namespace of the service account. */
  readonly folder: string;
}

export interface KubernetesQuestion extends EndpointPolicy {
  readonly service: string;
  readonly namespace: string | undefined;
  /** Undefined: the cluster's, with its token and authority. */
  readonly url: string | undefined;
  readonly token: string | undefined;
  /** PEM text or a file. */
  readonly ca: string | undefined;
}

export interface KubernetesParts {
  readonly now: () => number;
  readonly random: Random;
  readonly cluster: Cluster;
  readonly relistMs?: number;
}

interface Page {
  readonly items: readonly unknown[];
  readonly version: string;
  readonly next: string;
}

export class KubernetesSource implements DiscoverySource {
  readonly #question: KubernetesQuestion;
  readonly #parts: KubernetesParts;
  readonly #listener: DiscoveryListener;
  readonly #slices: EndpointSlices;
  readonly #stopped = new AbortController();
  #failures = 0;
  /** Versions in a row that were too old. */
  #expiries = 0;
  #soon: NodeJS.Timeout | undefined = undefined;
  /** What was told last, to find out what a watch did not tell. */
  #told: string | undefined = undefined;

  constructor(question: KubernetesQuestion, parts: KubernetesParts, listener: DiscoveryListener) {
    this.#question = question;
    this.#parts = parts;
    this.#listener = listener;
    this.#slices = new EndpointSlices(question);
    void this.#run();
  }

  stop(): void {
    this.#stopped.abort();
    clearTimeout(this.#soon);
  }

  /** Never rejects, and ends only when stopped. */
  async #run(): Promise<void> {
    let asleep = false;
    while (!this.#stopped.signal.aborted) {
      try {
        await this.#list(asleep);
        asleep = await this.#watchUntilStale();
      } catch (error) {
        asleep = false;
        await this.#failed(error);
      }
    }
  }

  /** @param asleep the watch was open until now, so a list that differs is something that it did not tell */
  async #list(asleep: boolean): Promise<void> {
    const items: unknown[] = [];
    let next = '';
    for (let pages = 0; pages < MOST_PAGES; pages += 1) {
      const page = pageOf((await askJson(await this.#ask({ limit: String(PAGE), continue: next }))).value);
      items.push(...page.items);
      next = page.next;
      if (next !== '') continue;
      if (this.#soon !== undefined) this.#tell();
      const before = this.#told;
      this.#slices.replace(items, page.version);
      this.#failures = 0;
      this.#tell();
      if (!asleep || before === this.#told) return;
      this.#listener.onFault({ kind: 'silent', reason: 'the list has changes that the watch did not tell' });
      // It answers all the same.
      this.#tell();
      return;
    }
    throw new SourceFault('malformed', `a list of more than ${MOST_PAGES} pages`);
  }

  /**
   * Watches, again and again, until the list is to be read anew.
   * @returns true when that is because of its age, while the watch was open
   * @throws what ends the watch for a reason that a list may not mend
   */
  async #watchUntilStale(): Promise<boolean> {
    const { now, random, relistMs = RELIST_MS } = this.#parts;
    const staleMs = now() + relistMs * between(random, 1 - SPREAD, 1 + SPREAD);
    for (;;) {
      const leftMs = staleMs - now();
      if (leftMs <= 0) return false;
      const stale = AbortSignal.timeout(Math.ceil(leftMs));
      try {
        await this.#watch(AbortSignal.any([stale, this.#stopped.signal]), leftMs);
      } catch (error) {
        if (stale.aborted || this.#stopped.signal.aborted) return true;
        if (error instanceof SourceFault && error.status === 410) {
          // A server that calls each version too old is asked ever more slowly.
          if (++this.#expiries > 1) await this.#pause(this.#expiries);
          return false;
        }
        if (error instanceof SourceFault && error.kind === 'malformed') throw error;
        await this.#failed(error);
        continue;
      }
      if (this.#stopped.signal.aborted) return false;
      await this.#pause(1);
    }
  }

  /** One watch, until the server ends it or the connection breaks. @throws when it was refused, or told of an error */
  async #watch(signal: AbortSignal, leftMs: number): Promise<void> {
    const question = await this.#ask({
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion: this.#slices.version,
      timeoutSeconds: String(Math.ceil(leftMs / 1000) + 5),
    });
    let opened = false;
    try {
      await askLines(
        { ...question, signal },
        () => {
          opened = true;
          this.#failures = 0;
          this.#tell();
        },
        (line) => {
          this.#event(line);
        },
      );
    } catch (error) {
      const isBroken = error instanceof SourceFault && error.kind === 'unreachable';
      if (signal.aborted || !opened || !isBroken) throw error;
      // A connection that breaks is no news: the next one goes on where it ended.
    }
  }

  #event(line: string): void {
    let event: unknown;
    try {
      event = JSON.parse(line);
    } catch {
      throw new SourceFault('malformed', 'an event that is no JSON');
    }
    const outcome = this.#slices.apply(event);
    switch (outcome.kind) {
      case 'changed':
        this.#expiries = 0;
        this.#soon ??= setTimeout(() => {
          this.#tell();
        }, TELL_MS).unref();
        return;
      case 'bookmark':
        this.#expiries = 0;
        return;
      case 'expired':
        throw new SourceFault('refused', 'the version is too old', 410);
      case 'fault':
        throw new SourceFault('malformed', outcome.reason);
    }
  }

  #tell(): void {
    clearTimeout(this.#soon);
    this.#soon = undefined;
    if (this.#stopped.signal.aborted) return;
    let set: readonly Found[];
    try {
      set = this.#slices.instances();
    } catch (error) {
      this.#listener.onFault({ kind: 'malformed', reason: errorMessage(error) });
      return;
    }
    this.#told = JSON.stringify(set);
    this.#listener.onSet(set);
  }

  async #failed(error: unknown): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    const kind = error instanceof SourceFault ? error.kind : 'unreachable';
    this.#listener.onFault({ kind, reason: errorMessage(error) });
    await this.#pause(++this.#failures);
  }

  /** Before the next question. @param failures in a row; the first pause is within 250 ms */
  async #pause(failures: number): Promise<void> {
    const { signal } = this.#stopped;
    try {
      await pause(retryMs(failures, this.#parts.random), undefined, { ref: false, signal });
    } catch {
      // Stopped.
    }
  }

  async #ask(parameters: Readonly<Record<string, string>>): Promise<HttpQuestion> {
    const { service, namespace, token, ca } = this.#question;
    const base = this.#base();
    const own = this.#question.url === undefined ? await accountOf(this.#parts.cluster.folder) : undefined;
    const space = namespace ?? own?.namespace ?? 'default';
    const query = new URLSearchParams({ labelSelector: `kubernetes.io/service-name=${service}` });
    for (const [name, value] of Object.entries(parameters)) if (value !== '') query.set(name, value);
    const bearer = token ?? own?.token ?? '';
    return {
      url: `${base}/apis/discovery.k8s.io/v1/namespaces/${space}/endpointslices?${query.toString()}`,
      headers: {
        accept: 'application/json',
        'user-agent': 'spillway-discovery',
        authorization: bearer === '' ? '' : `Bearer ${bearer}`,
      },
      ca: ca === undefined ? own?.ca : readPem(ca),
      signal: this.#stopped.signal,
    };
  }

  #base(): string {
    const { url } = this.#question;
    if (url !== undefined) return url.replace(/\/+$/, '');
    const { host, port } = this.#parts.cluster;
    if (host === '') throw new SourceFault('unreachable', 'this is no pod of a cluster: `url` is needed');
    return `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
  }
}

/** Token, authority and namespace of the pod's service account. @throws Error when there is none */
async function accountOf(
  folder: string,
): Promise<{ readonly token: string; readonly ca: Buffer; readonly namespace: string }> {
  const [token, ca, namespace] = await Promise.all(
    ['token', 'ca.crt', 'namespace'].map(async (name) => await readFile(path.join(folder, name))),
  );
  return {
    token: String(token).trim(),
    ca: ca ?? Buffer.alloc(0),
    namespace: String(namespace).trim(),
  };
}

/** @throws SourceFault */
function pageOf(value: unknown): Page {
  const { items, metadata } = value as { items?: unknown; metadata?: Record<string, unknown> | null };
  const version = metadata?.['resourceVersion'];
  const next = metadata?.['continue'] ?? '';
  if (!Array.isArray(items) || typeof version !== 'string' || typeof next !== 'string')
    throw new SourceFault('malformed', 'the answer is no list of EndpointSlices');
  return { items, version, next };
}
