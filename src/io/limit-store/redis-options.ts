/**
 * How the client library is set up for a limiter, and why each default had to go (all seen with ioredis 6.0.0).
 */
import type { RedisOptions } from 'ioredis';
import type { Random } from '../../kernel/random.ts';
import { between } from '../../kernel/random.ts';

/** TCP connect. 250 ms would lose a retransmitted SYN, 1 s only delays the next address. */
const CONNECT_TIMEOUT_MS = 500;
const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 1000;
/** Spreads the workers of all gateways over a Redis that has just come back. */
const RETRY_SPREAD_MS = 200;

export function redisOptions(random: Random): Omit<RedisOptions, 'replyMapping'> {
  return {
    connectTimeout: CONNECT_TIMEOUT_MS,
    disconnectTimeout: CONNECT_TIMEOUT_MS,
    retryStrategy: (attempt) =>
      Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt - 1, 8)) +
      between(random, 0, RETRY_SPREAD_MS),
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
 * An error reply that says "not me": its first word, or empty when the error is about one call only.
 */
export function refusalWord(message: string): string {
  const end = message.search(/[ :]/);
  const word = end < 0 ? message : message.slice(0, end);
  return NOT_ME.has(word) ? word : '';
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
]);
