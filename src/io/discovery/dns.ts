import { promises as dns } from 'node:dns';
import { instancesOfAddresses, instancesOfServices, type Service } from '../../discovery/dns-records.ts';
import { refreshMs, retryMs } from '../../discovery/pauses.ts';
import {
  MOST_INSTANCES,
  type DiscoveryFault,
  type DiscoveryListener,
  type DiscoverySource,
  type Found,
} from '../../discovery/source.ts';
import type { Random } from '../../kernel/random.ts';
import { errorMessage } from '../error-message.ts';

/**
 * Instances as the records of a name, asked of the name servers themselves.
 *
 * Signal: answers with their ttl, or none. Decision: asked again when the answer ends (`pauses.ts`), in the background: no
 * request ever waits for a name. A name that does not exist, or has no such record, is an empty set, of which the last good one
 * decides what it means; everything else that is no answer is a fault. Why not `dns.lookup`: it has no ttl, four threads
 * for the whole process, and mixes in the hosts file. So a name is asked for as it is written, without search domains.
 * Limit: one question that fails makes the whole answer a fault, so that half an answer never takes instances away.
 */

/** With one more try at twice that. Half: a resolver far away is given up; double: darkness is told after ten seconds. */
const ANSWER_MS = 1500;
const TRIES = 2;
/** Targets of SRV records asked for at once. Half: a thousand take twice as long; double: a resolver drops some. */
const AT_ONCE = 50;
/** No such name, or no such record of it. */
const NOBODY: ReadonlySet<string> = new Set(['ENOTFOUND', 'ENODATA']);

export interface DnsQuestion {
  readonly name: string;
  readonly type: 'A' | 'AAAA' | 'SRV';
  /** Of A and AAAA. */
  readonly port: number;
  readonly scheme: string;
  /** `address` or `address:port`; empty = the system's. */
  readonly servers: readonly string[];
}

interface Answer {
  readonly set: readonly Found[];
  readonly ttlSeconds: number | undefined;
}

export class DnsSource implements DiscoverySource {
  readonly #question: DnsQuestion;
  readonly #random: Random;
  readonly #listener: DiscoveryListener;
  #resolver: dns.Resolver | undefined = undefined;
  #timer: NodeJS.Timeout | undefined = undefined;
  #failures = 0;
  #stopped = false;

  constructor(question: DnsQuestion, random: Random, listener: DiscoveryListener) {
    this.#question = question;
    this.#random = random;
    this.#listener = listener;
    void this.#ask();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#resolver?.cancel();
  }

  /** Never rejects. */
  async #ask(): Promise<void> {
    let pauseMs: number;
    try {
      const { set, ttlSeconds } = await this.#answer();
      if (this.#stopped) return;
      this.#failures = 0;
      pauseMs = refreshMs(ttlSeconds, this.#random);
      this.#listener.onSet(set);
    } catch (error) {
      if (this.#stopped) return;
      // A new one reads the system's list of servers again, and speaks from another port.
      this.#resolver = undefined;
      pauseMs = retryMs(++this.#failures, this.#random);
      this.#listener.onFault({ kind: kindOf(error), reason: errorMessage(error) });
    }
    this.#timer = setTimeout(() => {
      void this.#ask();
    }, pauseMs).unref();
  }

  async #answer(): Promise<Answer> {
    const { name, type, port, scheme } = this.#question;
    if (type === 'SRV') {
      const services = await this.#services(name);
      return { set: instancesOfServices(services, scheme), ttlSeconds: undefined };
    }
    const records = await this.#records(name, type);
    const addresses = records.map(({ address }) => address);
    return {
      set: instancesOfAddresses(addresses, scheme, port),
      ttlSeconds: records.length === 0 ? undefined : Math.min(...records.map(({ ttl }) => ttl)),
    };
  }

  async #records(name: string, type: 'A' | 'AAAA'): Promise<{ address: string; ttl: number }[]> {
    const resolver = this.#open();
    return await orNobody(
      type === 'A' ? resolver.resolve4(name, { ttl: true }) : resolver.resolve6(name, { ttl: true }),
    );
  }

  async #services(name: string): Promise<Service[]> {
    const records = await orNobody(this.#open().resolveSrv(name));
    if (records.length > MOST_INSTANCES) throw new Error(`more than ${MOST_INSTANCES} records`);
    const targets = [...new Set(records.map((record) => record.name))];
    const known = new Map<string, readonly string[]>();
    for (let from = 0; from < targets.length; from += AT_ONCE) {
      const some = targets.slice(from, from + AT_ONCE);
      const found = await Promise.all(some.map(async (target) => await this.#addresses(target)));
      for (const [index, target] of some.entries()) known.set(target, found[index] ?? []);
    }
    return records.map(({ name: target, port, priority, weight }) => ({
      addresses: known.get(target) ?? [],
      port,
      priority,
      weight,
    }));
  }

  /** Of IPv4, or of IPv6 where there is none. */
  async #addresses(target: string): Promise<readonly string[]> {
    const four = await this.#records(target, 'A');
    const records = four.length > 0 ? four : await this.#records(target, 'AAAA');
    return records.map(({ address }) => address);
  }

  #open(): dns.Resolver {
    if (this.#resolver !== undefined) return this.#resolver;
    const resolver = new dns.Resolver({ timeout: ANSWER_MS, tries: TRIES });
    const { servers } = this.#question;
    if (servers.length > 0) resolver.setServers(servers);
    this.#resolver = resolver;
    return resolver;
  }
}

/** The records; none where the name server says that there are none. */
async function orNobody<Record>(answer: Promise<Record[]>): Promise<Record[]> {
  try {
    return await answer;
  } catch (error) {
    if (NOBODY.has(codeOf(error))) return [];
    throw error;
  }
}

function kindOf(error: unknown): DiscoveryFault['kind'] {
  switch (codeOf(error)) {
    case 'ESERVFAIL':
    case 'EREFUSED':
    case 'ENOTIMP':
      return 'refused';
    case 'EFORMERR':
    case 'EBADRESP':
    case 'EBADNAME':
      return 'malformed';
    default:
      return 'unreachable';
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? '';
}
