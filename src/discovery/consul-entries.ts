import { instanceOrigin, MOST_INSTANCES, type Found } from './source.ts';

/**
 * Consul's view of a service (`/v1/health/service/NAME`) as instances.
 *
 * All entries are asked for, not only those that pass: a critical check is one agent's view of an instance, of which our own
 * probes have a better one, so it decides nothing; an agent that loses its network calls everybody critical. *Warning* weighs
 * what the service says it weighs then; *maintenance*, of the service or its node, is an operator's word: leaving. A service
 * without an address has its node's.
 */

type Fields = Readonly<Record<string, unknown>>;

/** What a release may be called, as in the configuration. */
const VERSION = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** @throws Error when the answer is no list of entries */
export function instancesOfEntries(entries: unknown, scheme: string): Found[] {
  if (!Array.isArray(entries)) throw new Error('the answer is no list of entries');
  if (entries.length > MOST_INSTANCES) throw new Error(`more than ${MOST_INSTANCES} entries`);
  return entries.map((entry: unknown) => instanceOf(entry, scheme));
}

/**
 * From where the next question waits for something newer: 0 does not wait. An index that falls is that of another server,
 * after which waiting for the old one would be blindness (Consul, "Blocking Queries").
 */
export function nextIndex(current: number, header: string | undefined): number {
  const index = header === undefined || !/^\d{1,15}$/.test(header) ? 0 : Number(header);
  return index < current ? 0 : index;
}

function instanceOf(entry: unknown, scheme: string): Found {
  const node = fieldsOf(fieldsOf(entry)['Node']);
  const service = fieldsOf(fieldsOf(entry)['Service']);
  const host = textOf(service['Address']) === '' ? textOf(node['Address']) : textOf(service['Address']);
  const url = instanceOrigin(scheme, host, Number(service['Port']));
  // A row that is left out would be an instance that is taken away.
  if (url === undefined) throw new Error(`the entry ${textOf(service['ID'])} has no address and port`);
  const checks = listOf(fieldsOf(entry)['Checks']).map(fieldsOf);
  const critical = checks.filter(({ Status }) => Status === 'critical');
  // Maintenance is a check that fails by order: it says nothing of how the instance is.
  const failing = critical.filter(({ CheckID }) => !isMaintenance(textOf(CheckID)));
  const isWarning = failing.length === 0 && checks.some(({ Status }) => Status === 'warning');
  const weights = fieldsOf(service['Weights']);
  const weight = Number(isWarning ? weights['Warning'] : weights['Passing']);
  const version = textOf(fieldsOf(service['Meta'])['version']);
  return {
    uid: `${textOf(node['Node'])}/${textOf(service['ID'])}`,
    url,
    version: VERSION.test(version) ? version : '',
    weight: weight > 0 && weight <= 65_535 ? weight : 1,
    leaving: failing.length < critical.length,
    readyHint: failing.length > 0 ? 'unknown' : 'ready',
  };
}

function isMaintenance(check: string): boolean {
  return check === '_node_maintenance' || check.startsWith('_service_maintenance');
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
