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
import { clientKey } from './client-schema.ts';
import { checkCombinations } from './combinations.ts';
import { readErrorPage } from './error-page.ts';
import { checkFigures } from './figures.ts';
import { readText, resolveFiles } from './files.ts';
import { sortFindings } from './findings.ts';
import type { Finding } from './findings.ts';
import { checkHeaderChanges } from './header-changes.ts';
import { hostNames } from './host-names.ts';
import type { HostName } from './host-names.ts';
import { configurationHash } from './hash.ts';
import { checkIdentity } from './identity.ts';
import { findingsOf, OWN_WORDS } from './issues.ts';
import { CONFIGURATION_NODE } from './json-schema.ts';
import { checkKeys, digested } from './keys.ts';
import type { DigestedKey, PlacedKey } from './keys.ts';
import { joinKeysFile } from './keys-again.ts';
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
      /** How many of `clients.keys`, the first, stand in the configuration itself; the others in its keys file. */
      readonly ownKeys: number;
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
      ...checkIdentity(source),
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
  const clients = { ...result.data.clients, keys: keys.rows };
  return judged(findings, names, { ...result.data, clients, errorPage: own.page }, keys.own);
}

function placeOf(finding: Finding): string {
  return `${finding.line}:${finding.column}`;
}

function judged(
  findings: readonly Finding[],
  names: readonly HostName[] = [],
  configuration?: Configuration,
  ownKeys = 0,
): Loaded {
  const faults = sortFindings(findings.filter((finding) => finding.severity === 'error'));
  const warnings = sortFindings(findings.filter((finding) => finding.severity === 'warning'));
  if (faults.length > 0 || configuration === undefined) return { ok: false, faults, warnings, names };
  return { ok: true, configuration, warnings, names, hash: configurationHash(configuration), ownKeys };
}

/** The rows of `clients.keys`, then those of the keys file; each is judged by what of it can be read. */
function collectKeys(
  source: Source,
  environment: Environment,
): { rows: DigestedKey[]; own: number; findings: Finding[] } {
  const { keys, keysFile, identify } = treeOf(treeOf(source.value).clients);
  const own = listOf(keys).map((entry, index): PlacedKey => ({
    row: readable(clientKey, entry),
    find: (key, message) => source.find('error', ['clients', 'keys', index, key], message),
  }));
  if (typeof keysFile !== 'string' || keysFile === '')
    return { rows: digested(own), own: own.length, findings: checkKeys(own, identify) };
  const tiers = new Set(Object.keys(treeOf(treeOf(source.value).tiers)));
  const missing = (message: string): Finding => source.find('error', ['clients', 'keysFile'], message);
  const { rows, findings } = joinKeysFile(own, keysFile, environment, tiers, identify, missing);
  return { rows, own: own.length, findings };
}
