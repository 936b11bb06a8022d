/**
 * Who keeps which slot of a Redis Cluster, as one of its nodes says (`CLUSTER SLOTS`).
 *
 * Asked is a node that answers already, else the configured ones in turn, each on a connection of its own that ends with the
 * answer. A node that says nothing for half a second is passed over.
 */
import { once } from 'node:events';
import type { Redis } from 'ioredis';
import type { Random } from '../../kernel/random.ts';
import { beforeDeadline } from './before-deadline.ts';
import { nodeAddress, openNode } from './redis-options.ts';
import type { NodeAddress, RedisPlace } from './redis-options.ts';

/** 250 ms passes over a node that forks; 1 s makes a failover wait that long for each dead node asked before. */
const ANSWER_MS = 500;

export interface SlotRange {
  readonly first: number;
  readonly last: number;
  readonly primary: NodeAddress;
}

/** @param connected clients that may be asked, best first. Rejects when nobody told, with the last reason. */
export async function askForSlots(
  connected: readonly Redis[],
  place: RedisPlace,
  random: Random,
): Promise<readonly SlotRange[]> {
  let fault: unknown = new Error('no node was told');
  for (const client of connected) {
    try {
      return await slotsOf(client);
    } catch (error) {
      fault = error;
    }
  }
  for (const text of place.cluster ?? []) {
    const client = openNode(place, nodeAddress(text), random);
    try {
      await beforeDeadline(once(client, 'ready'), ANSWER_MS);
      return await slotsOf(client);
    } catch (error) {
      fault = error;
    } finally {
      client.on('error', () => undefined);
      client.disconnect();
    }
  }
  throw fault;
}

async function slotsOf(client: Redis): Promise<SlotRange[]> {
  const rows: unknown = await beforeDeadline(client.cluster('SLOTS'), ANSWER_MS);
  if (!Array.isArray(rows) || rows.length === 0) throw new Error('CLUSTERDOWN no slots');
  return rows.map((row: readonly [number, number, readonly [string | null, number]]) => {
    const [first, last, [host, port]] = row;
    // A node that does not know its own address is found where it was asked.
    const known = host !== null && host !== '' && host !== '?';
    return { first, last, primary: { host: known ? host : (client.options.host ?? ''), port } };
  });
}
