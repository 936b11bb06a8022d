import type { Expectation } from './expectations.ts';
import { fieldOf, type StrictRequest } from './strict-parser.ts';

/** The words in which the cases of the classes are written. */

export type Case = readonly [name: string, raw: string, expectation: Expectation];

export const HOST = 'Host: a.example\r\n';
export const OPEN = { closes: false };
/** Served as what it is, or refused. */
export const EITHER: Expectation = { statuses: [200, 400], closes: false, upstream: 'either' };
export const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n';

export function get(path: string, ...fields: readonly string[]): string {
  return `GET ${path} HTTP/1.1\r\n${HOST}${fields.map((each) => `${each}\r\n`).join('')}\r\n`;
}

export function post(body: string, ...fields: readonly string[]): string {
  return `POST /ok HTTP/1.1\r\n${HOST}${fields.map((each) => `${each}\r\n`).join('')}\r\n${body}`;
}

export function chunks(body: string): string {
  return post(body, 'Transfer-Encoding: chunked');
}

/** The framing fields of what went up are the one we wrote. */
function framedOnce(request: StrictRequest): string {
  const odd = request.fields
    .map(([name]) => name)
    .filter(
      (name) =>
        /content.*length|transfer.*encoding/.test(name) && !/^(content-length|transfer-encoding)$/.test(name),
    );
  return odd.join(', ');
}

export function body(wanted: string) {
  return (request: StrictRequest): string =>
    request.body === wanted ? framedOnce(request) : `body ${JSON.stringify(request.body)}`;
}

export function field(name: string, wanted: string | undefined) {
  return (request: StrictRequest): string => {
    const value = fieldOf(request, name);
    return value === wanted ? '' : `${name} is ${value} instead of ${wanted}`;
  };
}
