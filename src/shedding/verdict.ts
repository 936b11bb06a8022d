import type { CongestedStep } from './elasticity.ts';

/** Why the limit is what it is: the last window's verdict. */
export type Verdict =
  | 'cold'
  | 'failures'
  | 'drops'
  | CongestedStep['kind']
  | 'brake'
  | 'probe'
  | 'grow'
  | 'enough';
