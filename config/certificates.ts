/**
 * Certificates and keys that cannot be used are faults of the configuration, found before anything is started: a listener
 * whose key does not belong to its certificate would be deaf, an instance's authority that cannot be read unreachable.
 *
 * Works on what is written, not on what the schema made of it, so that a fault elsewhere hides none of these. Files are only
 * read here; the supervisor reads those of listeners again when they are renewed on disk (`io/certificate-files.ts`), the
 * workers those of services with the next reload.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { certificateNames } from '../src/kernel/certificate-names.ts';
import type { Finding, Path } from './findings.ts';
import type { Source } from './source.ts';
import { listOf, treeOf } from './tree.ts';

/** @param source with absolute paths, as `resolveFiles` leaves it. */
export function checkCertificates(source: Source): Finding[] {
  const root = treeOf(source.value);
  const findings: Finding[] = [];
  for (const [index, listener] of listOf(root['listeners']).entries()) {
    const { certificates, clientCa } = treeOf(treeOf(listener)['tls']);
    /** Who shows it, by name. */
    const shown = new Map<string, number>();
    for (const [at, pair] of listOf(certificates).entries()) {
      const path = ['listeners', index, 'tls', 'certificates', at];
      findings.push(...checkPair(source, path, pair));
      const { cert } = treeOf(pair);
      const hidden = (isWritten(cert) ? namesOf(cert) : []).flatMap((name) => hiddenBy(shown, name, at));
      if (hidden.length > 0) findings.push(source.find('warning', path, neverShown(hidden)));
    }
    if (isWritten(clientCa))
      findings.push(...checkPart(source, ['listeners', index, 'tls', 'clientCa'], 'ca', clientCa).findings);
  }
  const redisCa = treeOf(treeOf(root['redis'])['tls'])['ca'];
  if (isWritten(redisCa)) findings.push(...checkPart(source, ['redis', 'tls', 'ca'], 'ca', redisCa).findings);
  for (const [name, service] of Object.entries(treeOf(root['services']))) {
    const { tls, discovery } = treeOf(service);
    const path = ['services', name, 'tls'];
    findings.push(...checkPair(source, path, tls));
    const { ca } = treeOf(tls);
    if (isWritten(ca)) findings.push(...checkPart(source, [...path, 'ca'], 'ca', ca).findings);
    for (const kind of ['kubernetes', 'consul']) {
      const { ca: own } = treeOf(treeOf(discovery)[kind]);
      const place = ['services', name, 'discovery', kind, 'ca'];
      if (isWritten(own)) findings.push(...checkPart(source, place, 'ca', own).findings);
    }
  }
  return findings;
}

interface Hidden {
  readonly name: string;
  /** The certificate that is shown. */
  readonly first: number;
}

/** Takes the name for a certificate, unless an earlier one has it: SNI finds the first of them, whatever its kind of key. */
function hiddenBy(shown: Map<string, number>, name: string, at: number): Hidden[] {
  const first = shown.get(name) ?? at;
  shown.set(name, first);
  return first === at ? [] : [{ name, first }];
}

/** In a message a name or two tell which certificate it is; one for a whole company has a hundred. */
const MOST_NAMED = 2;

function neverShown(hidden: readonly Hidden[]): string {
  const told = hidden
    .slice(0, MOST_NAMED)
    .map(({ name, first }) => `\`${name}\`, which certificates[${first}] has too`);
  const more = hidden.length - told.length;
  return `never shown for ${told.join(', and for ')}${more > 0 ? `, and for ${more} more` : ''}`;
}

/** None for what is no certificate, which is told elsewhere. */
function namesOf(cert: string): readonly string[] {
  const pem = readPart(cert);
  if (typeof pem === 'string') return [];
  try {
    const { subjectAltName, subject } = new X509Certificate(pem);
    return certificateNames(subjectAltName, subject);
  } catch {
    return [];
  }
}

function isWritten(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

/** A half that is missing or of the wrong kind is the schema's fault to tell. */
function checkPair(source: Source, path: Path, pair: unknown): Finding[] {
  const { cert, key } = treeOf(pair);
  if (!isWritten(cert) || !isWritten(key)) return [];
  const certificate = checkPart(source, [...path, 'cert'], 'cert', cert);
  const secret = checkPart(source, [...path, 'key'], 'key', key);
  const findings = [...certificate.findings, ...secret.findings];
  if (certificate.pem === undefined || secret.pem === undefined || findings.length > 0) return findings;
  const fault = rejected({ cert: certificate.pem, key: secret.pem });
  return fault === ''
    ? []
    : [source.find('error', [...path, 'key'], `does not belong to the certificate: ${fault}`)];
}

function checkPart(
  source: Source,
  path: Path,
  kind: 'ca' | 'cert' | 'key',
  value: string,
): { readonly pem: Buffer | undefined; readonly findings: readonly Finding[] } {
  const pem = readPart(value);
  if (typeof pem === 'string')
    return { pem: undefined, findings: [source.find('error', path, `cannot be read: ${pem}`)] };
  // As an authority TLS takes a file without any certificate in silence, and then trusts nobody.
  const fault = (kind === 'ca' ? notCertificate(pem) : '') || rejected({ [kind]: pem });
  return {
    pem,
    findings: fault === '' ? [] : [source.find('error', path, `is no PEM that can be used: ${fault}`)],
  };
}

/** The bytes, or why they cannot be had. */
function readPart(value: string): Buffer | string {
  if (value.startsWith('-----BEGIN')) return Buffer.from(value);
  try {
    return readFileSync(value);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function notCertificate(pem: Buffer): string {
  try {
    return new X509Certificate(pem).raw.length > 0 ? '' : 'it is empty';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** What TLS says against it; empty when nothing. */
function rejected(options: SecureContextOptions): string {
  try {
    createSecureContext(options);
    return '';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
