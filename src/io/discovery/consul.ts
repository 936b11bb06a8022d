import { setTimeout as pause } from 'node:timers/promises';
import { instancesOfEntries, nextIndex } from '../../discovery/consul-entries.ts';
import { retryMs } from '../../discovery/pauses.ts';
import type { DiscoveryListener, DiscoverySource, Found } from '../../discovery/source.ts';
import type { Random } from '../../kernel/random.ts';
import { errorMessage } from '../error-message.ts';
import { readPem } from '../pem.ts';
import { askJson, SourceFault } from './http-question.ts';

/**
 * Instances as Consul knows a service, by blocking queries: each question waits at the agent until something is newer than
 * the last answer's index, or for a quarter of a minute.
 *
 * Signal: entries with an index, or no answer. Decision: every answer is a whole set; the next question waits for a newer
 * one. An index that falls, or is none, begins anew without waiting; so does a fault. Cold start: the first question does
 * not wait. Limit: an agent that hangs is known as such when its wait is over and ten seconds more.
 */

/** Consul adds up to a sixteenth. Half: twice the questions; double: an agent that hangs is told of after more than 30 s. */
const WAIT_SECONDS = 15;
const WAIT_MS = (WAIT_SECONDS * 17_000) / 16;
/** Between two answers. Half: a service that flaps is told ten times a second; double: a deploy is noticed later. */
const CALM_MS = 200;
/** Where there is no index to wait with. */
const POLL_MS = 2000;

export interface ConsulQuestion {
  readonly url: string;
  readonly service: string;
  readonly tag: string | undefined;
  readonly token: string | undefined;
  /** PEM text or a file. */
  readonly ca: string | undefined;
  readonly scheme: string;
}

export class ConsulSource implements DiscoverySource {
  readonly #question: ConsulQuestion;
  readonly #random: Random;
  readonly #listener: DiscoveryListener;
  readonly #stopped = new AbortController();

  constructor(question: ConsulQuestion, random: Random, listener: DiscoveryListener) {
    this.#question = question;
    this.#random = random;
    this.#listener = listener;
    void this.#run(this.#stopped.signal);
  }

  stop(): void {
    this.#stopped.abort();
  }

  /** Never rejects, and ends only when stopped. */
  async #run(stopped: AbortSignal): Promise<void> {
    let index = 0;
    let failures = 0;
    while (!stopped.aborted) {
      let pauseMs: number;
      try {
        const answer = await this.#ask(index, stopped);
        const before = index;
        index = nextIndex(index, answer.index);
        failures = 0;
        pauseMs = index === 0 && before === 0 ? POLL_MS : CALM_MS;
        this.#listener.onSet(answer.set);
      } catch (error) {
        if (stopped.aborted) return;
        index = 0;
        pauseMs = retryMs(++failures, this.#random);
        this.#listener.onFault({
          kind: error instanceof SourceFault ? error.kind : 'malformed',
          reason: errorMessage(error),
        });
      }
      try {
        await pause(pauseMs, undefined, { ref: false, signal: stopped });
      } catch {
        return;
      }
    }
  }

  async #ask(
    index: number,
    signal: AbortSignal,
  ): Promise<{ readonly set: readonly Found[]; readonly index: string | undefined }> {
    const { url, service, tag, token, ca, scheme } = this.#question;
    const query = new URLSearchParams(index === 0 ? {} : { index: String(index), wait: `${WAIT_SECONDS}s` });
    if (tag !== undefined) query.set('tag', tag);
    const { headers, value } = await askJson({
      url: `${url.replace(/\/+$/, '')}/v1/health/service/${encodeURIComponent(service)}?${query.toString()}`,
      headers: {
        accept: 'application/json',
        'user-agent': 'spillway-discovery',
        'x-consul-token': token ?? '',
      },
      ca: ca === undefined ? undefined : readPem(ca),
      waitMs: index === 0 ? 0 : WAIT_MS,
      signal,
    });
    const header = headers['x-consul-index'];
    return {
      set: instancesOfEntries(value, scheme),
      index: typeof header === 'string' ? header : undefined,
    };
  }
}
