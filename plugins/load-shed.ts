import type { Step } from '../src/io/steps.ts';

/**
 * Step 5, admission: a permit of the service, a place in its queue, or a refusal at once. What can be known without
 * waiting is asked first: a service that is blocked, or whose breaker is open, reserves nothing.
 *
 * While a dependency of the service is down, the one that is configured to stand in for it takes its place here, with its
 * own breaker, limit and instances. From then on it is the request's service, in metrics and in the log too.
 */
export const loadShed: Step = (exchange, next) => {
  const { route } = exchange;
  if (route === undefined) return;
  const takesOver = route.service.blocked === 'SPW_DEPENDENCY_DOWN' ? route.fallback : undefined;
  if (takesOver !== undefined) exchange.route = takesOver;
  const { service } = takesOver ?? route;
  if (exchange.upgradeSocket !== undefined && service.configuration.protocol === 'h2') {
    // Its handshake is HTTP/1.1: sent all the same, it would look like the instance's failure.
    exchange.refuse('SPW_NOT_IMPLEMENTED', 'WebSocket to a service of `protocol: h2`');
    return;
  }
  const now = exchange.worker.now();
  if (service.blocked !== '') {
    exchange.refuse(service.blocked, service.blockedBecause);
    return;
  }
  if (!service.open) {
    exchange.refuse('SPW_NO_READY_INSTANCE', service.whyClosed);
    return;
  }
  exchange.breakerPass = service.breaker.allow(now);
  if (exchange.breakerPass === 0) {
    exchange.refuse('SPW_CIRCUIT_OPEN', service.breakerWords(now));
    return;
  }
  exchange.next = next;
  exchange.phase = 'queued';
  exchange.enteredMs = now;
  service.admission.enter(exchange, now);
};
