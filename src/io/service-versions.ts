import type { ServiceConfiguration } from '../../config/schema.ts';
import { AssetPaths } from '../affinity/asset-paths.ts';
import { canaryOf, type CanaryShare } from '../affinity/canary.ts';
import type { CookieKey } from '../affinity/cookie-signature.ts';
import type { Pin } from '../affinity/session-cookie.ts';
import { SessionIds } from '../affinity/session-ids.ts';
import { VersionBook, type VersionTally } from '../affinity/version-tally.ts';
import { VersionCookie, type VersionPin } from '../affinity/version-cookie.ts';
import { fieldWish, queryWish, WISH_FIELD } from '../affinity/version-wish.ts';
import type { ResponseHead } from '../forwarding/response-headers.ts';
import type { Balancer } from '../upstreams/balancer.ts';
import { COMMON_VERSIONS, type VersionRow } from '../upstreams/candidates.ts';
import type { Exchange } from './exchange.ts';
import type { ServiceSessions } from './service-sessions.ts';

/**
 * A worker's side of a service's versions: which of them a request goes to.
 *
 * Asked in this order: what the request itself asks for (`?dpl=`, `x-deployment-id`), its session's version, that of its
 * signed cookie, the canaries' weights; without any of these, all versions that are no canary. A browser's navigation asks
 * for nothing: it follows its session and the weights, or nobody would ever come to a new version. Whoever asks for himself
 * is answered by that version and keeps the session that he has. What is signed (session, cookie) reaches any version that
 * is there, what is not only those that are public or were: new callers get them, or did while this worker lived. Asked for
 * one that is not there (any more), the newest that is no canary answers, and says so (`x-deployment-mismatch: 1`). When no
 * instance but canaries' is open, one of these that is public takes all: more than none, and nothing that nobody may see.
 *
 * Nothing of this is looked at for a service without `versions`. Limits: a worker that starts anew knows no more which
 * canary was public before its weight was 0.
 */

type Versions = NonNullable<ServiceConfiguration['versions']>;

/** What a request's version was chosen by. */
export type WishKind = 'none' | 'query' | 'header' | 'pin' | 'cookie' | 'canary';

/** What became of a request's version; one object a request, at services with versions only. */
export class VersionChoice {
  kind: WishKind = 'none';
  /** Index of the version, or a range (`candidates.ts`). */
  wanted = COMMON_VERSIONS;
  /** Nobody is left to be asked after that. */
  isLast = false;
  /** Asked for a version that is not there: another one answers. */
  mismatch = false;
  /** Answered elsewhere than at its session's instance, this once. */
  elsewhere = false;
  /** What canaries are drawn by, where the request brought no id: its session's, or its cookie's. */
  id = '';
  /** Of its signed cookie. */
  cookie: VersionPin | undefined = undefined;
  /** Further versions that were asked for an asset. */
  rescues = 0;
  /** Names of versions that do not have it, or were asked. */
  readonly without: string[] = [];

  /** It asked for a version in so many words. */
  get isWish(): boolean {
    return this.kind === 'query' || this.kind === 'header';
  }
}

/** Half: a page of fifty parts just loaded meets the bound at two callers a second; double: twice as many requests for what is nowhere. */
const RESCUES_PER_SECOND = 100;
/** A third version that has what two lack is a deploy within a deploy; each costs the caller another round trip. */
const MOST_RESCUES = 2;

export class ServiceVersions {
  readonly #service: string;
  readonly #balancer: Balancer;
  readonly #sessions: ServiceSessions;
  readonly #ids = new SessionIds();
  #follows = true;
  #assets = new AssetPaths([]);
  /** Of canaries that new callers get. */
  #shares: readonly CanaryShare[] = [];
  /** Names of versions that only those get who are sent there. */
  #apart: ReadonlySet<string> = new Set();
  #aborted: ReadonlySet<string> = new Set();
  #cookie: VersionCookie | undefined = undefined;
  /** Names of versions that new callers get, or did. */
  readonly #public = new Set<string>();
  #rows = new Map<string, VersionRow>();
  #newestFirst: readonly VersionRow[] = [];
  /** The one that answers where the version asked for is not there. */
  #current: VersionRow | undefined = undefined;
  /** The canary that answers where nobody else is open. */
  #lastResort: VersionRow | undefined = undefined;
  /** What is counted of each version; undefined where nobody judges a canary. */
  #books: Map<string, VersionBook> | undefined = undefined;
  /** Versions that the configuration has sent away, and canaries that were found to be worse. */
  #configured: Versions | undefined = undefined;
  #found: readonly string[] = [];
  #rescuesLeft = RESCUES_PER_SECOND;
  #refilledAt = 0;

  constructor(service: string, balancer: Balancer, sessions: ServiceSessions) {
    this.#service = service;
    this.#balancer = balancer;
    this.#sessions = sessions;
  }

  /** @param keys sign the cookie, where there is one */
  configure(versions: Versions, keys: readonly CookieKey[]): void {
    this.#follows = versions.affinity;
    this.#assets = new AssetPaths(versions.assets);
    this.#cookie =
      versions.cookie === null ? undefined : new VersionCookie(versions.cookie, keys, this.#service);
    this.#configured = versions;
    this.#apart = new Set([...Object.keys(versions.canary), ...versions.aborted]);
    this.#balancer.setApart(this.#apart);
    this.#books =
      versions.abort === 'automatic' ? (this.#books ?? new Map<string, VersionBook>()) : undefined;
    this.update(this.#found);
  }

  /**
   * The balancer has another picture of the instances.
   * @param found canaries that were found to be worse than the others
   */
  update(found: readonly string[]): void {
    this.#found = found;
    this.#aborted = new Set([...(this.#configured?.aborted ?? []), ...found]);
    this.#shares = Object.entries(this.#configured?.canary ?? {}).flatMap(([version, weight]) =>
      weight > 0 && !this.#aborted.has(version) ? [{ version, weight }] : [],
    );
    const { versions } = this.#balancer;
    this.#rows = new Map(versions.map((row) => [row.name, row]));
    this.#newestFirst = versions.filter(({ live }) => live).toSorted((a, b) => b.seq - a.seq);
    for (const { name } of versions) {
      // From now on sessions find it by its tag.
      this.#sessions.versionTag(name);
      if (this.#isPublic(name)) this.#public.add(name);
    }
    const open = this.#newestFirst.filter((row) => row.open > 0);
    const common = (rows: readonly VersionRow[]): VersionRow | undefined =>
      rows.find(({ name }) => !this.#apart.has(name));
    const sentAway = this.#configured?.aborted ?? [];
    this.#lastResort = open.find(
      ({ name }) => this.#apart.has(name) && this.#public.has(name) && !sentAway.includes(name),
    );
    this.#current = common(open) ?? common(this.#newestFirst) ?? this.#lastResort;
  }

  /** Whether sessions of a slot's version stay there. */
  keepsPinned(slot: number): boolean {
    return this.#aborted.size === 0 || !this.#aborted.has(this.#balancer.versionOf(slot));
  }

  /** The range of a caller without a session who is told apart by a key. */
  rangeOf(key: number): number {
    return this.#byWeight(String(key));
  }

  /** Where the version's cookie has to be taken out of what goes to an instance; '' where there is none. */
  get cookieName(): string {
    return this.#cookie?.name ?? '';
  }

  isAsset(path: string): boolean {
    return this.#assets.has(path);
  }

  /** What a session's cookie calls the version that it is at, '' for nothing. */
  tagOf(version: string): string {
    return this.#follows ? this.#sessions.versionTag(version) : '';
  }

  /**
   * Chooses the version of a request, before its first attempt.
   * @param home the slot that its session belongs to and that serves it, or -1
   * @returns that slot, or -1 when the request goes elsewhere
   */
  choose(exchange: Exchange, home: number): number {
    const choice = new VersionChoice();
    exchange.versionChoice = choice;
    const { facts, pin } = exchange;
    choice.cookie = this.#cookie?.read(facts.cookie);
    if (this.#follows && !facts.navigation) {
      let wish = queryWish(exchange.query);
      choice.kind = wish === '' ? 'header' : 'query';
      if (wish === '') wish = fieldWish(facts.lookup(WISH_FIELD));
      if (wish !== '') return this.#follow(exchange, choice, wish, home);
      choice.kind = 'none';
      if (pin !== undefined && pin.version !== '') return this.#followPin(exchange, choice, pin, home);
    }
    if (home >= 0) return this.#stay(choice, home);
    this.#weigh(exchange, choice);
    return -1;
  }

  /** Only instances of one version have what it wants. */
  isBound({ versionChoice: choice }: Exchange): boolean {
    return choice !== undefined && choice.wanted >= 0 && choice.kind !== 'none' && choice.kind !== 'canary';
  }

  /** No instance of the version may take it: the common ones are asked, then a canary's. @returns false when they were */
  widen({ versionChoice: choice, facts }: Exchange): boolean {
    if (choice === undefined || choice.isLast) return false;
    const isSpecific = choice.wanted !== COMMON_VERSIONS;
    if (isSpecific && choice.kind !== 'canary' && !facts.navigation) choice.mismatch = true;
    choice.isLast = !isSpecific || this.#balancer.candidatesOf(COMMON_VERSIONS) === 0;
    choice.wanted = choice.isLast ? (this.#lastResort?.index ?? COMMON_VERSIONS) : COMMON_VERSIONS;
    return true;
  }

  /** What the answer tells of its version, beside cookies. */
  tell({ versionChoice: choice }: Exchange, head: ResponseHead): void {
    if (choice === undefined) return;
    if (choice.mismatch) head.list.push('x-deployment-mismatch', '1');
    if (choice.kind === 'header') head.list.push('vary', WISH_FIELD);
  }

  /** The cookie that an answer should carry, '' for none: whoever goes by weights, or navigates, stays with what it got. */
  cookieFor({ versionChoice: choice, version, pin, facts, path, secure }: Exchange): string {
    if (this.#cookie === undefined || choice === undefined || version === '') return '';
    if (choice.isWish || choice.elsewhere || choice.cookie?.version === version || this.isAsset(path))
      return '';
    if (!facts.navigation && (choice.kind === 'pin' || choice.kind === 'cookie')) return '';
    const drawn = choice.id === '' ? this.#ids.next() : choice.id;
    return this.#cookie.issue({ id: pin?.sid ?? choice.cookie?.id ?? drawn, version }, secure);
  }

  /**
   * The next version to be asked for an asset that the last one does not have.
   * @returns its index, or -1 when the answer stands
   */
  nextForAsset({ versionChoice: choice, version, path }: Exchange, now: number): number {
    if (choice === undefined || choice.rescues >= MOST_RESCUES || this.#newestFirst.length < 2) return -1;
    if (!this.isAsset(path)) return -1;
    choice.without.push(version);
    const next = this.#newestFirst.find(
      ({ name }) => this.#public.has(name) && !choice.without.includes(name),
    );
    if (next === undefined || !this.#mayRescue(now)) return -1;
    choice.without.push(next.name);
    return next.index;
  }

  /** An instance answered an attempt; `ms` to its head. */
  answered(slot: number, status: number, ms: number): void {
    if (this.#books !== undefined) this.#bookOf(this.#balancer.versionOf(slot))?.answer(status >= 500, ms);
  }

  /** An attempt came to nothing by the fault of its instance. */
  failed(slot: number): void {
    if (this.#books !== undefined) this.#bookOf(this.#balancer.versionOf(slot))?.lost();
  }

  /** What was counted, by version, since this worker began; undefined where nobody judges. */
  get tallies(): readonly VersionTally[] | undefined {
    return this.#books === undefined ? undefined : [...this.#books.values()].map(({ tally }) => tally);
  }

  #bookOf(version: string): VersionBook | undefined {
    let book = this.#books?.get(version);
    if (book === undefined && this.#books !== undefined) {
      book = new VersionBook(version);
      this.#books.set(version, book);
    }
    return book;
  }

  #mayRescue(now: number): boolean {
    const refill = ((now - this.#refilledAt) * RESCUES_PER_SECOND) / 1000;
    this.#refilledAt = now;
    this.#rescuesLeft = Math.min(RESCUES_PER_SECOND, this.#rescuesLeft + refill);
    if (this.#rescuesLeft < 1) return false;
    this.#rescuesLeft--;
    return true;
  }

  /** A stranger's wish: reaches what new callers get, or got. */
  #follow({ pin }: Exchange, choice: VersionChoice, wish: string, home: number): number {
    const wished = this.#public.has(wish) ? this.#served(wish) : undefined;
    choice.mismatch = wished === undefined;
    const row = wished ?? this.#current;
    choice.wanted = row?.index ?? COMMON_VERSIONS;
    if (home >= 0 && this.#balancer.versionOf(home) === row?.name) return home;
    choice.elsewhere = pin !== undefined;
    return -1;
  }

  /** The version of the page that the session last saw, as long as it is there. */
  #followPin(exchange: Exchange, choice: VersionChoice, pin: Pin, home: number): number {
    const name = this.#sessions.versionOfTag(pin.version);
    if (home >= 0 && this.#balancer.versionOf(home) === name) return this.#stay(choice, home);
    const row = name === undefined ? undefined : this.#served(name);
    if (row !== undefined) {
      choice.kind = 'pin';
      choice.wanted = row.index;
      choice.elsewhere = home >= 0;
      return -1;
    }
    choice.mismatch = true;
    if (home >= 0) return this.#stay(choice, home);
    this.#weigh(exchange, choice);
    return -1;
  }

  /** At its session's instance; if that is full, at another one of its version. */
  #stay(choice: VersionChoice, home: number): number {
    choice.wanted = this.#rows.get(this.#balancer.versionOf(home))?.index ?? COMMON_VERSIONS;
    return home;
  }

  #weigh({ pin, facts, bucket }: Exchange, choice: VersionChoice): void {
    const { cookie } = choice;
    if (this.#follows && cookie !== undefined) {
      const row = this.#served(cookie.version);
      // A page is not begun where no new session may begin.
      if (row !== undefined && (row.open > 0 || !facts.navigation)) {
        choice.kind = 'cookie';
        choice.wanted = row.index;
        return;
      }
      if (!facts.navigation) choice.mismatch = true;
    }
    let id = pin?.sid ?? cookie?.id ?? bucket;
    if (pin === undefined && cookie === undefined && this.#shares.length > 0) {
      const keeps = this.#cookie !== undefined || this.#sessions.cookies !== undefined;
      if (keeps) id = choice.id = this.#ids.next();
    }
    choice.wanted = this.#byWeight(id);
    if (choice.wanted >= 0) choice.kind = 'canary';
  }

  #byWeight(id: string): number {
    const name = canaryOf(id, this.#service, this.#shares);
    const row = name === '' ? undefined : this.#rows.get(name);
    if (row !== undefined && row.open > 0) return row.index;
    if (name !== '') this.#bookOf(name)?.miss();
    if (this.#balancer.candidatesOf(COMMON_VERSIONS) > 0) return COMMON_VERSIONS;
    return this.#lastResort?.index ?? COMMON_VERSIONS;
  }

  /** The version, if it is there and its sessions were not sent away. */
  #served(name: string): VersionRow | undefined {
    const row = this.#rows.get(name);
    return row?.live === true && !this.#aborted.has(name) ? row : undefined;
  }

  #isPublic(name: string): boolean {
    return !this.#apart.has(name) || this.#shares.some(({ version }) => version === name);
  }
}
