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
  // The lower half of the id; counting sessions uses the upper one, so that a thinned-out set is still counted evenly.
  const share = Number.parseInt(sid.slice(8, 16), 16) / 2 ** 32;
  return startMs + sessionTimeoutMs * (1 - SPREAD + SPREAD * share);
}
