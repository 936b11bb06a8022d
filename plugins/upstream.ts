import type { ErrorCode } from '../src/kernel/errors.ts';
import { chooseInstance } from '../src/io/choose-instance.ts';
import type { Exchange } from '../src/io/exchange.ts';
import type { Step } from '../src/io/steps.ts';

/** Step 6, instance: the session's own if it may still be served there, else the balancer's choice among the ready. */
export const upstream: Step = (exchange, next) => {
  const code = chooseInstance(exchange);
  if (code === '') next(exchange);
  else if (exchange.affinityResult === 'refused') refuseSession(exchange, code);
  else if (code === 'SPW_SHED_CONCURRENCY') exchange.shed(code, 'every instance works at its cap');
  else exchange.refuse(code, exchange.route?.service.whyClosed ?? '');
};

/** `affinity.mode: hard`: nobody else may take it. */
function refuseSession(exchange: Exchange, code: ErrorCode): void {
  if (code === 'SPW_SHED_CONCURRENCY') exchange.shed(code, "the session's instance works at its cap");
  else exchange.refuse(code, "the session's instance may not take the request");
}
