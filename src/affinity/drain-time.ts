/**
 * Which sessions still go to an instance that is leaving.
 *
 * A session is kept until start + sessionTimeout · (0.8 + 0.2 · hash(session)): nobody loses more than a fifth of the time
 * that was promised, and the sessions move one after the other over that fifth instead of all at once onto the others.
 * The hash is part of the random session id, so every gateway and worker moves a session at the same moment without
 * talking about it.
 *
 * Limits: an instance that stops answering is not kept here; readiness takes its sessions away at once (upstreams.md §2).
 */

/** Half: re-pins come in half the time, twice the load on the receivers; double: sessions lose up to two fifths. */
const SPREAD = 0.2;

/**
 * The moment at which a session leaves.
 * @param sid 16 hex digits, uniformly random
 */
export function sessionLeavesAt(startMs: number, sessionTimeoutMs: number, sid: string): number {
  return startMs + sessionTimeoutMs * (1 - SPREAD + SPREAD * shareOf(sid));
}

/** A session's fixed place among all, 0 ≤ share < 1: the first to leave has the smallest. Sessions are counted by it too. */
export function shareOf(sid: string): number {
  return Number.parseInt(sid.slice(8, 16), 16) / 2 ** 32;
}

/** The share of sessions that have left an instance which has been leaving for so long: those below it are elsewhere. */
export function shareThatLeft(ageMs: number, sessionTimeoutMs: number): number {
  if (ageMs < 0) return 0;
  if (ageMs >= sessionTimeoutMs) return 1;
  return Math.max(0, (ageMs / sessionTimeoutMs - (1 - SPREAD)) / SPREAD);
}
