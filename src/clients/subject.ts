/**
 * The subject of a certificate as one line.
 *
 * Node gives a distinguished name as OpenSSL prints it over several lines, the widest part first: `C=DE`, `O=Acme`,
 * `CN=shop`, a line each, with commas, `\`, `+`, quotes and what no line could hold escaped. Here it is written as RFC 4514 does,
 * the narrowest first and commas between: `CN=shop,O=Acme,C=DE`, which is also what nginx and OpenSSL (`-nameopt
 * RFC2253`) show. Escapes stay as they are, so two subjects never look alike. One that is longer than a client's name may
 * be names nobody, like a token's: it would be kept, and sent to instances and logs, as long as it is.
 */
import { MOST_NAME_CHARS } from './client-name.ts';

/**
 * @param lines as `X509Certificate.subject` has them; '' for none
 * @returns '' when it names nobody
 */
export function oneLineName(lines: string): string {
  const name = lines
    .split('\n')
    .filter((line) => line !== '')
    .toReversed()
    .join(',');
  return name.length > MOST_NAME_CHARS ? '' : name;
}
