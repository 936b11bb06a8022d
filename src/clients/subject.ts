/**
 * The subject of a certificate as one line.
 *
 * Node gives a distinguished name as OpenSSL prints it over several lines, the widest part first: `C=DE`, `O=Acme`,
 * `CN=shop`, a line each, with commas, `\`, `+`, quotes and what no line could hold escaped. Here it is written as RFC 4514 does,
 * the narrowest first and commas between: `CN=shop,O=Acme,C=DE`, which is also what nginx and OpenSSL (`-nameopt
 * RFC2253`) show. Escapes stay as they are, so two subjects never look alike.
 */

/** @param lines as `X509Certificate.subject` has them; '' for none */
export function oneLineName(lines: string): string {
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .toReversed()
    .join(',');
}
