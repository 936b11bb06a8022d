import type { ListenerConfiguration } from '../../config/schema.ts';
import { httpsLocation, isAcmePath, securePort } from '../forwarding/https-redirect.ts';
import type { Exchange } from './exchange.ts';
import { closeInOrder } from './lingering.ts';
import { bodyMayBeLarge } from './refusal.ts';

/**
 * What a listener answers by itself, before routes, limits and shedding: its health path, and the redirect to https.
 *
 * The health path says what `/readyz` says, and 503 from the moment this worker drains; a balancer asks it often, so it must
 * answer when everything else is refused. It comes before the redirect, since a balancer takes a 308 for a failure. A
 * path below `/.well-known/acme-challenge` that has a route of its own is served as it stands: who proves a name so has asked
 * for it.
 */
export class ListenerAnswers {
  readonly #healthPath: string | null;
  /** The port that callers are sent to; 0: that of a listener; undefined: nobody is sent anywhere. */
  readonly #securePort: number | undefined;

  constructor({ healthPath, redirectToHttps }: ListenerConfiguration) {
    this.#healthPath = healthPath;
    this.#securePort = redirectToHttps === false ? undefined : redirectToHttps === true ? 0 : redirectToHttps;
  }

  /** Undefined for a listener that answers nothing by itself, as most do. */
  static of(listener: ListenerConfiguration): ListenerAnswers | undefined {
    return listener.healthPath !== null || listener.redirectToHttps !== false
      ? new ListenerAnswers(listener)
      : undefined;
  }

  /** @returns true when the request was answered; its path is in normal form, its URL still as it came */
  answered(exchange: Exchange): boolean {
    if (exchange.path === this.#healthPath) {
      answerHealth(exchange);
      return true;
    }
    const port = this.#securePort;
    if (port === undefined || (isAcmePath(exchange.path) && hasAcmeRoute(exchange))) return false;
    redirect(exchange, port === 0 ? securePort(exchange.snapshot.configuration.listeners) : port);
    return true;
  }
}

function answerHealth(exchange: Exchange): void {
  const { req, worker } = exchange;
  if (req.method !== 'GET' && req.method !== 'HEAD') {
    exchange.allow = 'GET, HEAD';
    exchange.refuse('SPW_METHOD_NOT_ALLOWED', 'method');
    return;
  }
  const ready = worker.gatewayReady && (worker.replaced || !worker.draining);
  const fields = ['content-type', 'application/json; charset=utf-8', 'cache-control', 'no-store'];
  write(exchange, ready ? 200 : 503, fields, `{"ready":${ready}}`);
}

function redirect(exchange: Exchange, port: number): void {
  const { facts, req } = exchange;
  if (facts.hostName === '') {
    exchange.refuse('SPW_BAD_REQUEST', 'no host to redirect to');
    return;
  }
  write(exchange, 308, ['location', httpsLocation(facts.hostName, port, req.url ?? '/')], '');
}

function hasAcmeRoute({ snapshot }: Exchange): boolean {
  return snapshot.configuration.routes.some(({ path }) => isAcmePath(path));
}

/** One write; what comes of an unread body is read and dropped, or ends the connection with the answer. */
function write(exchange: Exchange, status: number, fields: string[], body: string): void {
  const { req, res, worker } = exchange;
  exchange.status = status;
  fields.push('content-length', String(body.length), 'x-request-id', exchange.requestId);
  const isUpgrade = exchange.upgradeSocket !== undefined;
  const closes = exchange.closes || worker.draining || isUpgrade || bodyMayBeLarge(exchange);
  if (closes) {
    exchange.connection.closing = true;
    fields.push('connection', 'close');
  }
  res.writeHead(status, fields);
  if (closes && !isUpgrade) closeInOrder(exchange);
  else if (exchange.facts.hasBody && !req.complete) worker.rates.swallow(req, worker.now());
  res.end(body);
}
