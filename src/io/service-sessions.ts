import type { ServiceConfiguration } from '../../config/schema.ts';
import { callerKey, type CallerKeyPolicy } from '../affinity/caller-key.ts';
import type { CookieKey } from '../affinity/cookie-signature.ts';
import { sessionLeavesAt, shareOf } from '../affinity/drain-time.ts';
import { markOf, rendezvous, type Field } from '../affinity/rendezvous.ts';
import { SessionCount } from '../affinity/session-count.ts';
import { SessionCookies, type Pin } from '../affinity/session-cookie.ts';
import type { Balancer } from '../upstreams/balancer.ts';
import { ANY_VERSION } from '../upstreams/candidates.ts';
import type { RequestFacts } from '../forwarding/request-facts.ts';
import type { InstanceView } from '../upstreams/fleet.ts';

/** The instances that a caller with a key of its own may be drawn to. */
class DrawField implements Field {
  readonly #balancer: Balancer;
  /** Of a version, or a range of them. */
  version = ANY_VERSION;

  constructor(balancer: Balancer) {
    this.#balancer = balancer;
  }

  get candidates(): number {
    return this.#balancer.candidatesOf(this.version);
  }

  candidateAt(index: number): number {
    return this.#balancer.candidateAt(this.version, index);
  }

  factorOf(slot: number): number {
    return this.#balancer.factorOf(slot);
  }

  inFlight(slot: number): number {
    return this.#balancer.inFlight(slot);
  }
}

/** A worker's side of a service's sessions: its cookies, which instance each tag names, and how many live where. */
export class ServiceSessions {
  readonly #service: string;
  readonly #fallbackSecret: string;
  readonly #balancer: Balancer;
  readonly #slotByTag = new Map<string, number>();
  readonly #tagBySlot: string[] = [];
  /** By name of the instance, `tagOf` first: a keyed hash for each key, which is dear to make with each picture. */
  #tags = new Map<string, readonly string[]>();
  /** By version, and back; a keyed hash for each key too. */
  readonly #versionTags = new Map<string, string>();
  readonly #versionByTag = new Map<string, string>();
  readonly #counts = new Map<string, SessionCount>();
  #configuration: ServiceConfiguration;
  cookies: SessionCookies | undefined = undefined;
  cookieName = '';
  /** A session is refused where it would have to move. */
  hard = false;
  #callerKey: CallerKeyPolicy | null = null;
  readonly #markBySlot: number[] = [];
  readonly #field: DrawField;

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
    this.#field = new DrawField(balancer);
    this.#configuration = configuration;
    this.configure(configuration);
  }

  configure(configuration: ServiceConfiguration): void {
    this.#configuration = configuration;
    const { affinity } = configuration;
    this.#tags.clear();
    this.#versionTags.clear();
    this.#versionByTag.clear();
    this.hard = affinity?.mode === 'hard';
    this.#callerKey = affinity?.fallback ?? null;
    if (affinity === null) {
      this.cookies = undefined;
      return;
    }
    this.cookieName = affinity.cookie;
    this.cookies = new SessionCookies({
      cookieName: affinity.cookie,
      keys: this.keys,
      idleMs: affinity.idle,
      absoluteMs: affinity.absolute,
      service: this.#service,
    });
  }

  /** What cookies of the service are signed and verified with. */
  get keys(): readonly CookieKey[] {
    const { affinity } = this.#configuration;
    if (affinity !== null && affinity.keys.length > 0) return affinity.keys;
    return [{ id: 'auto', secret: this.#fallbackSecret }];
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

  /** What new cookies call a version, '' where there are none. */
  versionTag(version: string): string {
    const known = this.#versionTags.get(version);
    if (known !== undefined || this.cookies === undefined) return known ?? '';
    const tags = this.cookies.versionTagsOf(version);
    for (const tag of tags) this.#versionByTag.set(tag, version);
    const [own = ''] = tags;
    this.#versionTags.set(version, own);
    return own;
  }

  /** The version that a cookie's tag names, under any of the keys; undefined for one that `versionTag` was not asked for. */
  versionOfTag(tag: string): string | undefined {
    return this.#versionByTag.get(tag);
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

  /** The key of a caller without a session, where it sends one to be told apart by; -1 else. */
  keyOfCaller(facts: RequestFacts): number {
    return this.#callerKey === null ? -1 : callerKey(this.#callerKey, facts);
  }

  /** The instance of a caller with a key, among those of a version or a range of them; -1 when there is none. */
  slotOfKey(key: number, version: number): number {
    this.#field.version = version;
    return rendezvous(key, this.#field, this.#markBySlot);
  }

  /** Notes that a session is at home at an instance, wherever it was pinned. */
  meet(slot: number, sid: string, now: number): void {
    if (this.count(slot, sid, now)) this.#balancer.hasSession(slot, now);
  }

  /** Notes that a session lives at an instance. @returns whether this was not known */
  count(slot: number, sid: string, now: number): boolean {
    const id = this.#balancer.idOf(slot);
    let count = this.#counts.get(id);
    if (count === undefined) {
      count = new SessionCount(this.#configuration.affinity?.idle ?? 0);
      this.#counts.set(id, count);
    }
    return count.add(sid, now);
  }

  /** Who lives at an instance, for the supervisor to count over all workers; empty when nobody does. */
  bitsOf(id: string, now: number): string {
    return this.#counts.get(id)?.snapshot(now) ?? '';
  }
}
