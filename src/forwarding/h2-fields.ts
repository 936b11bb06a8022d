import { isHopByHop } from './field-names.ts';

/**
 * A request's header section as HTTP/2 writes it, and an answer's as HTTP/1.1 would have read it.
 *
 * The pseudo-fields stand first; `:authority` is what `Host` would have been, and there is no second word about it. Names
 * are small. Fields of a connection have no meaning here and make the message malformed, `TE` excepted where it says that
 * trailers are welcome, which gRPC asks for. RFC 9113 §8.2.2, §8.3.1.
 */

/**
 * @param headers flat, as for HTTP/1.1, `host` among them
 * @returns a new flat list
 */
export function h2RequestFields(
  headers: readonly string[],
  method: string,
  path: string,
  scheme: 'http' | 'https',
): string[] {
  const list = [':method', method, ':scheme', scheme, ':authority', '', ':path', path];
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const name = (headers[index] ?? '').toLowerCase();
    const value = headers[index + 1] ?? '';
    if (name === 'host') list[5] = value;
    else if (!isHopByHop(name) || (name === 'te' && value === 'trailers')) list.push(name, value);
  }
  return list;
}

/** The fields of a section that came, without those that only HTTP/2 has. */
export function plainFields(raw: readonly string[]): readonly string[] {
  let start = 0;
  while (start < raw.length && raw[start]?.charCodeAt(0) === COLON) start += 2;
  return start === 0 ? raw : raw.slice(start);
}

const COLON = 58;
