/**
 * Reads the two readiness documents in use: `application/health+json` (draft-inadarei-api-health-check) and Spring Boot's
 * `health`. Both have a word for the whole, and named parts with words of their own.
 *
 * The document comes from outside: names are cut and counted, depth is bounded, unknown words mean nothing.
 */

export interface ReadinessDocument {
  /** The word for the whole; undefined when there is none that is known. */
  readonly word: Word | undefined;
  /** Names of parts that fail, before their `:`, each once. */
  readonly failing: readonly string[];
  /** `output` or a note is exactly `draining`. */
  readonly draining: boolean;
  /** `serviceId`, or empty. */
  readonly serviceId: string;
}

export type Word = 'pass' | 'warn' | 'fail';

const WORDS: ReadonlyMap<string, Word> = new Map([
  ['pass', 'pass'],
  ['ok', 'pass'],
  ['up', 'pass'],
  ['warn', 'warn'],
  ['fail', 'fail'],
  ['error', 'fail'],
  ['down', 'fail'],
  ['out_of_service', 'fail'],
]);

/** More failing parts than this tell nobody more. */
const MAX_NAMES = 32;
const MAX_NAME_LENGTH = 64;
/** Spring nests composite components, in practice once. */
const MAX_DEPTH = 4;

/** @returns undefined when `value` is not a document: no object, or an array */
export function readDocument(value: unknown): ReadinessDocument | undefined {
  if (!isObject(value)) return undefined;
  const failing = new Set<string>();
  collectChecks(value['checks'], failing);
  collectComponents(value['components'], failing, MAX_DEPTH);
  const { output, notes, serviceId } = value;
  return {
    word: wordOf(value['status']),
    failing: [...failing],
    draining: output === 'draining' || (Array.isArray(notes) && notes.includes('draining')),
    serviceId: typeof serviceId === 'string' ? serviceId : '',
  };
}

function wordOf(value: unknown): Word | undefined {
  return typeof value === 'string' && value.length <= MAX_NAME_LENGTH
    ? WORDS.get(value.toLowerCase())
    : undefined;
}

/** `checks: { "postgres:latency": [{ "status": "fail" }] }`; one object instead of a list is common. */
function collectChecks(checks: unknown, failing: Set<string>): void {
  if (!isObject(checks)) return;
  for (const [key, entry] of Object.entries(checks)) {
    const parts: readonly unknown[] = Array.isArray(entry) ? entry : [entry];
    if (parts.some((part) => isObject(part) && wordOf(part['status']) === 'fail')) add(failing, key);
  }
}

/** `components: { "db": { "status": "DOWN", "components": { … } } }`. */
function collectComponents(components: unknown, failing: Set<string>, depth: number): void {
  if (depth === 0 || !isObject(components)) return;
  for (const [key, part] of Object.entries(components)) {
    if (!isObject(part)) continue;
    if (wordOf(part['status']) === 'fail') add(failing, key);
    collectComponents(part['components'], failing, depth - 1);
  }
}

function add(failing: Set<string>, key: string): void {
  const colon = key.indexOf(':');
  const name = (colon < 0 ? key : key.slice(0, colon)).slice(0, MAX_NAME_LENGTH);
  if (name !== '' && failing.size < MAX_NAMES) failing.add(name);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
