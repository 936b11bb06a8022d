import type { InstanceView } from './fleet.ts';
import type { SlotTable } from './slot-table.ts';

/**
 * The slots that a request may be drawn from, by version: one dense array in which each version's stand together, so that
 * a draw among all, among one version's or among all but the canaries' is a draw from a range.
 *
 * Candidates of the service are its open instances; when none is open, the silent ones that may be tried (panic). Those of
 * a version are its open ones; when it has none, the ones that still serve their sessions: a page that was loaded before
 * the last of them began to leave asks for its parts until that one is gone. Versions that stand *apart* (canaries, aborted
 * ones) come last in the range of all, so the others are a range too.
 *
 * While fewer than half of those that should serve are open, the silent ones whose probes time out are told apart
 * (`silent`): a few requests try them (`panic-tries.ts`).
 *
 * A version's index is its own as long as the service lives, also while it has no instance. Limit: one name is kept for
 * each version ever seen.
 */

/** All candidates of the service. */
export const ANY_VERSION = -1;
/** Those of versions that do not stand apart. */
export const COMMON_VERSIONS = -2;

/** A version with an instance that is known. */
export interface VersionRow {
  readonly index: number;
  readonly name: string;
  /** Order of first appearance; the newest is the largest. */
  readonly seq: number;
  /** How many of its instances take new sessions. */
  readonly open: number;
  /** Whether a request for it finds an instance. */
  readonly live: boolean;
}

/** A silent instance that may be tried while few are open. */
export interface SilentSlot {
  readonly slot: number;
  /** Index of its version. */
  readonly version: number;
  /** Only for those who ask for that version. */
  readonly apart: boolean;
}

interface Group {
  readonly index: number;
  readonly name: string;
  readonly seq: number;
  open: number;
  readonly drawn: number[];
  readonly keeping: number[];
}

export class Candidates {
  readonly #indexes = new Map<string, number>();
  #slots = new Int32Array(0);
  #count = 0;
  #common = 0;
  /** Where a version's range begins, and how long it is. */
  readonly #from: number[] = [];
  readonly #length: number[] = [];
  #panicking = false;
  /** Names of versions that a request without a wish does not get. */
  apart: ReadonlySet<string> = NOBODY;
  rows: readonly VersionRow[] = [];
  /** Empty as a rule. */
  silent: readonly SilentSlot[] = [];

  /** How many a request for a version may be drawn from. */
  lengthOf(version: number): number {
    if (version >= 0) return this.#length[version] ?? 0;
    return version === COMMON_VERSIONS ? this.#common : this.#count;
  }

  /** Where they begin. */
  fromOf(version: number): number {
    return version >= 0 ? (this.#from[version] ?? 0) : 0;
  }

  slotAt(place: number): number {
    return this.#slots[place] ?? 0;
  }

  /** Nothing is open; the candidates are silent ones. */
  get panicking(): boolean {
    return this.#panicking;
  }

  /** Takes a complete picture. */
  list(views: readonly InstanceView[], table: SlotTable): void {
    const someOpen = views.some(({ opensNew }) => opensNew);
    const groups = new Map<string, Group>();
    for (const view of views) {
      const group = groups.get(view.version) ?? this.#newGroup(view);
      groups.set(view.version, group);
      if (view.opensNew) group.open++;
      if (someOpen ? view.opensNew : view.panic) group.drawn.push(table.slotOf(view.id));
      else if (view.keepsPinned) group.keeping.push(table.slotOf(view.id));
    }
    if (this.#slots.length < views.length) this.#slots = new Int32Array(2 * views.length);
    this.#from.fill(0);
    this.#length.fill(0);
    const isApart = ({ name }: Group): boolean => this.apart.has(name);
    let end = 0;
    for (const group of groups.values()) if (!isApart(group)) end = this.#append(group, group.drawn, end);
    this.#common = end;
    for (const group of groups.values()) if (isApart(group)) end = this.#append(group, group.drawn, end);
    this.#count = end;
    this.#panicking = !someOpen && end > 0;
    this.silent = someOpen && areFewOpen(views) ? this.#silentOf(views, table) : [];
    for (const group of groups.values())
      if (group.open === 0 && group.keeping.length > 0) end = this.#append(group, group.keeping, end);
    this.rows = [...groups.values()].map(({ index, name, seq, open }) => ({
      index,
      name,
      seq,
      open,
      live: this.lengthOf(index) > 0,
    }));
  }

  #silentOf(views: readonly InstanceView[], table: SlotTable): readonly SilentSlot[] {
    const silent: SilentSlot[] = [];
    for (const { id, version, timedOut } of views) {
      if (!timedOut) continue;
      const index = this.#indexes.get(version) ?? ANY_VERSION;
      silent.push({ slot: table.slotOf(id), version: index, apart: this.apart.has(version) });
    }
    return silent;
  }

  #newGroup({ version: name, versionSeq: seq }: InstanceView): Group {
    const index = this.#indexes.get(name) ?? this.#indexes.size;
    this.#indexes.set(name, index);
    this.#from[index] ??= 0;
    this.#length[index] ??= 0;
    return { index, name, seq, open: 0, drawn: [], keeping: [] };
  }

  /** @returns the end of what is written */
  #append({ index }: Group, slots: readonly number[], at: number): number {
    this.#slots.set(slots, at);
    this.#from[index] = at;
    this.#length[index] = slots.length;
    return at + slots.length;
  }
}

const NOBODY: ReadonlySet<string> = new Set();

/** Fewer than half of those that are listed and that no operator has taken away. */
function areFewOpen(views: readonly InstanceView[]): boolean {
  let open = 0;
  let expected = 0;
  for (const { opensNew, state, drainForMs } of views) {
    if (opensNew) open++;
    if (state !== 'disabled' && drainForMs < 0) expected++;
  }
  return 2 * open < expected;
}
