/**
 * The port of discovery: whoever knows where instances are tells whole sets, and says when it cannot.
 *
 * A set is complete, never a difference, so a message that was lost is mended by the next one. Every good answer is told,
 * also one that says nothing new: silence is not an answer. What a set means for the instances that are known is not the
 * source's matter (`known-good.ts`).
 */

/** One instance, as a source tells it. */
export interface Found {
  /** The source's own name of this life of the instance; empty where it knows addresses only. */
  readonly uid: string;
  /** Scheme, host and port, as `URL.origin` writes them. */
  readonly url: string;
  /** Empty where the source does not know it. */
  readonly version: string;
  /** Above 0. */
  readonly weight: number;
  /** It is about to end: no new sessions. */
  readonly leaving: boolean;
  /** What the source's own checks say; never more than a hint. */
  readonly readyHint: 'ready' | 'notReady' | 'unknown';
}

export interface DiscoveryFault {
  /**
   * `unreachable`, no answer · `refused`, an answer that says no · `malformed`, one that cannot be read · `silent`, a
   * conversation that fell asleep · `empty` and `shrunk`, an answer that is not believed.
   */
  readonly kind: 'unreachable' | 'refused' | 'malformed' | 'silent' | 'empty' | 'shrunk';
  /** In words, for people. */
  readonly reason: string;
}

/** Whom a source tells. */
export interface DiscoveryListener {
  readonly onSet: (set: readonly Found[]) => void;
  readonly onFault: (fault: DiscoveryFault) => void;
}

/** A source asks from its beginning on. */
export interface DiscoverySource {
  /** Nothing is told afterwards. */
  stop(): void;
}

/** Beyond this a source is taken to be mistaken. Half: a large fleet is refused; double: memory and probes for mischief. */
export const MOST_INSTANCES = 10_000;

/**
 * The address of an instance as the configuration would write it.
 * @returns undefined when there is none: a host or port that cannot be one
 */
export function instanceOrigin(scheme: string, host: string, port: number): string | undefined {
  if (!Number.isInteger(port) || port < 1 || port > 65_535 || host === '') return undefined;
  const address = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
  const url = URL.parse(address);
  if (url === null || url.pathname !== '/' || url.search !== '' || url.hash !== '') return undefined;
  return url.username === '' && url.password === '' && url.hostname !== '' ? url.origin : undefined;
}
