/**
 * The keys file (`clients.keysFile`): read with the configuration, and again whenever it has changed.
 *
 * Its rows follow those of `clients.keys` and are judged together with them and by the configuration's tiers, the second time
 * as the first. A list with any fault is no list: keys are swapped as a whole or not at all. The faults name places, never
 * keys.
 */
import type { Environment } from './source.ts';
import { readKeysFile } from './files.ts';
import { formatFinding, type Finding } from './findings.ts';
import { checkKeys, digested, type DigestedKey, type PlacedKey } from './keys.ts';
import { configurationHash } from './hash.ts';
import type { Configuration } from './schema.ts';

/** @param missing makes the fault where the configuration names the file */
export function joinKeysFile(
  own: readonly PlacedKey[],
  file: string,
  environment: Environment,
  tiers: ReadonlySet<string>,
  identify: unknown,
  missing: (message: string) => Finding,
): { readonly rows: DigestedKey[]; readonly findings: Finding[] } {
  const { keys, source, faults, warnings } = readKeysFile(file, environment, missing);
  const read = keys.map((row, index): PlacedKey => ({
    row,
    find: (key, message) => source?.find('error', [index, key], message) ?? missing(message),
  }));
  const all = [...own, ...read];
  const findings = [...faults, ...warnings, ...unknownTiers(read, tiers), ...checkKeys(all, identify)];
  return { rows: digested(all), findings };
}

function unknownTiers(keys: readonly PlacedKey[], tiers: ReadonlySet<string>): Finding[] {
  return keys.flatMap(({ row: { tier }, find }) =>
    tier === undefined || tier === 'default' || tiers.has(tier)
      ? []
      : [find('tier', `there is no tier \`${tier}\``)],
  );
}

export type KeysAgain =
  | { readonly ok: true; readonly keys: DigestedKey[]; readonly hash: string }
  | { readonly ok: false; readonly faults: readonly string[] };

/**
 * The keys of a configuration in force with its keys file as it is now.
 * @param ownKeys how many of its keys, the first, stand in the configuration itself
 */
export function readKeysAgain(
  configuration: Configuration,
  ownKeys: number,
  environment: Environment,
): KeysAgain {
  const { clients, tiers } = configuration;
  const file = clients.keysFile ?? '';
  const missing = (message: string): Finding => ({
    file,
    line: 1,
    column: 1,
    severity: 'error',
    path: '',
    message,
    suggestion: '',
  });
  const own = clients.keys
    .slice(0, ownKeys)
    .map((row): PlacedKey => ({ row, find: (_key, message) => missing(message) }));
  const { rows, findings } = joinKeysFile(
    own,
    file,
    environment,
    new Set(Object.keys(tiers)),
    clients.identify,
    missing,
  );
  const faults = findings.filter(({ severity }) => severity === 'error').map(formatFinding);
  if (faults.length > 0) return { ok: false, faults };
  const renewed = { ...configuration, clients: { ...clients, keys: rows } };
  return { ok: true, keys: rows, hash: configurationHash(renewed) };
}
