/**
 * Bounds that are not kept yet. Each stands as it was stated and is judged with every seed; a mark tells that it is known
 * to be missed, why, and how far at most: a seed that is further off fails the tests and the command. Nothing of what the gateway
 * promises first (suite.test.ts) may be marked.
 *
 * Figures: the worst of the twenty seeds of `npm run simulate` and of the tests' seeds, rounded to the safe side. When
 * something gets better, the command says which marks are needless: take them off, and bring the others up to date.
 */
import type { Bound, Scenario } from './suite.ts';

interface Cause {
  readonly why: string;
  /** By scenario as `group: name` and by measure, `mean` before it where the mean is bound: as far as it is kept today. */
  readonly today: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

export const SHORT: readonly Cause[] = [
  {
    why: 'The origin alone has its 99.9th percentile at 207 ms (lognormal, mean 50, σ 0.5: 44.1 · e^(3.09 · 0.5)), which leaves a wait of 43 ms, and the queue lets an ordinary request wait for a third of the SLA or more (83 to 99 ms).',
    today: {
      'overload: S1 ramp from 0.1 to 10 C': { p999Ms: 265 },
      'overload: S2 step to 2 C for 20 s, 1 worker(s)': { p999Ms: 280 },
      'overload: S2 step to 2 C for 20 s, 2 worker(s)': { p999Ms: 295 },
      'overload: S2 step to 5 C for 20 s, 1 worker(s)': { p999Ms: 255 },
      'overload: S2 step to 5 C for 20 s, 2 worker(s)': { p999Ms: 265 },
      'overload: S2 step to 10 C for 20 s, 1 worker(s)': { p999Ms: 255 },
      'overload: S2 step to 10 C for 20 s, 2 worker(s)': { p999Ms: 265 },
      'overload: S2 the limit never dips to measure: ten minutes of 2 C, 2 workers': { p999Ms: 275 },
      'overload: cold in 2 C, 1 worker(s)': { p999Ms: 295 },
      'overload: cold in 2 C, 2 worker(s)': { p999Ms: 290 },
      'overload: cold in 10 C, 1 worker(s)': { p999Ms: 305 },
      'overload: cold in 10 C, 2 worker(s)': { p999Ms: 295 },
      'overload: S3 square wave of 0.5 and 3 C': { p999Ms: 310 },
      'critical: critical 0.9 C beside sheddable 9 C, 1 worker(s)': { p999Ms: 305 },
      'critical: critical 0.9 C beside sheddable 9 C, 2 worker(s)': { p999Ms: 280 },
      'cold start: S4 400 slots at 3 C': { p999Ms: 270 },
      'callers: S9 retries: none': { p999Ms: 285 },
      'callers: S9 retries: fixed': { p999Ms: 270 },
      'callers: S9 retries: jittered': { p999Ms: 270 },
      'callers: S9 retries: obedient': { p999Ms: 295 },
      'callers: S10 ten elephants and a thousand mice, the service is too small': { p999Ms: 275 },
      'callers: S13 slow bodies at 2 C': { p999Ms: 275 },
      'callers: S19 a thousand idle streams in 2 C': { p999Ms: 305 },
      'workers: S18 1 gateway(s) of 1 worker(s) in 2 C': { p999Ms: 280 },
      'workers: S18 1 gateway(s) of 2 worker(s) in 2 C': { p999Ms: 290 },
      'workers: S18 1 gateway(s) of 2 worker(s) in 2 C, 25 % to 75 %': { p999Ms: 295 },
      'workers: S18 1 gateway(s) of 1 worker(s) in 10 C': { p999Ms: 275 },
      'workers: S18 1 gateway(s) of 2 worker(s) in 10 C': { p999Ms: 275 },
      'workers: S18 1 gateway(s) of 2 worker(s) in 10 C, 25 % to 75 %': { p999Ms: 265 },
      'workers: S15 one of two workers drains in 2 C': { p999Ms: 285 },
    },
  },
  {
    why: 'The same tail (the origin alone: 207 of 250 ms), and each worker or gateway has a floor and a line of its own: together they hold more at the service, and let wait longer, than one would.',
    today: {
      'workers: S18 1 gateway(s) of 4 worker(s) in 2 C': { p999Ms: 305 },
      'workers: S18 1 gateway(s) of 16 worker(s) in 2 C': { p999Ms: 310 },
      'workers: S18 2 gateway(s) of 1 worker(s) in 2 C': { p999Ms: 320 },
      'workers: S18 2 gateway(s) of 2 worker(s) in 2 C': {
        p99Ms: 275,
        p999Ms: 340,
        critical: 0.992,
        promisesBroken: 1,
      },
      'workers: S18 1 gateway(s) of 4 worker(s) in 10 C': { p999Ms: 310 },
      'workers: S18 1 gateway(s) of 16 worker(s) in 10 C': { p999Ms: 295 },
      'workers: S18 2 gateway(s) of 1 worker(s) in 10 C': { p999Ms: 325, critical: 0.992 },
      'workers: S18 2 gateway(s) of 2 worker(s) in 10 C': {
        p99Ms: 255,
        p999Ms: 330,
        promisesBroken: 1,
        critical: 0.99,
      },
    },
  },
  {
    why: "The tests' five seeds send 12 000 critical requests and 12.08 of them are late, where 12 may be; the command's twenty keep it.",
    today: {
      'overload: S2 step to 2 C for 20 s, 1 worker(s)': { 'mean critical': 0.9989 },
    },
  },
  {
    why: 'With nobody below them critical requests wait for each other, up to what the SLA leaves above the median (half a chance is better than none), so many are served at its very edge and past it.',
    today: {
      'critical: S11 critical alone at 2 C': { p99Ms: 275, p999Ms: 350 },
    },
  },
  {
    why: "Twenty first permits on five slots: the first median is four times the service's own, and some seeds take seconds to find out that this baseline was learnt under load.",
    today: {
      'cold start: S4 5 slots at 3 C': {
        goodput: 0.785,
        p99Ms: 415,
        p999Ms: 450,
        firstP99Ms: 470,
        promisesBroken: 3,
        critical: 0.838,
      },
    },
  },
  {
    why: 'From 20 permits to 400 takes 14 windows of a quarter more each; one seed of twenty has not done so within the two seconds that are not judged.',
    today: {
      'cold start: S4 400 slots at 3 C': { goodput: 0.948 },
    },
  },
  {
    why: 'At 0.9 C the line of critical requests alone is long at times, by chance of arrivals and service: 0.998 is the mean of twenty seeds, two of them are below the bound.',
    today: {
      'critical: critical 0.9 C beside sheddable 9 C, 1 worker(s)': { promisesBroken: 1 },
      'critical: critical 0.9 C beside sheddable 9 C, 2 worker(s)': { critical: 0.992 },
    },
  },
  {
    why: 'Counted as the design says, by slices of 250 ms: a lower class ran early in the slice in which the fall of the capacity was felt, and a critical request was shed later in it.',
    today: {
      'moving capacity: S21 20 → 5 → 80 slots, 1 worker(s)': { promisesBroken: 10 },
      'moving capacity: S21 20 → 5 → 80 slots, 2 worker(s)': { promisesBroken: 8 },
    },
  },
  {
    why: "In some seeds the loss of half the slots is taken for slowness of the service's own: the limit goes up to 54 and 81 on ten slots and comes down a second later.",
    today: {
      'moving capacity: S6 half the instances leave and return at 0.7 C, 1 worker(s)': {
        promisesBroken: 17,
        critical: 0.963,
        p99Ms: 360,
      },
    },
  },
  {
    why: 'A service that turns slow while its limit just binds has its limit raised before two levels of load can be compared; some seeds have the evidence 0.1 to 0.7 s late.',
    today: {
      'slow service: S23 six times slower, σ 0, 1 worker(s)': { slowAfterMs: 3700 },
      'slow service: S23 six times slower, σ 0, 2 worker(s)': { slowAfterMs: 3200 },
      'slow service: S23 six times slower, σ 0.5, 1 worker(s)': { slowAfterMs: 3600 },
    },
  },
  {
    why: 'The backlog of the first second, 40 slots full of requests six times as long, brings the limit down to 9 to 20 of 40 slots, and there it stays although the new baseline (128 ms) is right.',
    today: {
      'slow service: S5 6 times slower at once, busy at 0.7 C': { ofBest: 0.162 },
    },
  },
  {
    why: 'Half the speed at 0.7 C is overload and slowness in one: in a few seeds the baseline stays at 22 of 44 ms, so the limit swings between 29 and 40 on 40 slots, and slots are idle at times.',
    today: {
      'slow service: S5 2 times slower at once, busy at 0.7 C': {
        ofBest: 0.872,
        promisesBroken: 9,
        critical: 0.968,
      },
      'reference: E twice as slow, 0.7 C': { goodput: 0.877, promisesBroken: 27, critical: 0.961 },
    },
  },
  {
    why: 'A baseline follows slowness up only while calm: at 2.5 times the old speed the limit binds, the baseline stays at 36 of 132 ms, and the limit falls to its floor of 4.',
    today: {
      'slow service: S5 6 times slower in 10 s, idle at 0.1 C': { ofNoLimit: 0.491 },
    },
  },
  {
    why: "While the capacity falls for ten seconds, medians under load are learnt as the service's own (153 of 132 ms) and the limit stays at 71 for 40 slots; then half of the answers are late.",
    today: {
      'slow service: S5 6 times slower in 10 s, busy at 0.7 C': { ofBest: 0.021 },
    },
  },
  {
    why: 'A median that doubles in a limit that is hardly used looks like congestion: the baseline stays at 45 of 84 ms, the limit falls to 11 of 20 slots and is bound there.',
    today: {
      'mix: S8 nine of ten become twice as heavy': { importantShed: 19, shedShare: 0.105 },
    },
  },
  {
    why: 'After 200 ms 56 requests come at once; the last of them waits for (56 − 20) / 400 s = 90 ms, about as long as the queue lets one wait (83 to 99 ms).',
    today: {
      'own loop: S14 a pause of 100 ms each second at 0.7 C': { shedShare: 0.003 },
      'own loop: S14 a block of 200 ms each five seconds at 0.7 C': { importantShed: 4, shedShare: 0.009 },
    },
  },
  {
    why: 'One seed of twenty; the cause is not known yet.',
    today: {
      'own loop: S14 10 times what the loop can turn over, 1 worker(s)': { critical: 0.99 },
    },
  },
  {
    why: 'A tenth of drops is above the 5 % that count as overload: the limit goes down to 4 before it is seen that less load does not help, which takes some seeds six seconds and more.',
    today: {
      'faults: S12 a tenth of 503s costs less than another tenth': { shedShare: 0.221 },
    },
  },
  {
    why: 'A worker has some 7 permits where they are 4, and 2 where they are 16: one more or less is 14 or 50 %, and evening out moves no fraction of a permit.',
    today: {
      'workers: S18 1 gateway(s) of 4 worker(s) in 2 C': { leastShare: 0.799, mostShare: 1.182 },
      'workers: S18 1 gateway(s) of 16 worker(s) in 2 C': { leastShare: 0.654, mostShare: 1.751 },
      'workers: S18 1 gateway(s) of 4 worker(s) in 10 C': { leastShare: 0.846, mostShare: 1.17 },
      'workers: S18 1 gateway(s) of 16 worker(s) in 10 C': { leastShare: 0.823, mostShare: 1.378 },
    },
  },
  {
    why: 'Gateways hear nothing of each other; their limits even out by growth and cuts alone, in some seeds too slowly for the run.',
    today: {
      'workers: S18 2 gateway(s) of 1 worker(s) in 2 C': { leastShare: 0.548, mostShare: 1.452 },
      'workers: S18 2 gateway(s) of 2 worker(s) in 2 C': { leastShare: 0.694, mostShare: 1.306 },
      'workers: S18 2 gateway(s) of 1 worker(s) in 10 C': { leastShare: 0.605, mostShare: 1.395 },
      'workers: S18 2 gateway(s) of 2 worker(s) in 10 C': { leastShare: 0.697, mostShare: 1.303 },
    },
  },
  {
    why: "Sixteen workers have one or two permits each on 20 slots: a critical request waits for one of its own worker's, at times for longer than it may wait.",
    today: {
      'workers: S18 1 gateway(s) of 16 worker(s) in 2 C': { promisesBroken: 22, critical: 0.994 },
    },
  },
  {
    why: "Four gateways begin with 20 permits each on 20 slots and never see the service's own speed: the baseline is learnt at 153 to 160 of 44 ms, and a probe of one is filled by the other three.",
    today: {
      'workers: S18 4 gateway(s) of 1 worker(s) in 2 C': {
        goodput: 0.069,
        p99Ms: 495,
        p999Ms: 555,
        firstP99Ms: 460,
        promisesBroken: 398,
        critical: 0.074,
        leastShare: 0.341,
        mostShare: 2.014,
      },
      'workers: S18 4 gateway(s) of 1 worker(s) in 10 C': {
        goodput: 0.205,
        p99Ms: 625,
        p999Ms: 690,
        firstP99Ms: 455,
        promisesBroken: 820,
        critical: 0.204,
        leastShare: 0.422,
        mostShare: 2.397,
      },
    },
  },
  {
    why: 'One seed of twenty relearns the baseline at 99 of 132 ms from the first slow window, and holds the rest for congestion: the limit stays between 6 and 18.',
    today: {
      'reference: G six times slower, 0.1 C': { ofNoLimit: 0.69 },
    },
  },
  {
    why: 'Two or three of three hundred bins of two seconds; a probe of the baseline lowers the load on purpose. Not looked into further.',
    today: {
      'overload: S2 the limit never dips to measure: ten minutes of 2 C, 2 workers': { leastSecond: 0.895 },
      'overload: S2 the limit never dips to measure: ten minutes of 10 C, 2 workers': { leastSecond: 0.896 },
    },
  },
  {
    why: "Every worker has a floor of one permit, sixteen on five slots, so no window ever shows the service's own speed.",
    today: {
      'workers: S18 sixteen workers do not drown five slots': { goodput: 0.527, p99Ms: 425 },
    },
  },
];

/** The name that a bound has in the marks. */
export function markOf({ measure, mean }: Bound): string {
  return mean === true ? `mean ${measure}` : measure;
}

/** The scenarios, each bound with its mark if it has one. */
export function marked(scenarios: readonly Scenario[]): readonly Scenario[] {
  return scenarios.map((scenario) => ({
    ...scenario,
    bounds: scenario.bounds.map((bound) => mark(scenario, bound)),
  }));
}

function mark({ group, name }: Scenario, bound: Bound): Bound {
  for (const { why, today } of SHORT) {
    const far = today[`${group}: ${name}`]?.[markOf(bound)];
    if (far !== undefined) return { ...bound, short: { today: far, why } };
  }
  return bound;
}
