/**
 * How callers are recognised, as far as the schema of one field cannot say it: where a token's keys come from, whether they
 * are keys that verify, and whether any listener asks for the certificates that are to name clients.
 */
import { createPublicKey } from 'node:crypto';
import { isLoopback } from '../src/kernel/loopback.ts';
import { algorithmsOf, allNames } from '../src/kernel/signature-key.ts';
import { jwt } from './client-schema.ts';
import type { Finding, Path } from './findings.ts';
import { isGiven, meantKeys, readable } from './readable.ts';
import type { Source } from './source.ts';
import { isTree, listOf, placed, treeOf } from './tree.ts';

/** RFC 7518 §3.3, and the library refuses less. */
const LEAST_RSA_BITS = 2048;

type Report = (severity: Finding['severity'], path: Path, message: string) => void;

export function checkIdentity(source: Source): Finding[] {
  const root = treeOf(source.value);
  const findings: Finding[] = [];
  const report: Report = (severity, path, message) => findings.push(source.find(severity, path, message));
  const asksForCertificates = placed(root, 'listeners').some(({ value }) =>
    isGiven(treeOf(treeOf(value)['tls']), 'clientCa'),
  );
  const issuers = new Set<string>();
  listOf(treeOf(root['clients'])['identify']).forEach((entry, index) => {
    const path: Path = ['clients', 'identify', index];
    if (isGiven(treeOf(entry), 'mtls') && !asksForCertificates)
      report(
        'warning',
        [...path, 'mtls'],
        'names nobody: no listener asks for certificates (`tls.clientCa`)',
      );
    const written = treeOf(entry)['jwt'];
    if (!isTree(written)) return;
    checkJwt(written, [...path, 'jwt'], report);
    const { header, issuer } = readable(jwt, written);
    if (header === undefined || issuer === undefined) return;
    const who = JSON.stringify([header.toLowerCase(), issuer]);
    if (issuers.has(who))
      report(
        'error',
        [...path, 'jwt', 'issuer'],
        'has an entry for the same header before: a token is verified by one of them only',
      );
    issuers.add(who);
  });
  return findings;
}

function checkJwt(written: Readonly<Record<string, unknown>>, path: Path, report: Report): void {
  const meant = meantKeys(jwt, written);
  if (meant.has('jwksUrl') === meant.has('keys'))
    report('error', path, 'needs exactly one of `jwksUrl` and `keys`');
  const { jwksUrl, keys, algorithms } = readable(jwt, written);
  if (typeof jwksUrl === 'string') checkUrl(new URL(jwksUrl), [...path, 'jwksUrl'], report);
  if (keys === null || keys === undefined) return;
  if (keys.length === 0) report('error', [...path, 'keys'], 'no key: no token could be verified');
  const idle = keys.map((key) => whyIdle(key, algorithms));
  // Beside one that verifies it is only of no use; copied key sets have such keys.
  const severity = idle.includes('') ? 'warning' : 'error';
  keys.forEach((key, index) => {
    const place = [...path, 'keys', index];
    const fault = faultOfKey(key);
    if (fault !== '') report('error', place, fault);
    else if (idle[index]) report(severity, place, `${idle[index]}: no token is verified with it`);
  });
}

function checkUrl({ protocol, username, password, hostname }: URL, path: Path, report: Report): void {
  if (protocol !== 'https:' && protocol !== 'http:') report('error', path, 'is no http or https address');
  else if (username !== '' || password !== '') report('error', path, 'holds a name or a password');
  else if (protocol === 'http:' && !isLoopback(hostname.replace(/^\[|\]$/g, '')))
    report('warning', path, 'is not encrypted: whoever is on the way can forge tokens');
}

/** Why tokens with these signatures never meet the key; '' if they may. */
function whyIdle(key: Readonly<Record<string, unknown>>, algorithms?: readonly string[]): string {
  const { use, key_ops: operations } = key;
  if (use !== undefined && use !== 'sig') return 'is not for signatures (`use`)';
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    return 'is not for verifying (`key_ops`)';
  const able = algorithmsOf(key);
  if (able.length === 0) return 'is of a type, curve or `alg` that no signature is made with here';
  const fits = algorithms === undefined || allNames(algorithms).some((each) => able.includes(each));
  return fits ? '' : 'is of a type, curve or `alg` for none of `algorithms`';
}

/** A key that verifies signatures, and nothing secret. */
function faultOfKey(key: Readonly<Record<string, unknown>>): string {
  if (key['kty'] === 'oct')
    return 'is a shared secret: whoever verifies with it could sign, so it is never accepted';
  if ('d' in key) return 'is a private key: only its public members belong here';
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = createPublicKey({ key, format: 'jwk' });
    const bits = asymmetricKeyDetails?.modulusLength ?? LEAST_RSA_BITS;
    if (asymmetricKeyType === 'rsa' && bits < LEAST_RSA_BITS) return `has less than ${LEAST_RSA_BITS} bits`;
    return '';
  } catch {
    return 'is no public key (JWK)';
  }
}
