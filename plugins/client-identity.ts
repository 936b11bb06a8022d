import { identifyCaller } from '../src/io/caller.ts';
import type { Step } from '../src/io/steps.ts';

/**
 * Step 3, client: who is calling, which tier, how important. The front gate may have asked already (under its own
 * overload it must know the priority); then the answer is reused.
 */
export const clientIdentity: Step = (exchange, next) => {
  const code = identifyCaller(exchange);
  if (code === '') next(exchange);
  else exchange.refuse(code);
};
