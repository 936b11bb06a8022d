import type { ServiceConfiguration } from '../../config/schema.ts';
import { callerKey, type CallerKeyPolicy } from '../affinity/caller-key.ts';
import { sessionLeavesAt, shareOf } from '../affinity/drain-time.ts';
import { markOf, rendezvous } from '../affinity/rendezvous.ts';
import { SessionCount } from '../affinity/session-count.ts';
import { SessionCookies, type Pin } from '../affinity/session-cookie.ts';
import type { Balancer } from '../upstreams/balancer.ts';
import type { RequestFacts } from '../forwarding/request-facts.ts';
import type { InstanceView } from '../upstreams/fleet.ts';

/** A worker's side of a service's sessions: its cookies, which instance each tag names, and how many live where. */
export class ServiceSessions {
  readonly #service: string;
  readonly #fallbackSecret: string;
  readonly #balancer: Balancer;
  readonly #slotByTag = new Map<string, number>();
  readonly #tagBySlot: string[] = [];
  /** By name of the instance, `tagOf` first: a keyed hash for each key, which is dear to make with each picture. */
  #tags = new Map<string, readonly string[]>();
  readonly #counts = new Map<string, SessionCount>();
  #configuration: ServiceConfiguration;
  cookies: SessionCookies | undefined = undefined;
  cookieName = '';
  /** A session is refused where it would have to move. */
  hard = false;
  #callerKey: CallerKeyPolicy | null = null;
  readonly #markBySlot: number[] = [];

  /** @param fallbackSecret signs cookies where the configuration has no keys */
  constructor(
    service: string,
    configuration: ServiceConfiguration,
    fallbackSecret: string,
    balancer: Balancer,
  ) {
    this.#service = service;
    this.#fallbackSecret = fallbackSecret;
    this.#balancer = balancer;
    this.#configuration = configuration;
    this.configure(configuration);
  }

  configure(configuration: ServiceConfiguration): void {
    this.#configuration = configuration;
    const { affinity } = configuration;
    this.#tags.clear();
    this.hard = affinity?.mode === 'hard';
    this.#callerKey = affinity?.fallback ?? null;
    if (affinity === null) {
      this.cookies = undefined;
      return;
    }
    this.cookieName = affinity.cookie;
    this.cookies = new SessionCookies({
      cookieName: affinity.cookie,
      keys: affinity.keys.length > 0 ? affinity.keys : [{ id: 'auto', secret: this.#fallbackSecret }],
      idleMs: affinity.idle,
      absoluteMs: affinity.absolute,
      service: this.#service,
    });
  }

  /** The balancer has another picture of the instances; a complete one. */
  update(instances: readonly InstanceView[]): void {
    const { cookies } = this;
    const tags = new Map<string, readonly string[]>();
    const counts = new Set(this.#counts.keys());
    this.#slotByTag.clear();
    this.#tagBySlot.length = 0;
    for (const { id, uid, keepsPinned, panic } of instances) {
      // Whoever comes back there is counted again; whoever moved is not.
      if (cookies === undefined) continue;
      if (keepsPinned || panic) counts.delete(id);
      const name = uid === '' ? id : `${uid} ${id}`;
      const own = this.#tags.get(name) ?? cookies.tagsOf(name);
      tags.set(name, own);
      const slot = this.#balancer.slotOf(id);
      this.#tagBySlot[slot] = own[0] ?? '';
      this.#markBySlot[slot] = markOf(id);
      for (const tag of own) this.#slotByTag.set(tag, slot);
    }
    this.#tags = tags;
    for (const id of counts) this.#counts.delete(id);
  }

  /** The instance that a cookie's tag names, under any of the keys; -1 when it is not known (any more). */
  slotOfTag(tag: string): number {
    return this.#slotByTag.get(tag) ?? -1;
  }

  tagOfSlot(slot: number): string {
    return this.#tagBySlot[slot] ?? '';
  }

  /** Whether the session may stay: its instance serves pinned sessions, and a drain has not yet come to this one. */
  keepsPinned(slot: number, pin: Pin, now: number): boolean {
    if (!this.#balancer.keepsPinned(slot)) return false;
    const drainForMs = this.#balancer.drainForMs(slot, now);
    return (
      drainForMs < 0 || drainForMs < sessionLeavesAt(0, this.#configuration.drain.sessionTimeout, pin.sid)
    );
  }

  /** The instance leaves, and the session's streams have had their time there (leaving-streams.ts). */
  endsStreams(slot: number, pin: Pin, now: number): boolean {
    const drainForMs = this.#balancer.drainForMs(slot, now);
    return drainForMs >= 0 && drainForMs >= this.#configuration.drain.streamTimeout * shareOf(pin.sid);
  }

  /** The instance of a caller without a session, where it sends a key to be told apart by; -1 else. */
  slotOfCaller(facts: RequestFacts): number {
    if (this.#callerKey === null) return -1;
    const key = callerKey(this.#callerKey, facts);
    return key < 0 ? -1 : rendezvous(key, this.#balancer, this.#markBySlot);
  }

  /** Notes that a session lives at an instance. */
  count(slot: number, sid: string, now: number): void {
    const id = this.#balancer.idOf(slot);
    let count = this.#counts.get(id);
    if (count === undefined) {
      count = new SessionCount(this.#configuration.affinity?.idle ?? 0);
      this.#counts.set(id, count);
    }
    count.add(sid, now);
  }

  /** Who lives at an instance, for the supervisor to count over all workers; empty when nobody does. */
  bitsOf(id: string, now: number): string {
    return this.#counts.get(id)?.snapshot(now) ?? '';
  }
}
