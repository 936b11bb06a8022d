import { listMembers } from './tokens.ts';

/**
 * Loops, seen by the names that gateways leave in `Via` (RFC 9110 §7.6.3).
 *
 * Our own name in it means that this gateway has had the request already. Any one name three times means a loop further
 * out that we are part of, even if our name changed with a restart. Two of the same are left alone: a chain of gateways
 * behind one another may well share a product's name.
 */

/** A chain longer than this is taken for a loop: no request passes sixty-four gateways on purpose. */
const MOST_HOPS = 64;
const LOOP_AT = 3;

/** @param via all `Via` values, joined by commas; empty when there is none. */
export function isLoop(via: string, ownName: string): boolean {
  if (via === '') return false;
  const hops = listMembers(via, MOST_HOPS + 1);
  if (hops.length > MOST_HOPS) return true;
  const own = ownName.toLowerCase();
  const counts = new Map<string, number>();
  for (const hop of hops) {
    const name = receivedBy(hop);
    if (name === '') continue;
    if (name === own) return true;
    const count = (counts.get(name) ?? 0) + 1;
    if (count >= LOOP_AT) return true;
    counts.set(name, count);
  }
  return false;
}

/** `1.1 name (comment)` → `name`. */
function receivedBy(hop: string): string {
  const start = hop.indexOf(' ') + 1;
  if (start === 0) return '';
  const end = hop.indexOf(' ', start);
  return end < 0 ? hop.slice(start) : hop.slice(start, end);
}
