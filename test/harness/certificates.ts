/**
 * Certificates for tests, made by openssl as operators make theirs: an authority of the test's own and what it signs.
 * Elliptic keys, since those take milliseconds. Everything lies in the folder that is given.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

export interface CertificateFiles {
  /** Absolute paths of PEM files. */
  readonly cert: string;
  readonly key: string;
}

const KIND = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];

function make(folder: string, file: string, subject: string, more: readonly string[]): CertificateFiles {
  const cert = join(folder, `${file}.crt`);
  const key = join(folder, `${file}.key`);
  const args = ['req', '-x509', ...KIND, '-keyout', key, '-out', cert, '-subj', `/CN=${subject}`, ...more];
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  return { cert, key };
}

/** An authority; its certificate is what clients trust. */
export function makeAuthority(folder: string, file = 'authority'): CertificateFiles {
  return make(folder, file, file, ['-addext', 'keyUsage=critical,keyCertSign']);
}

/**
 * A certificate signed by the authority, good for `names` (`DNS:` is added) and for servers and clients alike.
 * @param subject its CN, and more behind a slash: `shop/O=Acme`
 */
export function issueCertificate(
  folder: string,
  authority: CertificateFiles,
  file: string,
  names: readonly string[],
  subject = file,
): CertificateFiles {
  return make(folder, file, subject, [
    '-CA',
    authority.cert,
    '-CAkey',
    authority.key,
    '-addext',
    'basicConstraints=critical,CA:FALSE',
    '-addext',
    `subjectAltName=${names.map((name) => `DNS:${name}`).join(',')}`,
  ]);
}
