import { instanceOrigin, MOST_INSTANCES, type Found } from './source.ts';

/**
 * Kubernetes EndpointSlices of one service (`discovery.k8s.io/v1`) as instances.
 *
 * Signal: slices as they are listed and then told one by one. Decision, for each endpoint: *ready* unless it says otherwise, for
 * a condition that is left out counts as true; *terminating* is leaving, and only with `serving` worth its sessions; not
 * ready is absence and no verdict, since a node that lost its kubelet has every pod marked so. An endpoint may stand in two
 * slices while it is moved: the one that takes more away counts. Of a pod with addresses of both families IPv4 is used, or it
 * would count twice. Only the first address of an endpoint is: the others are the same place.
 */

/** Scheme and port of the instances: by number, by name, or undefined for the only one. */
export interface EndpointPolicy {
  readonly scheme: string;
  readonly port: number | string | undefined;
}

/** What became of one event of a watch. */
export type EventOutcome =
  | { readonly kind: 'changed' | 'bookmark' }
  /** The version that was asked from is too old: the list must be read again. */
  | { readonly kind: 'expired' }
  | { readonly kind: 'fault'; readonly reason: string };

type Fields = Readonly<Record<string, unknown>>;

interface Endpoint {
  readonly found: Found;
  readonly isIpv4: boolean;
}

export class EndpointSlices {
  readonly #policy: EndpointPolicy;
  readonly #slices = new Map<string, Fields>();
  #version = '';

  constructor(policy: EndpointPolicy) {
    this.#policy = policy;
  }

  /** From where a watch goes on. */
  get version(): string {
    return this.#version;
  }

  /** Takes a whole list. */
  replace(slices: readonly unknown[], version: string): void {
    this.#slices.clear();
    for (const slice of slices) {
      const name = nameOf(slice);
      if (isObject(slice) && name !== '') this.#slices.set(name, slice);
    }
    this.#version = version;
  }

  /** Takes one event of a watch. */
  apply(event: unknown): EventOutcome {
    if (!isObject(event) || !isObject(event['object'])) return fault('an event without an object');
    const { type, object } = event;
    if (type === 'ERROR') {
      const { code, message } = object;
      if (code === 410) return { kind: 'expired' };
      return fault(`the watch ends with ${String(code)}: ${String(message)}`);
    }
    const name = nameOf(object);
    const version = textOf(metadataOf(object)['resourceVersion']);
    if (version === '') return fault('an event without a version');
    this.#version = version;
    switch (type) {
      case 'ADDED':
      case 'MODIFIED':
        this.#slices.set(name, object);
        return { kind: 'changed' };
      case 'DELETED':
        this.#slices.delete(name);
        return { kind: 'changed' };
      case 'BOOKMARK':
        return { kind: 'bookmark' };
      default:
        return fault(`an event of an unknown type`);
    }
  }

  /** @throws Error when there are endpoints and no port for them */
  instances(): Found[] {
    const merged = new Map<string, Endpoint>();
    const withIpv4 = new Set<string>();
    for (const slice of this.#slices.values()) {
      for (const endpoint of this.#endpointsOf(slice)) {
        const { uid, url } = endpoint.found;
        if (endpoint.isIpv4 && uid !== '') withIpv4.add(uid);
        const known = merged.get(`${uid} ${url}`);
        merged.set(`${uid} ${url}`, known === undefined ? endpoint : lesser(known, endpoint));
        if (merged.size > MOST_INSTANCES) throw new Error(`more than ${MOST_INSTANCES} endpoints`);
      }
    }
    return [...merged.values()]
      .filter(({ found, isIpv4 }) => isIpv4 || !withIpv4.has(found.uid))
      .map(({ found }) => found);
  }

  #endpointsOf(slice: Fields): Endpoint[] {
    const { endpoints, addressType } = slice;
    if (!Array.isArray(endpoints) || endpoints.length === 0) return [];
    const port = this.#portOf(slice);
    return endpoints.flatMap((endpoint: unknown): Endpoint[] => {
      if (!isObject(endpoint) || !Array.isArray(endpoint['addresses'])) return [];
      const url = instanceOrigin(this.#policy.scheme, textOf(endpoint['addresses'][0]), port);
      if (url === undefined) return [];
      const { uid } = isObject(endpoint['targetRef']) ? endpoint['targetRef'] : {};
      const { ready, serving, terminating } = isObject(endpoint['conditions']) ? endpoint['conditions'] : {};
      const isReady = ready !== false;
      const leaving = terminating === true;
      const serves = leaving ? (serving ?? ready) !== false : isReady;
      const readyHint = serves ? 'ready' : 'notReady';
      const found: Found = { uid: textOf(uid), url, version: '', weight: 1, leaving, readyHint };
      return [{ found, isIpv4: addressType === 'IPv4' }];
    });
  }

  #portOf({ ports }: Fields): number {
    const wanted = this.#policy.port;
    const offered = (Array.isArray(ports) ? ports : []).filter(isTcp);
    // A service without ports, or a slice that stands for all of them.
    if (typeof wanted === 'number' && offered.every(({ port }) => typeof port !== 'number')) return wanted;
    const fitting = offered.filter(
      ({ name, port }) => wanted === undefined || (typeof wanted === 'number' ? port : name) === wanted,
    );
    const [first, second] = fitting;
    if (first !== undefined && second === undefined && typeof first['port'] === 'number')
      return first['port'];
    const words = offered.map(({ name, port }) => `${String(port)} (${textOf(name)})`).join(', ');
    throw new Error(
      wanted === undefined
        ? `the endpoints have not one port but ${words === '' ? 'none' : words}: name one`
        : `the endpoints have no port ${wanted}: they have ${words === '' ? 'none' : words}`,
    );
  }
}

/** Whoever takes more away. */
function lesser({ found: a, isIpv4 }: Endpoint, { found: b }: Endpoint): Endpoint {
  const readyHint = a.readyHint === 'notReady' ? 'notReady' : b.readyHint;
  return { found: { ...a, leaving: a.leaving || b.leaving, readyHint }, isIpv4 };
}

function isTcp(port: unknown): port is Fields {
  return isObject(port) && (port['protocol'] ?? 'TCP') === 'TCP';
}

function fault(reason: string): EventOutcome {
  return { kind: 'fault', reason };
}

function nameOf(object: unknown): string {
  return textOf(metadataOf(object)['name']);
}

function metadataOf(object: unknown): Fields {
  return isObject(object) && isObject(object['metadata']) ? object['metadata'] : {};
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
