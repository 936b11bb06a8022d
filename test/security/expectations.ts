import { fieldOf, type StrictRequest } from './strict-parser.ts';

/**
 * What the corpus' `wanted` remarks mean, as figures a judge can compare: the statuses, whether the connection must end, and
 * what the origin may have seen. A test compares the statuses and the `C` with the corpus, so that neither drifts.
 */

export interface Expectation {
  readonly statuses: readonly number[];
  /** True: must close. False: may. */
  readonly closes: boolean;
  /**
   * none: not a byte · served: exactly one request · broken: a body found bad on the way, so no complete request ·
   * either: one request if and only if the answer is 200.
   */
  readonly upstream: 'none' | 'served' | 'broken' | 'either';
  /** What has to be true of the served request; a fault in words or ''. */
  readonly request?: (request: StrictRequest) => string;
  readonly allow?: true;
  /** The bytes are no whole message: nothing can be pipelined behind them. */
  readonly endless?: true;
  /** The connection may end without an answer: whoever sent the FIN may be gone. */
  readonly mayBeSilent?: true;
}

export function refused(statuses: number | readonly number[], more: Partial<Expectation> = {}): Expectation {
  const list = typeof statuses === 'number' ? [statuses] : statuses;
  return { statuses: list, closes: true, upstream: 'none', ...more };
}

export function served(request: (request: StrictRequest) => string = () => ''): Expectation {
  return { statuses: [200], closes: false, upstream: 'served', request };
}

export function broken(statuses: number | readonly number[]): Expectation {
  return refused(statuses, { upstream: 'broken', endless: true });
}

export function target(wanted: string) {
  return (request: StrictRequest): string =>
    request.target === wanted ? '' : `target ${request.target} instead of ${wanted}`;
}

function body(wanted: string) {
  return (request: StrictRequest): string =>
    request.body === wanted ? '' : `body ${JSON.stringify(request.body)}`;
}

export function without(...names: readonly string[]) {
  return (request: StrictRequest): string =>
    names
      .filter((name) => fieldOf(request, name) !== undefined)
      .map((name) => `${name} was passed on`)
      .join(', ');
}

function field(name: string, wanted: string) {
  return (request: StrictRequest): string => {
    const value = fieldOf(request, name);
    return value === wanted ? '' : `${name} is ${value} instead of ${wanted}`;
  };
}

function all(...checks: readonly ((request: StrictRequest) => string)[]) {
  return (request: StrictRequest): string =>
    checks
      .map((check) => check(request))
      .filter((fault) => fault !== '')
      .join(', ');
}

/** The connection has to end behind the answer, although the request was served. */
export function andCloses(expectation: Expectation): Expectation {
  return { ...expectation, closes: true };
}

/** The client of the gateway may speak about its own connection, and of nothing else. */
function ownConnection(request: StrictRequest): string {
  const value = fieldOf(request, 'connection') ?? 'close';
  return value === 'close' || value === 'keep-alive' ? '' : `connection: ${value}`;
}

const MAY_STAY_OPEN = { closes: false };
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n';

export const EXPECTATIONS: Readonly<Record<string, Expectation>> = {
  RL02: refused(400),
  RL05: refused(505),
  RL06: refused(505),
  RL07: { statuses: [200, 400], closes: false, upstream: 'either', request: target('/') },
  RL09: refused(400),
  RL10: refused(400),
  RL11: served(target('/ok')),
  RL12: refused(400),
  RL14: served(all(target('/x'), field('host', 'a.example'))),
  RL15: refused(400, MAY_STAY_OPEN),
  RL17: refused(204, { closes: false, allow: true }),
  RL19: refused([405, 501], { allow: true }),
  RL20: refused(405, { closes: false, allow: true }),
  RL21: refused(400),
  RL24: refused(400, MAY_STAY_OPEN),
  RL25: served(target('/a/%252e%252e/admin')),
  RL26: refused(400, MAY_STAY_OPEN),
  RL28: refused(400, MAY_STAY_OPEN),
  RL29: served(target('/evil.example/x')),
  RL30: served(target('/a/b')),
  RL31: refused(400, MAY_STAY_OPEN),
  RL33: refused([414, 431]),
  RL34: served(target('/x?a=%0d%0aX:1')),
  RL35: served(target('/ok')),
  RL37: refused(400, MAY_STAY_OPEN),
  HO01: refused(400),
  HO02: refused(400),
  HO03: refused(400, MAY_STAY_OPEN),
  HO05: refused(400, MAY_STAY_OPEN),
  HO06: refused(400, MAY_STAY_OPEN),
  HO07: refused(400, MAY_STAY_OPEN),
  HO08: refused(400, MAY_STAY_OPEN),
  HS01: refused(400),
  HS03: refused(400),
  HS05: refused(400),
  HS06: refused(400),
  HS07: refused(400),
  HS08: refused(400),
  HS09: refused(400),
  HS10: served(field('x', '\u00ff\u00fe')),
  HS13: refused(431),
  HS15: served(all(without('x_forwarded_for'), field('x-forwarded-for', '127.0.0.1'))),
  HS16: refused(400, MAY_STAY_OPEN),
  FR01: refused(400),
  FR03: refused(400),
  FR04: refused(400),
  FR05: refused(400),
  FR07: refused(400),
  FR10: refused(400),
  FR12: refused(400),
  FR13: served(all(field('content-length', '10'), body('0123456789'))),
  FR14: refused([400, 501]),
  FR15: refused([400, 501]),
  FR16: refused(501),
  FR17: refused(400),
  FR18: refused(400),
  FR19: refused(400),
  FR20: refused(400),
  FR21: refused(400),
  FR22: served(body('Z')),
  FR25: broken(400),
  FR30: broken(400),
  FR31: served(body('Z')),
  FR32: broken(400),
  FR33: broken(400),
  FR34: broken([413, 400]),
  FR35: served(all(body('Z'), without('trailer', 'x-t'))),
  FR37: refused(400),
  FR38: refused(400),
  FR39: served(body(SMUGGLED)),
  FR41: refused(417, MAY_STAY_OPEN),
  FR45: { ...broken(400), closes: false, mayBeSilent: true },
  FR46: served(all(field('content-length', '0'), body(''))),
  FR47: served(all(field('content-length', '5'), body('hello'))),
  FR48: refused(400),
  HB02: andCloses(served(all(ownConnection, without('upgrade', 'http2-settings')))),
  HB04: served(field('x-forwarded-for', '127.0.0.1')),
  HB05: refused(400, MAY_STAY_OPEN),
  HB08: served(field('te', 'trailers')),
  HB09: served(without('proxy-connection')),
  HB11: served(without('trailer')),
  HB12: served(without('proxy')),
  HB13: served(
    all(
      field('x-forwarded-for', '127.0.0.1'),
      field('x-real-ip', '127.0.0.1'),
      field('forwarded', 'for=127.0.0.1;host=a.example;proto=http'),
      field('x-forwarded-proto', 'http'),
    ),
  ),
  HB14: refused(204, { closes: false, allow: true }),
  HB15: refused(508, MAY_STAY_OPEN),
  HB16: served(all(ownConnection, without('x-a', 'keep-alive'))),
};
