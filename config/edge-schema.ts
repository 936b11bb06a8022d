/**
 * The gateway's own edges: the addresses it listens on, its admin address, its store, and whom it believes
 * (forwarding.md §4, limits.md §5).
 */
import { z } from 'zod';
import {
  address,
  count,
  duration,
  flag,
  name,
  network,
  path,
  pem,
  secret,
  size,
  text,
  word,
} from './units-schema.ts';

const port = count(0, 65_535);

const certificate = z.strictObject({
  cert: pem().describe('certificate chain'),
  key: pem().describe('private key'),
});

const listenerTls = z.strictObject({
  certificates: z
    .array(certificate)
    .min(1)
    .describe(
      'SNI picks among them; the first is for callers without a match. Files renewed on disk are taken within seconds',
    ),
  minVersion: word(['TLSv1.2', 'TLSv1.3']).prefault('TLSv1.2').describe('the oldest version spoken'),
  clientCa: pem()
    .nullable()
    .prefault(null)
    .describe('callers must show a certificate of this authority; others get no further than the handshake'),
});

export const listenerLimits = z.strictObject({
  headerBytes: size().prefault('16KiB').describe('size of a header section; more is 431'),
  headerCount: count(1, 10_000).prefault(100).describe('fields of a header section; more is 431'),
  headersTimeout: duration().prefault('10s').describe('the longest a header section may take to arrive'),
  requestTimeout: duration({ zero: true })
    .prefault('60s')
    .describe('the longest a whole request may take to arrive; `0s` = no bound'),
  idleTimeout: duration().prefault('65s').describe('how long a kept-alive connection may be silent'),
  bodyBytes: size().prefault('10MiB').describe('size of a request body; more is 413'),
  minBytesPerSecond: count(0)
    .prefault(240)
    .describe('slowest transfer accepted after 5 s, both ways; 0 = any'),
  connectionsPerAddress: count(0)
    .prefault(0)
    .describe('connections of one address (IPv6: of one /64) per worker; 0 = any number'),
});

export const listener = z.strictObject({
  port: port.describe('0 takes a free one'),
  host: address()
    .prefault('::')
    .describe('the address to bind, no name but `localhost`; `::` is every address, IPv4 too'),
  backlog: count(1, 65_535).prefault(511).describe('the accept queue; a short one refuses early'),
  maxConnections: count(1, 1_000_000)
    .prefault(10_000)
    .describe('per worker; past it a connection is closed at once'),
  tls: listenerTls.nullable().prefault(null).describe('without it the listener speaks plain HTTP'),
  redirectToHttps: z
    .union([z.boolean(), z.int().min(1).max(65_535)])
    .meta({ 'x-type': 'true, false or a port' })
    .prefault(false)
    .describe(
      "answers every request with 308 to https; a port is the one that callers use, where it is not the secure listener's own; below `/.well-known/acme-challenge` only where no route has that path",
    ),
  healthPath: text('path')
    .regex(/^\/(?!\/)[A-Za-z0-9._~/-]*$/, {
      error: 'is a plain path: `/` and letters, digits, `.`, `_`, `~`, `-`',
    })
    .refine((value) => !/\/\/|\/\.{1,2}(?:\/|$)/.test(value), { error: 'has no empty or dot segments' })
    .nullable()
    .prefault(null)
    .describe('a path that answers 200 or 503 as `/readyz` does, before limits and shedding'),
  http2: flag().prefault(true).describe('HTTP/2 by ALPN, where there is `tls`'),
  proxyProtocol: z
    .strictObject({
      from: z.array(network()).min(1).describe('networks whose PROXY header is required and believed'),
    })
    .nullable()
    .prefault(null)
    .describe('PROXY protocol v1 and v2 on this listener; connections without a header are closed'),
  limits: listenerLimits.prefault({}).describe('what a caller may send, and how slowly'),
});

export const admin = z.strictObject({
  host: address().prefault('127.0.0.1').describe('the address to bind, no name but `localhost`'),
  port: port.prefault(9090).describe('0 takes a free one'),
  token: secret()
    .prefault('')
    .describe('required from callers where set; must be set when `host` is not loopback'),
  openMetrics: flag().prefault(false).describe('`/metrics` needs no token'),
});

export const shutdown = z.strictObject({
  delay: duration({ zero: true })
    .prefault('5s')
    .describe('readiness fails this long before the listeners close'),
  timeout: duration().prefault('30s').describe('whatever is left this long after the signal is cut'),
});

const redisNode = z
  .string()
  .regex(/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):\d{1,5}$/, { error: 'not a node: write it as host:6379' })
  .meta({ 'x-type': 'host:port' });

export const redis = z.strictObject({
  url: secret()
    .refine((value) => /^rediss?:\/\/[^\s/]+/.test(value), {
      error: 'must begin with redis:// or rediss:// and name a host',
    })
    .nullable()
    .prefault(null)
    .describe('`redis://` or `rediss://` address of one server'),
  sentinels: z.array(redisNode).min(1).nullable().prefault(null).describe('sentinels that know the primary'),
  sentinelName: name().prefault('mymaster').describe("the primary's name at the sentinels"),
  cluster: z.array(redisNode).min(1).nullable().prefault(null).describe('some nodes of a cluster'),
  username: text('user name')
    .nullable()
    .prefault(null)
    .describe('at the servers, where it is not in `url`; left out, the default user'),
  password: secret().nullable().prefault(null).describe('at the servers, where it is not in `url`'),
  sentinelPassword: secret().nullable().prefault(null).describe('at the sentinels, if they ask for one'),
  tls: z
    .strictObject({
      ca: pem()
        .nullable()
        .prefault(null)
        .describe('the authority that signed the servers; left out, the public ones'),
      serverName: text('host name')
        .nullable()
        .prefault(null)
        .describe('the name to verify, instead of the host'),
    })
    .nullable()
    .prefault(null)
    .describe(
      'how servers and sentinels are verified, always; sentinels and clusters are spoken to in TLS with it',
    ),
  timeout: duration().prefault('25ms').describe('the longest that a decision waits for it'),
  onUnavailable: word(['local', 'allow', 'deny'])
    .prefault('local')
    .describe("`local` = this gateway's fair share of every limit, limit / live gateways"),
  keySecret: secret()
    .refine((value) => value === '' || value.length >= 16, {
      error: 'too short to key a hash with: at least 16 characters',
    })
    .nullable()
    .prefault(null)
    // `${NAME:-}` of a variable that is not set.
    .transform((value) => (value === '' ? null : value))
    .describe(
      'keys the hash of client names, the same in all gateways; at least 16 characters; left out or empty, a random one is shared through Redis',
    ),
  gateways: count(1, 10_000).prefault(1).describe('live gateways to assume until the store has told'),
});

export const trust = z.strictObject({
  proxies: z.array(network()).prefault([]).describe('networks whose word about the caller is believed'),
  header: word(['x-forwarded-for', 'forwarded'])
    .prefault('x-forwarded-for')
    .describe('the one header that is read from them'),
});

const SAMPLED = /^sampled (\d+(?:\.\d+)?)%$/;

export const log = z.strictObject({
  level: word(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
    .prefault('info')
    .describe('the least that is written'),
  access: z
    .string()
    .regex(/^(all|errors|off|sampled \d+(\.\d+)?%)$/, {
      error: 'must be all, errors, off or a share such as `sampled 1%`',
    })
    .transform((value, context): 'all' | 'errors' | 'off' | { sampledRatio: number } => {
      if (value === 'all' || value === 'errors' || value === 'off') return value;
      const percent = Number(SAMPLED.exec(value)?.[1]);
      if (percent <= 100) return { sampledRatio: percent / 100 };
      context.issues.push({ code: 'custom', input: value, message: 'a share is at most 100%' });
      return z.NEVER;
    })
    .meta({ 'x-type': '`all` `errors` `off` `sampled 1%`' })
    .prefault('all')
    .describe('which requests get a line'),
  serverTiming: flag().prefault(false).describe('`Server-Timing` on every answer'),
});

export const tracing = z.strictObject({
  otlp: z
    .url({ protocol: /^https?$/ })
    .nullable()
    .prefault(null)
    .meta({ 'x-type': 'URL' })
    .describe('an OTLP endpoint for spans; trace context is passed on anyway'),
});

/** Its text is read with the configuration (`error-page.ts`). */
export const errorPage = path()
  .transform((file) => ({ path: file, text: '' }))
  .nullable()
  .prefault(null)
  .describe(
    'an HTML file instead of the built-in page that a browser is shown, at most 64 KiB; in it `{{status}}` `{{title}}` `{{detail}}` `{{code}}` `{{requestId}}` are filled in',
  );
