/** What an operator should know of a Redis before it is relied on, from its `INFO`. Of a cluster one node is asked. */

const LEAST_VERSION = [6, 2] as const;

export function storeWarnings(info: string): string[] {
  const warnings: string[] = [];
  const version = /^redis_version:(\d+)\.(\d+)/m.exec(info);
  const [major, minor] = [Number(version?.[1]), Number(version?.[2])];
  if (
    version !== null &&
    (major < LEAST_VERSION[0] || (major === LEAST_VERSION[0] && minor < LEAST_VERSION[1]))
  )
    warnings.push(`this Redis is ${major}.${minor}: limits need 6.2 or newer`);
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1] ?? 'noeviction';
  const isCapped = /^maxmemory:[1-9]/m.test(info);
  // Not only `allkeys-*`: buckets have an expiry, so `volatile-*` takes them first.
  if (isCapped && policy !== 'noeviction')
    warnings.push(
      `this Redis evicts keys when its memory is full (${policy}): a limit that is evicted starts with a full burst`,
    );
  return warnings;
}
