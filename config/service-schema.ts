/**
 * A service: where its instances are, how fast it must answer, and what happens when it does not
 * (upstreams.md, shedding.md).
 */
import { z } from 'zod';
import { discovery, instance } from './instance-schema.ts';
import {
  count,
  duration,
  flag,
  headerName,
  name,
  pem,
  ratio,
  secret,
  size,
  text,
  token,
  word,
} from './units-schema.ts';

/** A span, or `none` for no bound (null afterwards). */
const boundOrNone = z
  .union([z.literal('none').transform(() => null), duration()])
  .meta({ 'x-type': 'duration or `none`' });
const bytesOrNone = z
  .union([z.literal('none').transform(() => null), size()])
  .meta({ 'x-type': 'size or `none`' });

const timeout = z.strictObject({
  connect: duration().prefault('1s').describe('to open a connection to an instance'),
  request: duration()
    .prefault('10s')
    .describe("from the request's last byte in to the response head, queue and retries included"),
  idle: duration().prefault('30s').describe('the longest silence inside a body'),
  tunnelIdle: duration().prefault('5m').describe('the longest silence of an event stream or a tunnel'),
  stream: boundOrNone.prefault('none').describe('the longest life of an answer'),
});

const dependencyMode = word(['required', 'optional'])
  .prefault('required')
  .describe('`optional`: its loss is a warning only');
const dependency = z
  .union([
    z.strictObject({ service: name().describe('another service of this file'), mode: dependencyMode }),
    z.strictObject({
      check: text().describe("a check of the instances' readiness document"),
      mode: dependencyMode,
    }),
  ])
  .meta({ 'x-type': '`{ service, mode }` or `{ check, mode }`' });

const affinity = z.strictObject({
  cookie: token('a cookie name').prefault('spillway').describe("the cookie's name"),
  idle: duration().prefault('30m').describe('a session ends after this long without a request'),
  absolute: duration().prefault('8h').describe('a session ends after this long in any case'),
  keys: z
    .array(
      z.strictObject({
        id: name().describe('goes into the cookie, to find the key again'),
        secret: secret()
          .refine((value) => value.length >= 16, { error: 'too short to sign with: at least 16 characters' })
          .describe('signs the cookie; at least 16 characters'),
      }),
    )
    .prefault([])
    .describe('the first signs, all verify; without any, random ones are made at start'),
  mode: word(['soft', 'hard']).prefault('soft').describe('`hard`: 503 where a session would have to move'),
  fallback: z
    .union([
      z.strictObject({ header: headerName().describe('by the value of this header') }),
      z.strictObject({ jwt: text().describe('by this claim of the token') }),
    ])
    .nullable()
    .prefault(null)
    .meta({ 'x-type': '`{ header: name }` or `{ jwt: claim }`' })
    .describe('what callers without the cookie are spread by'),
});

const versions = z.strictObject({
  affinity: flag().prefault(true).describe("a session's pages and assets come from one version"),
  assets: z
    .array(text('path pattern').startsWith('/'))
    .prefault([])
    .describe('paths looked for at other versions before a 404'),
  canary: z.record(name(), ratio()).prefault({}).describe('versions and their share of new sessions'),
  cookie: token('a cookie name').nullable().prefault(null).describe('a signed cookie that names the version'),
  aborted: z
    .array(name())
    .prefault([])
    .describe('versions that get nobody, and whose sessions are moved away'),
  abort: word(['never', 'automatic'])
    .prefault('never')
    .describe('`automatic`: a canary that fails more or is slower is aborted'),
});

const shedMode = word(['enforce', 'observe', 'off']);
const shedQueue = z
  .union([z.literal('auto'), count(0, 1_000_000)])
  .meta({ 'x-type': '`auto` or a whole number' });
const shedLimit = z
  .union([z.literal('auto'), count(1, 1_000_000)])
  .meta({ 'x-type': '`auto` or a whole number' });

/** The top level: what a service gets that says nothing. */
export const shedding = z.strictObject({
  mode: shedMode.prefault('enforce').describe('`observe` counts and refuses nobody; `off` judges nothing'),
  queue: shedQueue
    .prefault('auto')
    .describe(
      'places to wait; `auto` = what can be served within a third of the SLA, at least the limit; 0 = none',
    ),
  limit: shedLimit
    .prefault('auto')
    .describe(
      'requests in flight, shared out over the workers, at least one each; `auto` = found from latency',
    ),
});

/** In a service: only what differs. Made whole by the root's transform. */
const sheddingOverrides = z.strictObject({
  mode: shedMode.optional().describe('overrides `shedding.mode`'),
  queue: shedQueue.optional().describe('overrides `shedding.queue`'),
  limit: shedLimit.optional().describe('overrides `shedding.limit`'),
});

export const service = z.strictObject({
  instances: z.array(instance).prefault([]).describe('where it runs: URLs, or `{ url, version, weight }`'),
  discovery: discovery.nullable().prefault(null).describe('instead of `instances`'),
  sla: duration().prefault('250ms').describe('an answer later than this is no use to its caller'),
  timeout: timeout.prefault({}).describe('how long each part of an exchange may take'),
  shedding: sheddingOverrides.prefault({}).describe('overrides of the top-level `shedding`'),
  dependsOn: z.array(dependency).prefault([]).describe('what it cannot do without, or only worse'),
  onDependencyDown: z
    .union([
      word(['failFast', 'serve']),
      z.strictObject({ fallback: name().describe('the service that answers instead, one hop') }),
    ])
    .prefault('failFast')
    .meta({ 'x-type': '`failFast` `serve` `{ fallback: service }`' })
    .describe('what its routes answer while a required dependency is down'),
  readiness: z
    .strictObject({
      path: text('path')
        .startsWith('/')
        .nullable()
        .prefault(null)
        .describe('asked with GET; without it a TCP connect decides'),
      interval: duration().prefault('1s').describe('time between probes'),
      timeout: duration().prefault('500ms').describe('the longest a probe may take'),
      rise: count(1, 100).prefault(2).describe('passes before it gets traffic again'),
      fall: count(1, 100)
        .prefault(2)
        .describe('silences before it loses traffic; an explicit no acts at once'),
      identity: text()
        .nullable()
        .prefault(null)
        .describe('the name an instance must give, so that a reused address is noticed'),
    })
    .prefault({})
    .describe('how instances are asked whether they are ready'),
  balancing: z
    .strictObject({
      slowStart: duration({ zero: true }).prefault('30s').describe('how long a new instance is thinned'),
      maxConcurrencyPerInstance: count(1, 100_000)
        .prefault(256)
        .describe('of this gateway, over all its workers; at least one each'),
    })
    .prefault({})
    .describe('how load is spread'),
  outlier: z
    .strictObject({
      consecutiveFailures: count(1, 10_000).prefault(5).describe('failures in a row that eject an instance'),
      ratio: ratio().prefault('50%').describe('failure ratio that ejects it'),
      minRequests: count(1).prefault(20).describe('requests in the window before the ratio counts'),
      window: duration().prefault('10s').describe('the window of the ratio'),
      baseEjection: duration().prefault('5s').describe('the first ejection; it doubles'),
      maxEjected: ratio().prefault('34%').describe('share that may be ejected; at least one, never the last'),
    })
    .prefault({})
    .describe('instances that fail while others do not'),
  breaker: z
    .strictObject({
      consecutive: count(1, 10_000)
        .prefault(5)
        .describe(
          'failures in a row that open it; several at one instance count once where there are others',
        ),
      ratio: ratio().prefault('50%').describe('failure ratio that opens it'),
      minRequests: count(1).prefault(20).describe('requests in the window before the ratio counts'),
      open: duration().prefault('2s').describe('the first pause; it doubles'),
      slow: ratio()
        .nullable()
        .prefault(null)
        .describe('share of answers later than twice the SLA that opens it'),
    })
    .prefault({})
    .describe('a pause for a service that fails as a whole'),
  retry: z
    .strictObject({
      max: count(0, 2).prefault(1).describe('further attempts, at another instance'),
      budget: ratio().prefault('20%').describe('retries compared with first attempts, over 10 s'),
      perTry: duration().nullable().prefault(null).describe('the longest an attempt may take'),
      idempotencyKey: flag()
        .prefault(false)
        .describe('requests with `Idempotency-Key` are repeated like GET'),
    })
    .prefault({})
    .describe('second attempts'),
  affinity: affinity.nullable().prefault(null).describe('a session stays with its instance'),
  versions: versions.nullable().prefault(null).describe('several releases at once'),
  drain: z
    .strictObject({
      sessionTimeout: duration({ zero: true })
        .prefault('60s')
        .describe('how long a leaving instance keeps its sessions'),
      streamTimeout: duration({ zero: true }).prefault('30s').describe('how long it keeps its streams'),
    })
    .prefault({})
    .describe('how instances leave'),
  tls: z
    .strictObject({
      ca: pem()
        .nullable()
        .prefault(null)
        .describe('the authority that signed the instances; left out, the public ones'),
      cert: pem().nullable().prefault(null).describe("the gateway's own certificate"),
      key: pem().nullable().prefault(null).describe('and its key'),
      serverName: text('host name')
        .nullable()
        .prefault(null)
        .describe('the name to verify, instead of the host'),
    })
    .nullable()
    .prefault(null)
    .describe('for https instances; certificates are always verified'),
  protocol: word(['auto', 'h1', 'h2'])
    .prefault('auto')
    .describe('spoken to the instances; `auto` = ALPN on https, else HTTP/1.1'),
  hostHeader: word(['received', 'instance'])
    .prefault('received')
    .describe("the `Host` they see: the caller's or their own"),
  limits: z
    .strictObject({ responseBytes: bytesOrNone.prefault('none').describe('the largest answer passed on') })
    .prefault({})
    .describe('what it may answer'),
});
