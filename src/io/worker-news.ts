import type { Logger } from 'pino';
import type { StartUp } from '../lifecycle/start-up.ts';
import type { CanaryDesk } from './canary-desk.ts';
import { CapExchange } from './cap-exchange.ts';
import type { Conditions } from './conditions.ts';
import type { ControlPlane } from './control-plane.ts';
import type { FleetControl } from './fleet-control.ts';
import type { IdentitySources } from './identity-sources.ts';
import type { ToSupervisor, ToWorker } from './ipc.ts';
import type { MetricsPage } from './metrics-page.ts';
import type { Questions } from './questions.ts';
import type { Reloader } from './reloader.ts';
import type { Rollout } from './rollout.ts';
import { ShareExchange } from './share-exchange.ts';
import type { StatusLog } from './status-log.ts';
import type { SupervisorLimits } from './supervisor-limits.ts';
import { systemNow } from './system-clock.ts';
import type { WorkerProcess } from './worker-pool.ts';

/**
 * What workers tell the supervisor, and what becomes of it: each word goes to whoever keeps its subject. Only what somebody
 * may wait for (`conditions.ts`), that a worker is ready or never will be, wakes those who do.
 */

export interface WorkerNewsParts {
  readonly log: Logger;
  readonly startUp: StartUp;
  readonly fleets: FleetControl;
  readonly canaries: CanaryDesk;
  readonly limits: SupervisorLimits;
  readonly identities: IdentitySources;
  readonly questions: Questions;
  readonly metricsPage: MetricsPage;
  readonly control: ControlPlane;
  readonly statusLog: StatusLog;
  readonly rollout: Rollout;
  readonly reloader: Reloader;
  readonly conditions: Conditions;
  /** Passes a worker's word on to all the others. */
  readonly tellOthers: (from: WorkerProcess, message: ToWorker) => void;
}

export class WorkerNews {
  readonly #parts: WorkerNewsParts;
  readonly #shares = new ShareExchange<WorkerProcess>((worker, generation, shares) => {
    worker.send({ type: 'shares', generation, shares });
  });
  readonly #caps = new CapExchange<WorkerProcess>(
    (worker, workers, grants) => {
      worker.send({ type: 'caps', workers, grants });
    },
    ({ state }) => state === 'draining',
  );

  constructor(parts: WorkerNewsParts) {
    this.#parts = parts;
  }

  take(worker: WorkerProcess, message: ToSupervisor): void {
    const { log, rollout, fleets, limits, identities, questions, conditions } = this.#parts;
    switch (message.type) {
      case 'hello':
        return;
      case 'configured':
        rollout.taken(worker, message.generation);
        break;
      case 'refused': {
        const { generation, reason } = message;
        log.error({ worker: worker.pid, reason }, 'worker refused the configuration');
        if (rollout.refused(generation, reason)) this.#cannot(worker, reason);
        break;
      }
      case 'listening':
        rollout.listening(worker, message.key);
        break;
      case 'listen-failed':
        log.error({ worker: worker.pid, reason: message.reason }, 'worker cannot listen');
        if (rollout.listenFailed(worker, message.key, message.reason)) this.#cannot(worker, message.reason);
        break;
      case 'passive':
        fleets.passive(message.service, message.reports);
        return;
      case 'tripped':
        this.#parts.tellOthers(worker, { type: 'trip', service: message.service, trip: message.trip });
        return;
      case 'limits':
      case 'strike':
      case 'forgive':
        limits.serve(worker, message);
        return;
      case 'shares':
        // The last words of a worker may come after its exit.
        if (worker.state !== 'dead')
          this.#shares.take(worker, message.generation, message.shares, systemNow());
        return;
      case 'caps':
        if (worker.state !== 'dead')
          this.#caps.take(worker, message.generation, message.workers, message.claims, systemNow());
        return;
      case 'jwks-wanted':
        identities.tell(worker, message.url);
        return;
      case 'answer':
        questions.answered(worker, message.id, message.answer);
        return;
      case 'report': {
        const { metricsPage, control, statusLog, canaries } = this.#parts;
        canaries.reported(worker.key, message.views);
        metricsPage.absorb(worker.key, message.dump);
        control.reported(worker.key, message.views);
        statusLog.reported(worker.key, message.views);
        return;
      }
      default:
        message satisfies never;
    }
    conditions.wake();
  }

  gone(worker: WorkerProcess, reason: string, expected: boolean): void {
    const { log, startUp, metricsPage, control, statusLog, canaries, conditions } = this.#parts;
    canaries.workerGone(worker.key);
    metricsPage.retire(worker.key);
    control.workerGone(worker.key);
    statusLog.workerGone(worker.key);
    this.#shares.gone(worker);
    this.#caps.gone(worker);
    if (!expected) log.error({ worker: worker.pid, reason }, 'worker died; starting another');
    startUp.workerDied(reason);
    conditions.wake();
  }

  /** A start fails by it, a reload puts the old configuration back; otherwise the worker is told again later. */
  #cannot(worker: WorkerProcess, reason: string): void {
    const { startUp, reloader, rollout } = this.#parts;
    startUp.workerCannot(reason);
    if (startUp.phase === 'serving' && !reloader.isRunning) rollout.retryLater(worker);
  }
}
