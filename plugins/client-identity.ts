import { admitCaller, identifyCaller } from '../src/io/caller.ts';
import type { Step } from '../src/io/steps.ts';

/**
 * Step 3, client: who is calling, which tier, how important. The front gate may have asked already (under its own
 * overload it must know the priority); then the answer is reused. A token that has not been seen lately is verified first.
 */
export const clientIdentity: Step = (exchange, next) => {
  identifyCaller(exchange);
  admitCaller(exchange, next);
};
