/**
 * How the client library is set up for a limiter, and why each default had to go (all seen with ioredis 6.0.0).
 *
 * One server, or the primary that sentinels name, is one connection of the library. Of a cluster the limiter opens one such
 * connection for each primary and does the routing itself (`redis-cluster.ts`): the library's own class sends a call again
 * after a cut, and knows no deadline. Only operators' calls and guards, which are few, may use it.
 */
import { Cluster, Redis } from 'ioredis';
import type { RedisOptions } from 'ioredis';
import type { RedisConfiguration } from '../../../config/schema.ts';
import type { Random } from '../../kernel/random.ts';
import { between } from '../../kernel/random.ts';
import { readPem } from '../pem.ts';

/** TCP connect. 250 ms would lose a retransmitted SYN, 1 s only delays the next address. */
const CONNECT_TIMEOUT_MS = 500;
const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 1000;
/** Spreads the workers of all gateways over a Redis that has just come back. */
const RETRY_SPREAD_MS = 200;
/** A sentinel that stands still is passed over after this long: 250 ms passes over one that forks, 1 s delays a failover. */
const SENTINEL_TIMEOUT_MS = 500;
/** A cluster that is being moved sends a call at most this often elsewhere, and this long apart: three cover two moves. */
export const MOST_REDIRECTIONS = 3;
export const REDIRECTION_APART_MS = 20;

type Options = Omit<RedisOptions, 'replyMapping'>;

/** What is needed of the configuration to open a connection. */
export type RedisPlace = Pick<
  RedisConfiguration,
  'url' | 'sentinels' | 'sentinelName' | 'cluster' | 'username' | 'password' | 'sentinelPassword' | 'tls'
>;

export interface NodeAddress {
  readonly host: string;
  readonly port: number;
}

export function redisOptions(random: Random): Options {
  return {
    connectTimeout: CONNECT_TIMEOUT_MS,
    disconnectTimeout: CONNECT_TIMEOUT_MS,
    retryStrategy: (attempt) => pauseMs(attempt, random),
    // A queue while there is no connection held a call for 3 s.
    enableOfflineQueue: false,
    // Charged 3 for 2: a call whose answer was lost is never sent again.
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    // Queues of its own, and a crash with scripts defined late (ioredis#1931, #1850).
    enableAutoPipelining: false,
    // A demoted primary stays connected and says READONLY for ever. 1 leaves it; 2 would send the call again.
    reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 1 : false),
    // `commandTimeout` stays unset: it kills the handshake, and its calls still run.
    // A starting Redis is asked again this soon whether it has loaded its file; 10 s is the default.
    maxLoadingRetryTime: LONGEST_RETRY_MS,
    // Nothing of RESP3 is used here, and proxies and older compatible servers know only RESP2.
    protocol: 2,
    disableClientInfo: true,
    connectionName: 'spillway',
  };
}

/**
 * A connection to the one server, or to the primary that the sentinels name and, once they have named another, to that.
 * @throws Error when the authority's certificate cannot be read.
 */
export function openPrimary(place: RedisPlace, random: Random): Redis {
  const tls = tlsOf(place);
  const options: Options = { ...redisOptions(random), ...credentialsOf(place) };
  if (place.url !== null) {
    // Only a `rediss://` address has use for it; set beside `redis://` it would turn that into TLS.
    return new Redis(place.url, place.url.startsWith('rediss:') ? { ...options, tls: tls ?? {} } : options);
  }
  return new Redis({
    ...options,
    sentinels: (place.sentinels ?? []).map(nodeAddress),
    name: place.sentinelName,
    ...(place.sentinelPassword === null ? {} : { sentinelPassword: place.sentinelPassword }),
    sentinelCommandTimeout: SENTINEL_TIMEOUT_MS,
    sentinelRetryStrategy: (attempt) => pauseMs(attempt, random),
    // `failoverDetector` stays off: told of a failover while it connects, the client ends for good (seen). A primary that is
    // gone cuts its clients, sentinels cut those of one that they demote, and what is left learns it from READONLY.
    ...(tls === undefined ? {} : { tls, sentinelTLS: tls, enableTLSForSentinelMode: true }),
  });
}

/** A connection to one node of a cluster. */
export function openNode(place: RedisPlace, node: NodeAddress, random: Random): Redis {
  const tls = tlsOf(place);
  return new Redis({
    ...redisOptions(random),
    ...credentialsOf(place),
    ...node,
    ...(tls === undefined ? {} : { tls }),
  });
}

/**
 * For operators' calls and guards, which may take their time and are not sent twice: whichever way the store is reached.
 * The caller listens to `error` and ends it.
 */
export function openRedis(place: RedisPlace, random: Random): Redis | Cluster {
  if (place.cluster === null) return openPrimary(place, random);
  const tls = tlsOf(place);
  return new Cluster(place.cluster.map(nodeAddress), {
    redisOptions: { ...redisOptions(random), ...credentialsOf(place), ...(tls === undefined ? {} : { tls }) },
    clusterRetryStrategy: (attempt) => pauseMs(attempt, random),
    // At the top level: the one of `redisOptions` is not that of the cluster's own queue.
    enableOfflineQueue: false,
    maxRedirections: MOST_REDIRECTIONS,
    retryDelayOnMoved: REDIRECTION_APART_MS,
    retryDelayOnTryAgain: REDIRECTION_APART_MS,
    // Any other figure sends calls again whose answers were cut off.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
    // With TLS a node must be met under the name in its certificate, so names stay names.
    ...(tls === undefined ? {} : { dnsLookup: (name, done) => done(null, name) }),
  });
}

/** `host:6379`, `[::1]:6379`. */
export function nodeAddress(text: string): NodeAddress {
  const colon = text.lastIndexOf(':');
  const host = text.slice(0, colon);
  return { host: host.startsWith('[') ? host.slice(1, -1) : host, port: Number(text.slice(colon + 1)) };
}

function credentialsOf({ username, password }: RedisPlace): { username?: string; password?: string } {
  return {
    ...(username === null ? {} : { username }),
    ...(password === null ? {} : { password }),
  };
}

function tlsOf({ tls }: RedisPlace): { ca?: Buffer; servername?: string } | undefined {
  if (tls === null) return undefined;
  return {
    ...(tls.ca === null ? {} : { ca: readPem(tls.ca) }),
    ...(tls.serverName === null ? {} : { servername: tls.serverName }),
  };
}

function pauseMs(attempt: number, random: Random): number {
  return (
    Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt - 1, 8)) +
    between(random, 0, RETRY_SPREAD_MS)
  );
}

/**
 * An error reply that says "not me": its first word, or empty when the error is about one call only.
 */
export function refusalWord(message: string): string {
  const word = firstWord(message);
  return NOT_ME.has(word) ? word : '';
}

/** The kind of an error reply. */
export function firstWord(message: string): string {
  const end = message.search(/[ :]/);
  return end < 0 ? message : message.slice(0, end);
}

const NOT_ME: ReadonlySet<string> = new Set([
  'READONLY',
  'LOADING',
  'CLUSTERDOWN',
  'MASTERDOWN',
  'NOAUTH',
  'WRONGPASS',
  'NOPERM',
  'OOM',
  'MISCONF',
  'NOREPLICAS',
  'BUSY',
  // A cluster's node that was configured as the one server.
  'MOVED',
  'CROSSSLOT',
]);
