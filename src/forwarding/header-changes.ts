import { isReservedField } from '../kernel/reserved-fields.ts';

/**
 * What a route changes in a header section, compiled once a configuration.
 *
 * `set` replaces every field of that name, `remove` takes it out. Names that frame a message or belong to one connection
 * are not for routes to change; the configuration refuses them with a position, this module with an error. A 101 is changed
 * like any answer, but for what the two ends of the handshake agreed on: a caller whose `Sec-WebSocket-Accept` is gone
 * closes, and one that reads another subprotocol than the instance speaks is lied to (RFC 6455 §4.1).
 */

export interface HeaderChanges {
  readonly set: Readonly<Record<string, string>>;
  readonly remove: readonly string[];
}

export class CompiledChanges {
  readonly none: boolean;
  readonly #dropped: ReadonlySet<string>;
  readonly #added: readonly string[];

  /** @throws RangeError for a name that no route may change. */
  constructor(changes: HeaderChanges) {
    const set = Object.entries(changes.set);
    this.#dropped = new Set(
      [...set.map(([name]) => name), ...changes.remove].map((name) => name.toLowerCase()),
    );
    this.#added = set.flat();
    this.none = this.#dropped.size === 0;
    for (const name of this.#dropped) {
      if (isReservedField(name)) throw new RangeError(`a route cannot change the field ${name}`);
    }
  }

  /** The list with the changes made; the same list when there are none. */
  apply(list: string[]): string[] {
    if (this.none) return list;
    const changed: string[] = [];
    for (let index = 0; index + 1 < list.length; index += 2) {
      const name = list[index] ?? '';
      if (!this.#dropped.has(name.toLowerCase())) changed.push(name, list[index + 1] ?? '');
    }
    for (const text of this.#added) changed.push(text);
    return changed;
  }

  /** As `apply`, for the head of a `101 Switching Protocols`. */
  applyToSwitching(list: string[]): string[] {
    if (this.none) return list;
    const agreed: string[] = [];
    const rest: string[] = [];
    for (let index = 0; index + 1 < list.length; index += 2) {
      const name = list[index] ?? '';
      (isHandshakeField(name) ? agreed : rest).push(name, list[index + 1] ?? '');
    }
    const changed = this.apply(rest);
    for (let index = 0; index + 1 < changed.length; index += 2) {
      const name = changed[index] ?? '';
      if (!isHandshakeField(name)) agreed.push(name, changed[index + 1] ?? '');
    }
    return agreed;
  }
}

/** `Upgrade` and `Connection` no route may change anyway. */
function isHandshakeField(name: string): boolean {
  return name.toLowerCase().startsWith('sec-websocket-');
}
