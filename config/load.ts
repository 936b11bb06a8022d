/**
 * From a file to a configuration, or to everything that is wrong with it.
 *
 * 1. text → tree with positions, environment put in (`source.ts`) · 2. secrets read, paths made absolute (`files.ts`)
 * · 3. schema (`schema.ts`), names (`references.ts`), fields of one section (`combinations.ts`, `header-changes.ts`), figures
 * of several (`figures.ts`), keys (`keys.ts`), certificates (`certificates.ts`), each over all of it, so that one run finds
 * all faults · 4. warnings for what is not acted on (`not-yet.ts`).
 *
 * Nothing here throws for anything in a file. A fault that follows from another at the same place is not repeated.
 */
import { createHash } from 'node:crypto';
import type { z } from 'zod';
import { clientKey } from './client-schema.ts';
import { checkCombinations } from './combinations.ts';
import { readErrorPage } from './error-page.ts';
import { checkFigures } from './figures.ts';
import { readKeysFile, readText, resolveFiles } from './files.ts';
import { sortFindings } from './findings.ts';
import type { Finding } from './findings.ts';
import { checkHeaderChanges } from './header-changes.ts';
import { hostNames } from './host-names.ts';
import type { HostName } from './host-names.ts';
import { findingsOf, OWN_WORDS } from './issues.ts';
import { CONFIGURATION_NODE } from './json-schema.ts';
import { checkKeys, keyDigest } from './keys.ts';
import type { PlacedKey } from './keys.ts';
import { checkCertificates } from './certificates.ts';
import { checkNotYet } from './not-yet.ts';
import { checkReferences } from './references.ts';
import { configurationSchema } from './schema.ts';
import type { Configuration } from './schema.ts';
import { readable } from './readable.ts';
import { readSource } from './source.ts';
import type { Environment, Source } from './source.ts';
import { listOf, treeOf } from './tree.ts';

export type Loaded =
  | {
      readonly ok: true;
      readonly configuration: Configuration;
      readonly warnings: readonly Finding[];
      readonly names: readonly HostName[];
      /** 12 hex digits: equal for equal effective configurations, whatever their layout and comments. */
      readonly hash: string;
    }
  | {
      readonly ok: false;
      readonly faults: readonly Finding[];
      readonly warnings: readonly Finding[];
      readonly names: readonly HostName[];
    };

/** Reads and judges the file at `path`; relative paths in it are relative to it. */
export function loadConfiguration(path: string, environment: Environment): Loaded {
  const { text, reason } = readText(path);
  if (text !== null) return loadConfigurationText(text, path, environment);
  const message = `the configuration cannot be read: ${reason}`;
  const fault: Finding = {
    file: path,
    line: 1,
    column: 1,
    severity: 'error',
    path: '',
    message,
    suggestion: '',
  };
  return { ok: false, faults: [fault], warnings: [], names: [] };
}

/** As `loadConfiguration`, for a text that stands for the file `name`. */
export function loadConfigurationText(text: string, name: string, environment: Environment): Loaded {
  const read = readSource(text, name, environment, CONFIGURATION_NODE);
  if (!read.usable) return judged(read.findings);
  if (read.value === null) {
    const empty = read.find('error', [], 'the file is empty: it needs `listeners`, `services` and `routes`');
    return judged([...read.findings, empty]);
  }
  const resolved = resolveFiles(read);
  const source: Source = { ...read, value: resolved.value };
  const findings = [...read.findings, ...resolved.faults];
  const errors = findings.filter((finding) => finding.severity === 'error');
  const before = new Set(errors.map(placeOf));
  const unread = new Set(resolved.faults.map((fault) => fault.path));
  const fresh = (finding: Finding): boolean =>
    !before.has(placeOf(finding)) && !unread.has(`${finding.path}.file`);

  const result = configurationSchema.safeParse(source.value, OWN_WORDS);
  if (!result.success)
    findings.push(...findingsOf(result.error.issues, source, CONFIGURATION_NODE).filter(fresh));
  findings.push(
    ...[
      ...checkReferences(source),
      ...checkCombinations(source),
      ...checkHeaderChanges(source),
      ...checkFigures(source),
    ].filter(fresh),
    ...checkNotYet(source),
  );
  const keys = collectKeys(source, environment);
  findings.push(...keys.findings);
  findings.push(...checkCertificates(source).filter(fresh));
  const own = readErrorPage(source);
  findings.push(...own.findings);
  const names = hostNames(source);
  if (!result.success) return judged(findings, names);
  const clients = {
    ...result.data.clients,
    keys: keys.rows.map((row) => ({ key: keyDigest(row.key), client: row.client, tier: row.tier })),
  };
  return judged(findings, names, { ...result.data, clients, errorPage: own.page });
}

function placeOf(finding: Finding): string {
  return `${finding.line}:${finding.column}`;
}

function judged(
  findings: readonly Finding[],
  names: readonly HostName[] = [],
  configuration?: Configuration,
): Loaded {
  const faults = sortFindings(findings.filter((finding) => finding.severity === 'error'));
  const warnings = sortFindings(findings.filter((finding) => finding.severity === 'warning'));
  if (faults.length > 0 || configuration === undefined) return { ok: false, faults, warnings, names };
  return { ok: true, configuration, warnings, names, hash: configurationHash(configuration) };
}

/** The rows of `clients.keys`, then those of the keys file; each is judged by what of it can be read. */
function collectKeys(
  source: Source,
  environment: Environment,
): { rows: z.output<typeof clientKey>[]; findings: Finding[] } {
  const clients = treeOf(treeOf(source.value).clients);
  const { keys, keysFile } = clients;
  const findings: Finding[] = [];
  const placed: PlacedKey[] = [];
  listOf(keys).forEach((entry, index) => {
    placed.push({
      row: readable(clientKey, entry),
      find: (key, message) => source.find('error', ['clients', 'keys', index, key], message),
    });
  });
  if (typeof keysFile === 'string' && keysFile !== '') {
    const missing = (message: string): Finding => source.find('error', ['clients', 'keysFile'], message);
    const file = readKeysFile(keysFile, environment, missing);
    findings.push(...file.faults, ...file.warnings);
    file.keys.forEach((row, index) => {
      placed.push({
        row,
        find: (key, message) => file.source?.find('error', [index, key], message) ?? missing(message),
      });
    });
    findings.push(...unknownTiers(placed.slice(placed.length - file.keys.length), source));
  }
  findings.push(...checkKeys(placed));
  const rows = placed.flatMap(({ row: { key, client, tier } }) =>
    key === undefined || client === undefined || tier === undefined ? [] : [{ key, client, tier }],
  );
  return { rows, findings };
}

/** The tiers of the keys file; those of the configuration itself are judged by `references.ts`. */
function unknownTiers(keys: readonly PlacedKey[], source: Source): Finding[] {
  const tiers = treeOf(treeOf(source.value).tiers);
  return keys.flatMap(({ row: { tier }, find }) =>
    tier === undefined || tier === 'default' || Object.hasOwn(tiers, tier)
      ? []
      : [find('tier', `there is no tier \`${tier}\``)],
  );
}

function configurationHash(configuration: Configuration): string {
  const sorted = JSON.stringify(configuration, (_key, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
  return createHash('sha256').update(sorted).digest('hex').slice(0, 12);
}
