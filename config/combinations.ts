/**
 * Fields of one section that are right by themselves and wrong together: two ways to one Redis, a certificate without its
 * key, an admin address open to the network without a token.
 *
 * No checks of the schema's objects, because those are skipped once any field beside them is faulty (`readable.ts`). Where only it
 * matters whether a field is written, a faulty or mistyped one counts as written; where its value matters, it has none.
 */
import { isLoopback } from '../src/kernel/loopback.ts';
import { admin, listenerLimits, redis, shutdown } from './edge-schema.ts';
import { discovery } from './instance-schema.ts';
import { globalFields, quotaFields, tierFields } from './limit-schema.ts';
import { isGiven, meantKeys, readable } from './readable.ts';
import { route } from './route-schema.ts';
import { service } from './service-schema.ts';
import type { Finding, Path } from './findings.ts';
import type { Source } from './source.ts';
import { isTree, listOf, placed, treeOf } from './tree.ts';
import type { Tree } from './tree.ts';

/** A bucket that needs longer than a year to refill after one burst is a mistake in a unit (limits.md §3). */
const LONGEST_REFILL_SECONDS = 365 * 86_400;

/** The router of the rewriting mounts would read these as a parameter or a pattern; `*` no path may have. */
const ROUTER_SIGNS = /[:()]/;

type Fault = (path: Path, message: string) => void;

export function checkCombinations(source: Source): Finding[] {
  const root = treeOf(source.value);
  const findings: Finding[] = [];
  const fault: Fault = (path, message) => findings.push(source.find('error', path, message));

  for (const { path, value } of placed(root, 'listeners')) checkListener(value, path, fault);
  checkAdmin(root['admin'], fault);
  checkShutdown(root['shutdown'], fault);
  checkRedis(root['redis'], fault);
  for (const { path, value } of placed(root, 'tiers')) {
    checkQuota(readable(tierFields, value), path, fault);
    checkQuota(readable(quotaFields, treeOf(value)['total']), [...path, 'total'], fault);
  }
  checkQuota(readable(globalFields, treeOf(root['limits'])['global']), ['limits', 'global'], fault);
  for (const { path, value } of placed(root, 'services')) if (isTree(value)) checkService(value, path, fault);
  for (const { path, value } of placed(root, 'routes')) checkRoute(value, path, fault);
  return findings;
}

function checkListener(value: unknown, path: Path, fault: Fault): void {
  const { redirectToHttps } = treeOf(value);
  const redirects = redirectToHttps === true || typeof redirectToHttps === 'number';
  if (redirects && isGiven(treeOf(value), 'tls'))
    fault([...path, 'redirectToHttps'], 'would send callers of this `tls` listener round and round');
  const { headersTimeout, requestTimeout } = readable(listenerLimits, treeOf(value)['limits']);
  if (headersTimeout === undefined || requestTimeout === undefined) return;
  if (requestTimeout > 0 && headersTimeout > requestTimeout) {
    fault(
      [...path, 'limits', 'headersTimeout'],
      'must not be longer than `requestTimeout`, which includes it',
    );
  }
}

function checkAdmin(value: unknown, fault: Fault): void {
  const { host, token } = readable(admin, value);
  if (host === undefined || token !== '' || isLoopback(host)) return;
  fault(['admin', 'token'], 'the admin address can be reached from other machines and needs a token');
}

function checkShutdown(value: unknown, fault: Fault): void {
  const { delay, timeout } = readable(shutdown, value);
  if (delay === undefined || timeout === undefined || delay < timeout) return;
  fault(['shutdown', 'delay'], 'must be shorter than `shutdown.timeout`, or nothing could finish');
}

function checkRedis(value: unknown, fault: Fault): void {
  if (!isTree(value)) return;
  const meant = meantKeys(redis, value);
  if (countOf(['url', 'sentinels', 'cluster'], meant) !== 1)
    fault(['redis'], 'needs exactly one of `url`, `sentinels` and `cluster`');
  const { url } = value;
  if (typeof url === 'string' && url.startsWith('redis://') && isGiven(value, 'tls'))
    fault(['redis', 'tls'], 'is never used with a `redis://` address: write `rediss://`');
  if (isGiven(value, 'sentinelPassword') && !isGiven(value, 'sentinels'))
    fault(['redis', 'sentinelPassword'], 'is for `sentinels`, and there are none');
}

function countOf(keys: readonly string[], meant: ReadonlySet<string>): number {
  return keys.filter((key) => meant.has(key)).length;
}

/** Also for a limit that is not written: it has no burst. */
function checkQuota(
  quota: { readonly rate?: number | null; readonly burst?: number | null },
  path: Path,
  fault: Fault,
): void {
  const { rate, burst } = quota;
  if (rate === undefined || burst === undefined || burst === null) return;
  if (rate === null) {
    fault([...path, 'burst'], 'a burst without a rate limits nothing: write the rate too');
  } else if (burst / rate > LONGEST_REFILL_SECONDS) {
    fault(
      [...path, 'burst'],
      'takes longer than a year to refill at this rate: is the unit of the rate right?',
    );
  }
}

function checkService(value: Tree, path: Path, fault: Fault): void {
  const meant = meantKeys(service, value);
  const listed = Array.isArray(value['instances']) ? value['instances'].length > 0 : meant.has('instances');
  if (!listed && !meant.has('discovery')) fault(path, 'has no instances: write `instances` or `discovery`');
  if (listed && isGiven(value, 'discovery'))
    fault([...path, 'discovery'], 'stands instead of `instances`: write one of them');
  const found = value['discovery'];
  if (isTree(found) && countOf(['dns', 'kubernetes', 'consul', 'file'], meantKeys(discovery, found)) !== 1)
    fault([...path, 'discovery'], 'needs exactly one of `dns`, `kubernetes`, `consul` and `file`');
  const pair = meantKeys(service.shape.tls.unwrap().unwrap(), value['tls']);
  if (pair.has('cert') !== pair.has('key')) fault([...path, 'tls'], '`cert` and `key` go together');
  checkSessionKeys(treeOf(value['affinity'])['keys'], [...path, 'affinity', 'keys'], fault);
}

/** Two keys of one id cannot be told apart when a cookie is verified. */
function checkSessionKeys(keys: unknown, path: Path, fault: Fault): void {
  const seen = new Set<unknown>();
  for (const [index, entry] of listOf(keys).entries()) {
    const { id } = treeOf(entry);
    if (typeof id !== 'string' || id === '') continue;
    if (seen.has(id)) fault([...path, index, 'id'], `a second key with the id \`${id}\``);
    seen.add(id);
  }
}

function checkRoute(value: unknown, path: Path, fault: Fault): void {
  const written = treeOf(value);
  const prefix = readable(route, value).path;
  if (prefix !== undefined && ROUTER_SIGNS.test(prefix) && isGiven(written, 'rewrite'))
    fault([...path, 'path'], 'a path with a `rewrite` has no `:`, `(` or `)`');
  for (const kind of ['perClient', 'total']) {
    const own = readable(quotaFields, treeOf(written['limits'])[kind]);
    checkQuota(own, [...path, 'limits', kind], fault);
  }
}
