/**
 * Which octets may stand in a field's name and value (RFC 9110 §5.1, §5.5).
 *
 * Names are tokens. Values hold visible characters, space, tab and obs-text (0x80 and above, passed as bytes); every other
 * control character is where two readers part. One table, one look an octet; characters are octets here (latin-1).
 */

const TOKEN = 1;
const VALUE = 2;

const KIND: Uint8Array = kinds();

function kinds(): Uint8Array {
  const table = new Uint8Array(256);
  for (let code = 0x21; code < 0x7f; code++) table[code] = VALUE;
  for (let code = 0x80; code < 0x100; code++) table[code] = VALUE;
  table[0x20] = VALUE;
  table[0x09] = VALUE;
  for (const char of "!#$%&'*+-.^_`|~") table[char.charCodeAt(0)] = VALUE | TOKEN;
  for (let code = 0x30; code <= 0x39; code++) table[code] = VALUE | TOKEN;
  for (let code = 0x41; code <= 0x5a; code++) table[code] = table[code + 32] = VALUE | TOKEN;
  return table;
}

/** Whether `text[from, to)` holds a character that no token has. */
export function tokenFault(text: string, from: number, to: number): boolean {
  for (let at = from; at < to; at++) {
    if (((KIND[text.charCodeAt(at)] ?? 0) & TOKEN) === 0) return true;
  }
  return false;
}

/** Whether `text[from, to)` holds a character that no field value has. */
export function fieldFault(text: string, from: number, to: number): boolean {
  for (let at = from; at < to; at++) {
    if (((KIND[text.charCodeAt(at)] ?? 0) & VALUE) === 0) return true;
  }
  return false;
}
