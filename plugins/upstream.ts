import { chooseInstance } from '../src/io/choose-instance.ts';
import type { Step } from '../src/io/steps.ts';

/** Step 6, instance: the session's own if it may still be served there, else the balancer's choice among the ready. */
export const upstream: Step = (exchange, next) => {
  const code = chooseInstance(exchange);
  if (code === '') next(exchange);
  else if (code === 'SPW_SHED_CONCURRENCY') exchange.shed(code, 'every instance works at its cap');
  else exchange.refuse(code, 'no instance may take the request');
};
