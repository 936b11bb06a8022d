/**
 * The configuration: types, defaults, checks and JSON Schema from one source.
 *
 * What a user writes (contract.md §2) goes in; out comes the same tree with the same key names, every default filled
 * in, and every value in base units: durations in ms, sizes in bytes, rates per second, ratios 0..1, "nothing" as null.
 * The result is plain JSON, so that it crosses to the workers as it is; they import this module's types only, never
 * its code.
 *
 * What concerns several fields is not checked here but in `references.ts`, `combinations.ts` and `figures.ts`: this schema
 * judges each value by itself, so that all faults of a file are found in one run (why: `readable.ts`).
 */
import { z } from 'zod';
import { clients } from './client-schema.ts';
import { admin, errorPage, listener, log, redis, shutdown, tracing, trust } from './edge-schema.ts';
import { limits, tier } from './limit-schema.ts';
import { route } from './route-schema.ts';
import { service, shedding } from './service-schema.ts';
import { count, name } from './units-schema.ts';

const written = z.strictObject({
  listeners: z.array(listener).min(1).describe('addresses that take traffic'),
  admin: admin.prefault({}).describe('the address for operators'),
  workers: z
    .union([z.literal('auto'), count(1, 1024)])
    .meta({ 'x-type': '`auto` or a whole number' })
    .prefault('auto')
    .describe('processes that carry traffic; `auto` = one a core'),
  shutdown: shutdown.prefault({}).describe('how the gateway leaves'),
  redis: redis
    .nullable()
    .prefault(null)
    .describe("the store of limits; absent, they live in the supervisor's memory"),
  trust: trust.prefault({}).describe('proxies in front of the gateway'),
  clients: clients.prefault({}).describe('who is calling'),
  tiers: z.record(name(), tier).prefault({}).describe('classes of clients; `default` is always there'),
  limits: limits.prefault({}).describe('limits for everybody, and how they are kept'),
  shedding: shedding.prefault({}).describe('defaults of overload control, for every service'),
  services: z
    .record(name(), service)
    .refine((value) => Object.keys(value).length > 0, { error: 'names no service' })
    .describe('what stands behind the gateway'),
  routes: z.array(route).min(1).describe('which requests go where'),
  log: log.prefault({}).describe('what is written'),
  tracing: tracing.prefault({}).describe('spans'),
  errorPage,
});

/** Fills in what depends on another section: the tier `default`, and each service's whole `shedding`. */
function complete(value: z.output<typeof written>) {
  const { shedding: everywhere } = value;
  const services = Object.fromEntries(
    Object.entries(value.services).map(([key, own]) => [
      key,
      {
        ...own,
        shedding: {
          mode: own.shedding.mode ?? everywhere.mode,
          queue: own.shedding.queue ?? everywhere.queue,
          limit: own.shedding.limit ?? everywhere.limit,
        },
      },
    ]),
  );
  const tiers = Object.hasOwn(value.tiers, 'default')
    ? value.tiers
    : { default: tier.parse({}), ...value.tiers };
  return { ...value, tiers, services };
}

/** Takes what a file says; gives a `Configuration`. Only `listeners`, `services` and `routes` must be written. */
export const configurationSchema = written.transform(complete);

export type Configuration = z.output<typeof configurationSchema>;
export type ListenerConfiguration = Configuration['listeners'][number];
export type ServiceConfiguration = Configuration['services'][string];
export type RouteConfiguration = Configuration['routes'][number];
export type RedisConfiguration = NonNullable<Configuration['redis']>;
