/**
 * Limits as a client meets them: which status, which fields, whose limit, and that two workers keep one limit together.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { base, counted } from './limits-admin-fixture.ts';
import { ask, expectProblem, startService, valueOf } from './path-fixture.ts';
import type { Answer, Listening } from './path-fixture.ts';

let origin: Listening;
let hits = 0;

beforeAll(async () => {
  origin = await startService((_, response) => {
    hits++;
    response.writeHead(200, { 'content-length': 2 }).end('ok');
  });
});

afterAll(async () => {
  await origin[Symbol.asyncDispose]();
});

async function startWith(text: string, workers = 1): Promise<Gateway> {
  return await startGateway(base({ origin: origin.url }, '', workers) + text);
}

/** Counts to the unit on a gateway of its own. */
async function exactly(text: string, work: (gateway: Gateway) => Promise<void>, workers = 1): Promise<void> {
  let gateway = await startWith(text, workers);
  const again = async (): Promise<void> => {
    await gateway[Symbol.asyncDispose]();
    gateway = await startWith(text, workers);
  };
  try {
    await counted(
      () => gateway,
      again,
      async () => await work(gateway),
    );
  } finally {
    await gateway[Symbol.asyncDispose]();
  }
}

const KEYED = `
clients:
  keys:
    - { key: free-key, client: freddy, tier: free }
    - { key: other-key, client: olga, tier: free }
    - { key: gold-key, client: gina, tier: gold }
tiers:
  free: { rate: 1/h, burst: 5 }
  gold: { rate: 1000/s, burst: 2000 }
`;

const as = (key: string): { headers: Record<string, string> } => ({ headers: { 'x-api-key': key } });

/** Asks `count` times in turn; how often each status came. */
async function statuses(
  gateway: Gateway,
  count: number,
  asked: Parameters<typeof ask>[1] = {},
): Promise<Record<number, number>> {
  const seen: Record<number, number> = {};
  for (let turn = 0; turn < count; turn++) {
    const { status } = await ask(gateway.port, asked);
    seen[status] = (seen[status] ?? 0) + 1;
  }
  return seen;
}

/** `"client";r=3;t=12` as figures. */
function limitOf(answer: Answer): { level: string; remaining: number; seconds: number } {
  const match = /^"([\w-]+)";r=(\d+);t=(\d+)$/.exec(valueOf(answer.rawHeaders, 'ratelimit') ?? '');
  return { level: match?.[1] ?? '', remaining: Number(match?.[2]), seconds: Number(match?.[3]) };
}

describe('a client over its own limit', () => {
  const ROUTES = `${KEYED}
routes:
  - { path: /, service: shop }
  - { path: /login, service: shop, limits: { perClient: { rate: 1/h, burst: 2 } } }
  - { path: /heavy, service: shop, cost: 4 }
`;

  test('sees its allowance shrink, then 429 with everything the contract names, and nobody is asked for it', async () => {
    await exactly(ROUTES, async (gateway) => {
      const remaining: number[] = [];
      for (let turn = 0; turn < 5; turn++) {
        const answer = await ask(gateway.port, as('free-key'));
        expect(answer.status).toBe(200);
        expect(valueOf(answer.rawHeaders, 'ratelimit-policy')).toMatch(/^"client";q=\d+;w=\d+$/);
        expect(limitOf(answer).level).toBe('client');
        remaining.push(limitOf(answer).remaining);
      }
      expect(remaining).toEqual([4, 3, 2, 1, 0]);
      const before = hits;
      const refused = await ask(gateway.port, as('free-key'));
      const problem = expectProblem(refused, 429, 'SPW_RATE_CLIENT');
      expect(problem.type).toBe('https://iana.org/assignments/http-problem-types#quota-exceeded');
      const { remaining: left, seconds } = limitOf(refused);
      expect(left).toBe(0);
      // One unit an hour: the next one is most of an hour away, and that is what it is told.
      expect(seconds).toBeGreaterThan(3000);
      expect(Number(valueOf(refused.rawHeaders, 'retry-after'))).toBeGreaterThan(3000);
      expect(hits).toBe(before);
    });
  });

  test('does not touch another client of its tier, nor other tiers', async () => {
    await exactly(ROUTES, async (gateway) => {
      expect(await statuses(gateway, 6, as('free-key'))).toEqual({ 200: 5, 429: 1 });
      expect(await statuses(gateway, 5, as('other-key'))).toEqual({ 200: 5 });
      expect(await statuses(gateway, 50, as('gold-key'))).toEqual({ 200: 50 });
    });
  });

  test('without a limit has no RateLimit fields', async () => {
    await using gateway = await startWith(ROUTES);
    const answer = await ask(gateway.port);
    expect(valueOf(answer.rawHeaders, 'ratelimit')).toBeUndefined();
    expect(valueOf(answer.rawHeaders, 'ratelimit-policy')).toBeUndefined();
  });

  test('with a key nobody has is 401, and so is one with two keys', async () => {
    await using gateway = await startWith(ROUTES);
    const before = hits;
    expectProblem(await ask(gateway.port, as('no-such-key')), 401, 'SPW_UNKNOWN_KEY');
    expect((await ask(gateway.port, { headers: { 'x-api-key': ['gold-key', 'free-key'] } })).status).toBe(
      401,
    );
    expect(hits).toBe(before);
  });

  test('at a route is 429 SPW_RATE_ROUTE there and nowhere else', async () => {
    await exactly(ROUTES, async (gateway) => {
      expect(await statuses(gateway, 2, { path: '/login', ...as('gold-key') })).toEqual({ 200: 2 });
      const refused = await ask(gateway.port, { path: '/login/again', ...as('gold-key') });
      expectProblem(refused, 429, 'SPW_RATE_ROUTE');
      expect(limitOf(refused).level).toBe('route');
      expect(valueOf(refused.rawHeaders, 'ratelimit-policy')).toMatch(/"client";q=.*, "route";q=/);
      expect((await ask(gateway.port, as('gold-key'))).status).toBe(200);
      // Another caller has the route for himself, be he anonymous.
      expect((await ask(gateway.port, { path: '/login' })).status).toBe(200);
    });
  });

  test('pays what the route costs, all or nothing', async () => {
    await exactly(ROUTES, async (gateway) => {
      expect((await ask(gateway.port, { path: '/heavy', ...as('free-key') })).status).toBe(200);
      // One unit is left: not enough for another of four, and it was not taken by the refusal.
      expect((await ask(gateway.port, { path: '/heavy', ...as('free-key') })).status).toBe(429);
      expect((await ask(gateway.port, as('free-key'))).status).toBe(200);
      expect((await ask(gateway.port, as('free-key'))).status).toBe(429);
    });
  });
});

describe('anonymous callers', () => {
  test('are told apart by address, behind a trusted proxy by the one it names', async () => {
    await exactly(
      `
trust: { proxies: [127.0.0.1] }
tiers: { default: { rate: 1/h, burst: 2 } }
routes: [{ path: /, service: shop }]
`,
      async (gateway) => {
        const from = (address: string): { headers: Record<string, string> } => ({
          headers: { 'x-forwarded-for': address },
        });
        expect(await statuses(gateway, 3, from('203.0.113.1'))).toEqual({ 200: 2, 429: 1 });
        expect(await statuses(gateway, 3, from('203.0.113.2'))).toEqual({ 200: 2, 429: 1 });
        // One IPv6 network is one caller, however many addresses it has.
        expect(await statuses(gateway, 1, from('2001:db8:1:1::1'))).toEqual({ 200: 1 });
        expect(await statuses(gateway, 3, from('2001:db8:1:1:ffff::9'))).toEqual({ 200: 1, 429: 2 });
      },
    );
  });

  test('cannot make themselves a new caller by inventing addresses', async () => {
    await exactly(
      `
tiers: { default: { rate: 1/h, burst: 3 } }
routes: [{ path: /, service: shop }]
`,
      async (gateway) => {
        const seen: Record<number, number> = {};
        for (let turn = 0; turn < 20; turn++) {
          const { status } = await ask(gateway.port, {
            headers: {
              'x-forwarded-for': `10.0.0.${turn}`,
              forwarded: `for=10.0.0.${turn}`,
              'x-real-ip': `10.0.0.${turn}`,
            },
          });
          seen[status] = (seen[status] ?? 0) + 1;
        }
        expect(seen).toEqual({ 200: 3, 429: 17 });
      },
    );
  });
});

describe('a limit shared by many', () => {
  test('at the front door is 503 SPW_RATE_GLOBAL, for those who have limits of their own too', async () => {
    await exactly(
      `${KEYED}
limits: { global: { rate: 1/h, burst: 4 } }
routes: [{ path: /, service: shop }]
`,
      async (gateway) => {
        expect(await statuses(gateway, 2, as('gold-key'))).toEqual({ 200: 2 });
        expect(await statuses(gateway, 2)).toEqual({ 200: 2 });
        const problem = expectProblem(await ask(gateway.port, as('gold-key')), 503, 'SPW_RATE_GLOBAL');
        expect(problem.type).toBe(
          'https://iana.org/assignments/http-problem-types#temporary-reduced-capacity',
        );
      },
    );
  });

  test('at a route or a tier is 503 as well', async () => {
    await exactly(
      `
clients: { keys: [{ key: free-key, client: a, tier: free }] }
tiers: { free: { total: { rate: 1/h, burst: 1 } } }
routes:
  - { path: /, service: shop }
  - { path: /total, service: shop, limits: { total: { rate: 1/h, burst: 1 } } }
`,
      async (gateway) => {
        expect(await statuses(gateway, 3, { path: '/total' })).toEqual({ 200: 1, 503: 2 });
        expect(await statuses(gateway, 3, as('free-key'))).toEqual({ 200: 1, 503: 2 });
      },
    );
  });
});

describe('how limits are shown and kept', () => {
  test.each([
    [
      'legacy',
      ['x-ratelimit-limit', 'x-ratelimit-remaining', 'x-ratelimit-reset'],
      ['ratelimit', 'ratelimit-policy'],
    ],
    ['none', [], ['ratelimit', 'ratelimit-policy', 'x-ratelimit-limit']],
  ])('with `headers: %s`', async (style, there, absent) => {
    await exactly(
      `
tiers: { default: { rate: 1/h, burst: 1 } }
limits: { headers: ${style} }
routes: [{ path: /, service: shop }]
`,
      async (gateway) => {
        for (const wanted of [200, 429]) {
          const answer = await ask(gateway.port);
          expect(answer.status).toBe(wanted);
          for (const name of there)
            expect([name, valueOf(answer.rawHeaders, name)]).toEqual([name, expect.stringMatching(/^\d+$/)]);
          for (const name of absent)
            expect([name, valueOf(answer.rawHeaders, name)]).toEqual([name, undefined]);
        }
      },
    );
  });

  test('under `mode: observe` nobody is refused and everything is counted', async () => {
    await exactly(
      `
tiers: { default: { rate: 1/h, burst: 2 } }
limits: { mode: observe }
routes: [{ path: /, service: shop }]
`,
      async (gateway) => {
        expect(await statuses(gateway, 10)).toEqual({ 200: 10 });
        await eventually('the eight are counted', async () => {
          const { body } = await gateway.admin('/metrics');
          return /spillway_limited_total\{[^}]*mode="observe"[^}]*\} 8\b/.test(String(body));
        });
      },
    );
  });

  test('under `mode: off` nothing is counted either', async () => {
    await exactly(
      `
tiers: { default: { rate: 1/h, burst: 2 } }
limits: { mode: "off" }
routes: [{ path: /, service: shop }]
`,
      async (gateway) => {
        expect(await statuses(gateway, 6)).toEqual({ 200: 6 });
      },
    );
  });

  test('a reload keeps what was used up', async () => {
    const text = (burst: number): string => `
tiers: { default: { rate: 1/h, burst: ${burst} } }
routes: [{ path: /, service: shop }]
`;
    await exactly(text(3), async (gateway) => {
      expect(await statuses(gateway, 4)).toEqual({ 200: 3, 429: 1 });
      const { status, body } = await gateway.admin('/v1/reload', { method: 'POST' });
      expect([status, body]).toEqual([200, expect.anything()]);
      expect(await statuses(gateway, 2)).toEqual({ 429: 2 });
    });
  });
});

test('two workers keep one limit together, to the unit, over a hundred concurrent connections', async () => {
  await exactly(
    `
tiers: { default: { rate: 1/h, burst: 60 } }
limits: { enforcement: exact }
routes: [{ path: /, service: shop }]
`,
    async (gateway) => {
      expect(gateway.workerPids()).toHaveLength(2);
      const before = hits;
      const seen: Record<number, number> = {};
      // A worker's name begins its request ids.
      const workers = new Set<string>();
      let asked = 0;
      // Three hundred at least, and until both have taken part, or the test has shown nothing: one may be quick enough for all.
      for (let round = 0; round < 3 || (workers.size < 2 && round < 100); round++) {
        asked += 100;
        const answers = await Promise.all(Array.from({ length: 100 }, async () => await ask(gateway.port)));
        for (const { status, rawHeaders } of answers) {
          seen[status] = (seen[status] ?? 0) + 1;
          workers.add((valueOf(rawHeaders, 'x-request-id') ?? '').split('-')[0] ?? '');
        }
      }
      expect(seen).toEqual({ 200: 60, 429: asked - 60 });
      expect(hits - before).toBe(60);
      expect(workers.size).toBe(2);
    },
    2,
  );
});
