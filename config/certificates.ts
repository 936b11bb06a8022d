/**
 * Certificates and keys that cannot be used are faults of the configuration, found before anything is started: a listener
 * whose key does not belong to its certificate would be deaf, an instance's authority that cannot be read unreachable.
 *
 * Files are only read here; the workers read them again, so a certificate renewed on disk comes with the next reload.
 */
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import type { Finding, Path } from './findings.ts';
import type { Configuration } from './schema.ts';
import type { Source } from './source.ts';

export function checkCertificates(source: Source, { listeners, services }: Configuration): Finding[] {
  const findings: Finding[] = [];
  for (const [index, { tls }] of listeners.entries()) {
    for (const [at, pair] of (tls?.certificates ?? []).entries()) {
      findings.push(...checkPair(source, ['listeners', index, 'tls', 'certificates', at], pair));
    }
  }
  for (const [name, { tls }] of Object.entries(services)) {
    if (tls === null) continue;
    const path = ['services', name, 'tls'];
    if (tls.cert !== null && tls.key !== null) {
      findings.push(...checkPair(source, path, { cert: tls.cert, key: tls.key }));
    }
    if (tls.ca !== null) findings.push(...checkPart(source, [...path, 'ca'], 'ca', tls.ca).findings);
  }
  return findings;
}

function checkPair(
  source: Source,
  path: Path,
  { cert, key }: { readonly cert: string; readonly key: string },
): Finding[] {
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
  const fault = rejected({ [kind]: pem });
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

/** What TLS says against it; empty when nothing. */
function rejected(options: SecureContextOptions): string {
  try {
    createSecureContext(options);
    return '';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
