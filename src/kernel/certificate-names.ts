/**
 * The names under which a certificate is shown: those of its `subjectAltName`, and only without any the common name, as
 * old certificates of one's own have it (RFC 9525 §1.3 ended that for those who verify; who shows is free to).
 */

/**
 * @param subjectAltName as node tells it, `DNS:a.example, DNS:*.b.example, IP Address:…`; undefined: none
 * @param subject its parts one a line
 * @returns lower case; wildcards as they stand
 */
export function certificateNames(subjectAltName: string | undefined, subject: string): readonly string[] {
  const names = (subjectAltName ?? '')
    .split(', ')
    .flatMap((name) => (name.startsWith('DNS:') ? [name.slice(4)] : []));
  const common = /^CN=(.+)$/m.exec(subject)?.[1];
  return (names.length > 0 || common === undefined ? names : [common]).map((name) => name.toLowerCase());
}
