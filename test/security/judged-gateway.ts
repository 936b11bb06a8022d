import { startGateway } from '../harness/gateway.ts';
import { startModuleGate } from './module-gate.ts';

/**
 * Who stands before the judge: the forwarding modules alone, in the smallest gateway that can be made of them, and the real
 * process. A fault of the first is one of the rules, a fault of the second alone is one of whoever owns the sockets.
 */

export interface JudgedGateway {
  readonly port: number;
  readonly close: () => Promise<void>;
}

export interface Judged {
  readonly name: string;
  readonly start: (originPort: number) => Promise<JudgedGateway>;
  /** In how many random ways each case is cut. */
  readonly slicings: number;
}

async function startProcess(originPort: number, rewrite: string): Promise<JudgedGateway> {
  const gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  origin:
    instances: ["http://127.0.0.1:${originPort}"]
    sla: 30s
    readiness: { interval: 600s, timeout: 10s }
# A machine that is busy elsewhere may look like overload; that is another test's subject.
shedding: { mode: observe }
routes: [{ path: /, service: origin${rewrite} }]
log: { access: "off" }
`);
  return {
    port: gateway.port,
    close: async () => {
      await gateway.stop();
      await gateway[Symbol.asyncDispose]();
    },
  };
}

export const JUDGED: readonly Judged[] = [
  { name: 'the modules alone', start: startModuleGate, slicings: 2 },
  { name: 'the real process', start: async (port) => await startProcess(port, ''), slicings: 20 },
  { name: 'a rewriting route', start: async (port) => await startProcess(port, ', rewrite: /'), slicings: 2 },
];
