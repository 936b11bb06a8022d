/**
 * Several real redis-servers that form one store: a primary with a replica and a sentinel that watches them, and a cluster of
 * three primaries of which the first has a replica. On loopback, each on free ports, in directories that go with them.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';

import { eventually } from './ports.ts';
import { freePort, launch, onFreePort, RedisServer } from './redis.ts';

const SLOTS = 16_384;
const PRIMARIES = 3;
/** A replica is given its copy at once; Redis would wait five seconds for others that may want one too. */
const COPIES_AT_ONCE = ['--repl-diskless-sync-delay', '0'];

/** A sentinel alone decides (quorum 1) that a primary which is silent for half a second is down. */
export class RedisSentinel implements AsyncDisposable {
  static readonly primaryName = 'shop';
  readonly servers: readonly [RedisServer, RedisServer];
  readonly port: number;
  readonly #directory: string;
  readonly #sentinel: ChildProcess;
  readonly #password: string;

  private constructor(
    servers: readonly [RedisServer, RedisServer],
    port: number,
    directory: string,
    sentinel: ChildProcess,
    password: string,
  ) {
    this.#password = password;
    this.servers = servers;
    this.port = port;
    this.#directory = directory;
    this.#sentinel = sentinel;
  }

  /** @param password asked of clients by the servers, and by the sentinel */
  static async start(password = ''): Promise<RedisSentinel> {
    const secret = password === '' ? [] : ['--requirepass', password, '--masterauth', password];
    const primary = await RedisServer.start([...secret, ...COPIES_AT_ONCE]);
    const replica = await RedisServer.start([...secret, '--replicaof', `127.0.0.1 ${primary.port}`]);
    const port = await freePort();
    const directory = mkdtempSync(join(tmpdir(), 'spillway-sentinel-'));
    const file = join(directory, 'sentinel.conf');
    const name = RedisSentinel.primaryName;
    const lines = [
      `port ${port}`,
      'bind 127.0.0.1',
      `dir ${directory}`,
      `sentinel monitor ${name} 127.0.0.1 ${primary.port} 1`,
      `sentinel down-after-milliseconds ${name} 500`,
      `sentinel failover-timeout ${name} 5000`,
    ];
    if (password !== '') lines.push(`requirepass ${password}`, `sentinel auth-pass ${name} ${password}`);
    writeFileSync(file, `${lines.join('\n')}\n`);
    const sentinel = await launch([file, '--sentinel'], '+monitor');
    const started = new RedisSentinel([primary, replica], port, directory, sentinel, password);
    await started.#knowsReplica(primary);
    return started;
  }

  /** Resolves when the replica has been made primary. */
  async promoted(): Promise<void> {
    const client = this.servers[1].client(this.#password);
    await eventually('the replica is promoted', async () =>
      (await client.info('replication')).includes('role:master'),
    );
    client.disconnect();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#sentinel.exitCode === null) {
      const gone = once(this.#sentinel, 'exit');
      this.#sentinel.kill('SIGKILL');
      await gone;
    }
    for (const server of this.servers) {
      server.resume();
      await server.stop();
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** A replica that has not copied its primary yet, or that the sentinel has not met, cannot be promoted. */
  async #knowsReplica(primary: RedisServer): Promise<void> {
    const asked = [primary.client(this.#password), sentinelClient(this.port, this.#password)] as const;
    await eventually('the sentinel knows a replica that is in step', async () => {
      const info = await asked[0].info('replication');
      const known = await asked[1].call('SENTINEL', 'REPLICAS', RedisSentinel.primaryName);
      return /slave0:.*state=online/.test(info) && Array.isArray(known) && known.length === 1;
    });
    for (const client of asked) client.disconnect();
  }
}

/** Nodes 0 to 2 are primaries of a third of the slots each; node 3 is the replica of node 0. */
export class RedisCluster implements AsyncDisposable {
  readonly nodes: readonly RedisServer[];
  readonly #clients: readonly Redis[];

  private constructor(nodes: readonly RedisServer[]) {
    this.nodes = nodes;
    this.#clients = nodes.map((node) => node.client());
  }

  static async start(): Promise<RedisCluster> {
    const busPorts: number[] = [];
    const nodes = await Promise.all(
      Array.from({ length: PRIMARIES + 1 }, async (_, i) =>
        onFreePort(async (bus) => {
          busPorts[i] = bus;
          return await RedisServer.start([
            '--cluster-enabled',
            'yes',
            '--cluster-port',
            String(bus),
            '--cluster-node-timeout',
            '1500',
            '--cluster-replica-validity-factor',
            '0',
            ...COPIES_AT_ONCE,
          ]);
        }),
      ),
    );
    const cluster = new RedisCluster(nodes);
    await cluster.#form(busPorts);
    return cluster;
  }

  /** For `redis.cluster`. */
  get addresses(): string[] {
    return this.nodes.map(({ port }) => `127.0.0.1:${port}`);
  }

  client(node: number): Redis {
    const client = this.#clients[node];
    if (client === undefined) throw new RangeError(`no node ${node}`);
    return client;
  }

  /** The primary that keeps the key's slot. */
  async ownerOf(key: string): Promise<number> {
    const slot = await this.client(PRIMARIES - 1).cluster('KEYSLOT', key);
    return Math.min(PRIMARIES - 1, Math.floor((slot * PRIMARIES) / SLOTS));
  }

  /** Moves one slot with its keys from one primary to another, as `redis-cli --cluster reshard` does. */
  async moveSlot(slot: number, from: number, to: number): Promise<void> {
    const [source, target] = [this.client(from), this.client(to)];
    const [sourceId, targetId] = [await source.cluster('MYID'), await target.cluster('MYID')];
    await target.cluster('SETSLOT', slot, 'IMPORTING', sourceId);
    await source.cluster('SETSLOT', slot, 'MIGRATING', targetId);
    await this.moveKeys(slot, from, to);
    for (const client of [target, source]) await client.cluster('SETSLOT', slot, 'NODE', targetId);
  }

  /** The keys of a slot that is being moved. */
  async moveKeys(slot: number, from: number, to: number): Promise<void> {
    const keys = await this.client(from).cluster('GETKEYSINSLOT', slot, 100);
    const port = this.nodes[to]?.port ?? 0;
    if (keys.length > 0)
      await this.client(from).call('MIGRATE', '127.0.0.1', port, '', 0, 1000, 'KEYS', ...keys);
  }

  async promoted(node: number): Promise<void> {
    await eventually('the replica is promoted', async () =>
      (await this.client(node).info('replication')).includes('role:master'),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.disconnect();
    for (const node of this.nodes) {
      node.resume();
      await node.stop();
    }
  }

  async #form(busPorts: readonly number[]): Promise<void> {
    for (let i = 0; i < PRIMARIES; i++) {
      const [first, next] = [Math.ceil((SLOTS * i) / PRIMARIES), Math.ceil((SLOTS * (i + 1)) / PRIMARIES)];
      await this.client(i).cluster('ADDSLOTSRANGE', first, next - 1);
    }
    for (const [i, { port }] of this.nodes.entries()) {
      await this.client(i).call('CLUSTER', 'SET-CONFIG-EPOCH', i + 1);
      await this.client(0).call('CLUSTER', 'MEET', '127.0.0.1', port, busPorts[i] ?? 0);
    }
    const replica = this.client(PRIMARIES);
    const primaryId = await this.client(0).cluster('MYID');
    await eventually('the nodes have met', async () => {
      const met = await Promise.all(this.#clients.map(async (client) => await client.cluster('NODES')));
      return met.every((nodes) => String(nodes).trim().split('\n').length === this.nodes.length);
    });
    await replica.cluster('REPLICATE', primaryId);
    await eventually('the cluster is whole', async () => {
      const infos = await Promise.all(this.#clients.map(async (client) => await client.cluster('INFO')));
      const link = await replica.info('replication');
      return (
        infos.every((info) => info.includes('cluster_state:ok')) && link.includes('master_link_status:up')
      );
    });
  }
}

function sentinelClient(port: number, password: string): Redis {
  const options = { protocol: 2, disableClientInfo: true, enableReadyCheck: false } as const;
  return new Redis(port, '127.0.0.1', password === '' ? options : { ...options, password });
}
