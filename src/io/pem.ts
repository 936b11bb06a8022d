import { readFileSync } from 'node:fs';

/**
 * A certificate or key as the configuration gives it: PEM text, or the path of a file that holds it.
 * @throws Error when the file cannot be read.
 */
export function readPem(value: string): Buffer {
  return value.startsWith('-----BEGIN') ? Buffer.from(value) : readFileSync(value);
}
