import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { tighterLimitMs } from '../forwarding/deadline.ts';
import type { RequestFacts } from '../forwarding/request-facts.ts';
import { errorRow, type ErrorCode, type ShedCode } from '../kernel/errors.ts';
import type { PriorityRank } from '../kernel/priority.ts';
import type { Charge, LimitCaller, LimitDecision } from '../limits/decision.ts';
import type { ClientSlots, SlotLimit } from '../limits/slots.ts';
import type { Admittee } from '../shedding/admission.ts';
import type { Permit } from '../shedding/permit.ts';
import type { ListenerConfiguration } from '../../config/schema.ts';
import type { Identity, IdentityInput } from '../clients/identity.ts';
import type { Pin } from '../affinity/session-cookie.ts';
import { callerGivesUpMs, checkLife } from './answer-life.ts';
import { leaveInstance } from './choose-instance.ts';
import type { Connection } from './connection.ts';
import type { Block } from './guard/guards.ts';
import type { LiveAttempt } from './live-attempt.ts';
import { writeRefusal } from './refusal.ts';
import { resetConnection } from './lingering.ts';
import type { VersionChoice } from './service-versions.ts';
import type { CompiledRoute, Snapshot } from './snapshot.ts';
import type { WorkerContext } from './worker-context.ts';
import type { RequestBody } from './request-body.ts';
import type { ShedFigures } from './shed-note.ts';
import type { Next } from './steps.ts';
import { WheelEntry } from './wheel.ts';

/**
 * One request on its whole way: the object of fixed shape that every step reads and fills.
 *
 * It is the caller of the limiter, the admittee of a service, the entry in the timer wheel and the only owner of the
 * response: whoever wants to answer goes through `refuse` or the forwarding, so no two parts can write. Steps that must
 * wait leave `next` behind and are continued by the verdict. `finish` runs exactly once, when the response is closed for
 * whatever reason; everything that was taken on the way is given back there.
 */

export type Phase = 'arrived' | 'limiting' | 'queued' | 'forwarding' | 'answering' | 'tunnelling' | 'done';

/** Who cut an answer short, and why; empty while nobody did. */
export type AbortedBy = '' | 'client' | 'upstream' | 'gateway';

const EXCHANGE = Symbol('exchange');

interface Carrier {
  [EXCHANGE]?: Exchange;
}

/** The exchange that a request or a response belongs to. */
export function exchangeOf(carrier: IncomingMessage | ServerResponse): Exchange | undefined {
  return (carrier as Carrier)[EXCHANGE];
}

/** Where it came in, and who begins the next request of the connection. */
export interface ExchangeGate {
  readonly listener: ListenerConfiguration;
  over(exchange: Exchange): void;
}

export class Exchange extends WheelEntry implements Admittee, LimitCaller, IdentityInput {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly worker: WorkerContext;
  readonly snapshot: Snapshot;
  readonly connection: Connection;
  readonly #gate: ExchangeGate;
  readonly facts: RequestFacts;
  readonly startedMs: number;
  requestId: string;
  /** The number in an id of our own, 0 when a trusted peer gave it. */
  serial: number;
  /** The socket and the bytes behind the head of an upgrade; undefined for an ordinary request. */
  readonly upgradeSocket: Duplex | undefined;
  readonly upgradeHead: Buffer | undefined;

  path = '';
  query = '';
  /** Methods of a path whose routes take others than this one; empty: no such path. */
  allow = '';
  /** The connection ends after a refusal, whatever its code says. */
  closes = false;
  route: CompiledRoute | undefined = undefined;
  phase: Phase = 'arrived';
  /** Continues the ordered steps after one that had to wait. */
  next: Next | undefined = undefined;
  /** How many of the ordered steps have begun. */
  stepsDone = 0;

  /** The socket's peer. */
  peerAddress = '';
  peerTrusted = false;
  /** The peer, or whom a trusted proxy names. */
  address = '';
  identity: Identity | undefined = undefined;
  client = '';
  bucket = '';
  tier = '';
  exempt = false;
  rank: PriorityRank = 1;
  /** Class and cohort, 0..511 (shedding/cohort.ts); -1: nobody had to know. */
  level = -1;

  charges: readonly Charge[] = [];
  /** What the answer tells of them: the value of `RateLimit-Policy`. */
  limitPolicy = '';
  cost = 1;
  /** How many requests of the client may be in flight; undefined: any number. */
  slotLimit: SlotLimit | undefined = undefined;
  /** The slot among those of its client that it holds. */
  clientSlots: ClientSlots | undefined = undefined;
  /** The client's requests in this worker when it got its slot, itself included; 0: it got none. */
  clientInFlight = 0;
  decision: LimitDecision | undefined = undefined;
  block: Block | undefined = undefined;

  /** Moment by which the response head must have come. */
  deadlineMs = 0;
  /** The breaker's pass, to be given back with the outcome; 0: it was not asked. */
  breakerPass = 0;
  permit: Permit | undefined = undefined;
  /** Moment at which it asked for admission. */
  enteredMs = 0;
  queuedMs = 0;

  /** The instance's place in the balancer while a try is counted there, -1 else. */
  slot = -1;
  instance = '';
  version = '';
  /** Its instance has answered, or failed to. */
  heard = false;
  attempts = 0;
  readonly tried: number[] = [];
  attempt: LiveAttempt | undefined = undefined;
  pin: Pin | undefined = undefined;
  affinityResult = '';
  /** Undefined at services that know no versions. */
  versionChoice: VersionChoice | undefined = undefined;
  pickReason = '';
  /** Its try at a silent instance: `running` until its head is passed on, `failed` when it came to nothing. */
  panicTry: '' | 'running' | 'failed' = '';

  upstreamPath = '';
  body: RequestBody | undefined = undefined;
  firstAttemptMs = 0;
  headMs = 0;
  lastByteMs = 0;
  /** The longest silence allowed inside the answer, ms. */
  silenceMs = 0;
  /** The largest answer passed on. */
  mostBytesOut = Infinity;
  /** Moment at which the answer ends even if it moves. */
  endsAtMs = Infinity;
  /** The code with which a caller of HTTP/2 reset its stream, to be told to the instance; 0 while it did not. */
  callerReset = 0;
  bytesIn = 0;
  bytesOut = 0;
  /** Length of the answer's body, -1 when it was not told. */
  expectedBytes = -1;
  bodyBegun = false;
  /** The request's last byte was in when it was forwarded: then no time is added for it, and its queue time counts. */
  bodyWhole = false;
  /** The answer's last byte was handed to the response. */
  ended = false;
  /** The caller reads slowly; the instance is paused until it drained. */
  congested = false;
  status = 0;
  code: ErrorCode | '' = '';
  reason = '';
  /** What stood behind the decision to shed it, or that it would have been. */
  shedFigures: ShedFigures | undefined = undefined;
  abortedBy: AbortedBy = '';
  finished = false;
  /** Among those that the rate guard looks at (rate-guard.ts), -1 when it does not. */
  seat = -1;

  constructor(
    gate: ExchangeGate,
    worker: WorkerContext,
    snapshot: Snapshot,
    connection: Connection,
    req: IncomingMessage,
    res: ServerResponse,
    facts: RequestFacts,
    startedMs: number,
    upgradeSocket?: Duplex,
    upgradeHead?: Buffer,
  ) {
    super();
    this.worker = worker;
    this.snapshot = snapshot;
    this.req = req;
    this.res = res;
    this.facts = facts;
    this.#gate = gate;
    this.connection = connection;
    this.requestId = worker.nextRequestId();
    this.serial = worker.serial;
    this.startedMs = startedMs;
    this.upgradeSocket = upgradeSocket;
    this.upgradeHead = upgradeHead;
    (req as Carrier)[EXCHANGE] = this;
    (res as Carrier)[EXCHANGE] = this;
    res.on('close', onResponseClose);
  }

  // What others ask of it -----------------------------------------------------------------------------------------

  /** How long the head of the answer may take, ms; a deadline is believed of a trusted peer, and in gRPC. */
  get timeLimitMs(): number {
    const own = this.route?.timeoutMs ?? 0;
    const told = this.peerTrusted ? tighterLimitMs(own, this.facts.requestDeadline) : own;
    return this.facts.grpc ? Math.min(told, callerGivesUpMs(this) - this.startedMs) : told;
  }

  get listener(): ListenerConfiguration {
    return this.#gate.listener;
  }

  get secure(): boolean {
    return 'encrypted' in this.req.socket;
  }

  /** Goes on with the step after the one that waited; nothing happens once the request is over. */
  proceed(): void {
    const { next } = this;
    this.next = undefined;
    if (this.finished || next === undefined) return;
    next(this);
  }

  /** The caller has left, or it was refused, while it waited. */
  get isOver(): boolean {
    return this.finished || this.code !== '';
  }

  // Limits ------------------------------------------------------------------------------------------------------------

  decided(decision: LimitDecision): void {
    const { worker } = this;
    if (this.isOver) {
      // Given back here and nowhere else: the end, if it is still to come, finds no decision.
      worker.limiter.giveBack(this, decision, worker.now(), worker.now());
      return;
    }
    this.decision = decision;
    worker.recorder.limited(this, decision);
    if (decision.ok) {
      this.phase = 'arrived';
      this.proceed();
      return;
    }
    this.#giveSlotBack(worker.now());
    this.reason = decision.refusedBy === '' ? '' : `limit ${decision.refusedBy}`;
    this.refuse(decision.code === '' ? 'SPW_INTERNAL' : decision.code);
  }

  #giveSlotBack(now: number): void {
    const { clientSlots } = this;
    this.clientSlots = undefined;
    clientSlots?.release(now);
  }

  // Admission ---------------------------------------------------------------------------------------------------------

  admitted(permit: Permit, waitedMs: number): void {
    this.permit = permit;
    this.queuedMs = waitedMs;
    this.phase = 'arrived';
    this.worker.recorder.admitted(this);
    if (this.finished) {
      // The caller left between the wake-up and now; nothing may keep the permit.
      permit.release(this.worker.now());
      return;
    }
    this.proceed();
  }

  shed(code: ShedCode, reason: string): void {
    if (this.finished) return;
    this.queuedMs = this.worker.now() - this.enteredMs;
    this.phase = 'arrived';
    this.worker.recorder.shed(this, code, 'enforce');
    this.refuse(code, reason);
  }

  wouldShed(code: ShedCode): void {
    this.worker.recorder.shed(this, code, 'observe');
  }

  // The answer --------------------------------------------------------------------------------------------------------

  /** Answers by the gateway itself, once; after a response head was sent the connection is cut instead. */
  refuse(code: ErrorCode, reason = ''): void {
    if (this.isOver) return;
    if (reason !== '') this.reason = reason;
    this.code = code;
    this.abandonAttempt();
    if (this.res.headersSent) {
      this.cut('gateway');
      return;
    }
    this.status = errorRow(code).status;
    writeRefusal(this, code);
  }

  /** Ends an answer that can no longer be completed, so that the caller sees a cut and no clean end. */
  cut(by: AbortedBy): void {
    if (this.abortedBy === '') this.abortedBy = by;
    this.abandonAttempt();
    const socket = this.upgradeSocket ?? this.res.socket;
    // Only a reset tells that a body which ends with the connection is not whole, or overtakes what nobody reads.
    if (socket !== null && (this.endsWithConnection || this.congested)) resetConnection(socket);
    else socket?.destroy();
    // A tunnel's socket no longer belongs to the response, and a response without a socket never closes.
    if (socket === null || this.phase === 'tunnelling') this.finish();
  }

  /** HTTP/1.0 has no chunks: a body of unknown length lasts until the close. */
  get endsWithConnection(): boolean {
    return this.res.headersSent && this.expectedBytes < 0 && this.req.httpVersionMinor === 0;
  }

  abandonAttempt(): void {
    const { attempt } = this;
    this.attempt = undefined;
    attempt?.abandon();
  }

  /** Arms the wheel for whichever limit comes next. */
  arm(dueMs: number): void {
    this.worker.wheel.arm(this, dueMs);
  }

  override expired(now: number): void {
    if (this.finished) return;
    switch (this.phase) {
      case 'arrived':
      case 'limiting':
        this.refuse('SPW_DEADLINE_EXCEEDED');
        return;
      case 'forwarding':
        this.#overdue(now);
        return;
      case 'answering':
      case 'tunnelling':
        checkLife(this, now);
        return;
      case 'queued':
      case 'done':
        // A waiting request's time is the queue's business; a finished one has none.
        return;
      default:
        this.phase satisfies never;
    }
  }

  /** A throw here would come out of the wheel and end the worker. */
  #overdue(now: number): void {
    try {
      this.attempt?.overdue(now);
    } catch (error) {
      this.worker.recorder.fault(error);
      this.refuse('SPW_INTERNAL', 'a step failed');
    }
  }

  // The end -----------------------------------------------------------------------------------------------------------

  /** Runs once, whatever ended the request: gives back what was taken and classifies the outcome. */
  finish(): void {
    if (this.finished) return;
    this.finished = true;
    const { worker, route } = this;
    const now = worker.now();
    worker.wheel.disarm(this);
    if (this.seat >= 0) worker.rates.forget(this);
    const complete = this.res.writableFinished || (this.phase === 'tunnelling' && this.abortedBy === '');
    if (!complete && this.abortedBy === '') {
      this.abortedBy = worker.cutting ? 'gateway' : 'client';
      if (!worker.cutting) this.code ||= 'SPW_CLIENT_CLOSED';
      else if (this.status === 0) [this.code, this.status] = ['SPW_DRAINING', 503];
    }
    if (this.phase === 'queued') route?.service.admission.leave(this, now);
    this.abandonAttempt();
    worker.streams.delete(this);
    leaveInstance(this, now);
    this.permit?.release(now);
    this.#giveSlotBack(now);
    this.next = undefined;
    this.phase = 'done';
    worker.recorder.finished(this, now);
    this.#gate.over(this);
  }
}

function onResponseClose(this: ServerResponse): void {
  exchangeOf(this)?.finish();
}
