import { startModuleGate } from './module-gate.ts';

/**
 * Who stands before the judge. This is the one place to switch: return the real process's port
 * (`startGateway` of ../harness/gateway.ts) instead, and the whole corpus judges that.
 */

export interface JudgedGateway {
  readonly port: number;
  readonly close: () => Promise<void>;
}

export async function startTarget(originPort: number): Promise<JudgedGateway> {
  return startModuleGate(originPort);
}
