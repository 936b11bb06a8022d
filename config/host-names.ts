/**
 * The host names that a configuration relies on, with their places. Nothing is looked up here: `check` does that, since it
 * takes time and the network. Addresses are no names, and `localhost` never leaves the machine (RFC 6761 §6.3). Sources
 * that are not acted on yet (`not-yet.ts`) ask for nothing.
 */
import { isIP } from 'node:net';
import type { Finding, Path } from './findings.ts';
import type { Source } from './source.ts';
import { listOf, treeOf } from './tree.ts';

export interface HostName {
  readonly host: string;
  /** For a message: part of a secret is never shown, even where it is only the host. */
  readonly shown: string;
  /** A warning at the place of the name. */
  readonly doubt: (message: string) => Finding;
}

/** Every place of a name that has to be resolved before traffic can flow. */
export function hostNames(source: Source): HostName[] {
  const root = treeOf(source.value);
  const names: HostName[] = [];
  const add = (url: unknown, path: Path, shown?: string): void => {
    const host = hostOf(url);
    if (host === '') return;
    const doubt = (message: string): Finding => source.find('warning', path, message);
    names.push({ host, shown: shown ?? `\`${host}\``, doubt });
  };
  for (const [name, service] of Object.entries(treeOf(root['services']))) {
    listOf(treeOf(service)['instances']).forEach((entry, index) => {
      const path = ['services', name, 'instances', index];
      if (typeof entry === 'string') add(entry, path);
      else add(treeOf(entry)['url'], [...path, 'url']);
    });
  }
  add(treeOf(root['redis'])['url'], ['redis', 'url'], 'the host of this address');
  for (const key of ['sentinels', 'cluster']) {
    listOf(treeOf(root['redis'])[key]).forEach((node, index) => {
      add(`redis://${String(node)}`, ['redis', key, index]);
    });
  }
  return names;
}

/** Small letters; empty for addresses, for this machine, and for what is no URL. */
function hostOf(url: unknown): string {
  if (typeof url !== 'string' || !/^(https?|rediss?):\/\//.test(url) || !URL.canParse(url)) return '';
  const host = new URL(url).hostname.toLowerCase().replace(/\.$/, '');
  const bare = host.startsWith('[') ? host.slice(1, -1) : host;
  if (isIP(bare) !== 0 || bare === 'localhost' || bare.endsWith('.localhost')) return '';
  return bare;
}
