import type { ShedCode } from '../../src/kernel/errors.ts';
import type { PriorityRank } from '../../src/kernel/priority.ts';
import type { Entrant, GatePermit } from './gate.ts';

/** One who asks by hand and keeps the verdict. */
export class Caller implements Entrant {
  readonly rank: PriorityRank;
  readonly deadlineMs = 1e9;
  readonly client = 0;
  readonly kind = 0;
  permit: GatePermit | undefined = undefined;
  code: ShedCode | '' = '';

  constructor(rank: PriorityRank = 1) {
    this.rank = rank;
  }

  admitted(permit: GatePermit): void {
    this.permit = permit;
  }

  shed(code: ShedCode): void {
    this.code = code;
  }

  wouldShed(): void {
    throw new Error('nobody observes here');
  }
}
