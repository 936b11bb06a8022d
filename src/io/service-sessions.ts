import type { ServiceConfiguration } from '../../config/schema.ts';
import { sessionLeavesAt } from '../affinity/drain-time.ts';
import { SessionCount } from '../affinity/session-count.ts';
import { SessionCookies, type Pin } from '../affinity/session-cookie.ts';
import type { Balancer } from '../upstreams/balancer.ts';

/** A worker's side of a service's sessions: its cookies, which instance each tag names, and how many live where. */
export class ServiceSessions {
  readonly #service: string;
  readonly #fallbackSecret: string;
  readonly #balancer: Balancer;
  readonly #slotByTag = new Map<string, number>();
  readonly #tagBySlot: string[] = [];
  readonly #counts = new Map<string, SessionCount>();
  #configuration: ServiceConfiguration;
  cookies: SessionCookies | undefined = undefined;
  cookieName = '';

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

  /** The balancer has another picture of the instances. @param alive those that are not gone */
  update(alive: ReadonlySet<string>, now: number): void {
    for (const id of this.#counts.keys()) if (!alive.has(id)) this.#counts.delete(id);
    this.#slotByTag.clear();
    this.#tagBySlot.length = 0;
    if (this.cookies === undefined) return;
    for (const { id, slot } of this.#balancer.view(now)) {
      this.#tagBySlot[slot] = this.cookies.tagOf(id);
      for (const tag of this.cookies.tagsOf(id)) this.#slotByTag.set(tag, slot);
    }
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
