/**
 * Where the instances of a service are: listed, or found (upstreams.md §7).
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { count, name, path, pem, secret, text, word } from './units-schema.ts';

const instanceUrl = z
  .string()
  .transform((value, context): string => {
    const refuse = (message: string): never => {
      context.issues.push({ code: 'custom', input: value, message });
      return z.NEVER;
    };
    if (!/^https?:\/\//.test(value) || !URL.canParse(value)) {
      return refuse('not the address of an instance: write it as http://host:port or https://host:port');
    }
    const url = new URL(value);
    if (url.port === '0') return refuse('no instance listens on port 0');
    if (url.username !== '' || url.password !== '')
      return refuse('an instance address holds no user name or password');
    if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
      return refuse('an instance is an address without a path: `rewrite` on a route changes paths');
    }
    return url.origin;
  })
  .meta({ 'x-type': 'URL' });

/** One entry of `instances`: always `{ url, version, weight }` afterwards. */
export const instance = z
  .union([
    instanceUrl.transform((url) => ({ url, version: '', weight: 1 })),
    z.strictObject({
      url: instanceUrl.describe('scheme, host and port'),
      version: z
        .union([z.literal(''), name()])
        .prefault('')
        .meta({ 'x-type': 'name' })
        .describe('the release it runs'),
      weight: z
        .number()
        .positive()
        .max(1000)
        .prefault(1)
        .meta({ 'x-type': 'number' })
        .describe('its share compared with the others'),
    }),
  ])
  .meta({ 'x-type': 'URL or `{ url, version, weight }`' });

/** A name server: an address, with a port where it is not 53. */
const nameServer = z
  .string()
  .refine(isNameServer, {
    error: 'not a name server: write an address such as 10.0.0.2, 10.0.0.2:5353 or [fd00::2]:53',
  })
  .meta({ 'x-type': 'address' });

function isNameServer(value: string): boolean {
  if (isIP(value) !== 0) return true;
  const [, six, four, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(value) ?? [];
  const isAddress = six === undefined ? isIP(four ?? '') === 4 : isIP(six) === 6;
  return isAddress && (port === undefined || (Number(port) >= 1 && Number(port) <= 65_535));
}

/** Where a source of instances is asked. */
function apiUrl() {
  return z.url({ protocol: /^https?$/ }).meta({ 'x-type': 'URL' });
}

/** Where instances come from, when they are not listed. */
export const discovery = z.strictObject({
  dns: z
    .strictObject({
      name: text('host name').describe('the name to resolve'),
      type: word(['A', 'AAAA', 'SRV']).prefault('A').describe('the record asked for'),
      port: count(1, 65_535)
        .nullable()
        .prefault(null)
        .describe("port of the instances, unless SRV says it; left out, the scheme's"),
      scheme: word(['http', 'https']).prefault('http').describe('how the instances are spoken to'),
      servers: z
        .array(nameServer)
        .prefault([])
        .describe("the name servers to ask, in this order; empty, the system's"),
    })
    .nullable()
    .prefault(null)
    .describe('instances are the records of a name'),
  kubernetes: z
    .strictObject({
      namespace: name().nullable().prefault(null).describe("the namespace; left out, the gateway's own"),
      service: name().describe('the Kubernetes service'),
      port: z
        .union([count(1, 65_535), name()])
        .nullable()
        .prefault(null)
        .meta({ 'x-type': 'port' })
        .describe('port number or name; left out, the only one'),
      scheme: word(['http', 'https']).prefault('http').describe('how the instances are spoken to'),
      url: apiUrl()
        .nullable()
        .prefault(null)
        .describe('the API server; left out, that of the cluster that the gateway runs in'),
      token: secret()
        .nullable()
        .prefault(null)
        .describe(
          "what it is asked with; without a `url` the service account's, read again at each question",
        ),
      ca: pem()
        .nullable()
        .prefault(null)
        .describe(
          'who signed its certificate; left out, a public authority, without a `url` that of the service account',
        ),
    })
    .nullable()
    .prefault(null)
    .describe('instances are the EndpointSlices of a service'),
  consul: z
    .strictObject({
      url: apiUrl().prefault('http://127.0.0.1:8500').describe('the agent'),
      service: text().describe('the service in the catalogue'),
      tag: text().nullable().prefault(null).describe('only entries with this tag'),
      token: secret().nullable().prefault(null).describe('ACL token'),
      ca: pem()
        .nullable()
        .prefault(null)
        .describe('who signed its certificate; left out, a public authority'),
      scheme: word(['http', 'https']).prefault('http').describe('how the instances are spoken to'),
    })
    .nullable()
    .prefault(null)
    .describe('instances are those of a Consul service'),
  file: path().nullable().prefault(null).describe('instances are listed in a file, which is watched'),
  emptySet: word(['keep', 'apply'])
    .prefault('keep')
    .describe('an answer that is empty, or lacks most instances: a fault, or the truth'),
  stateDir: path().nullable().prefault(null).describe('where the last good set is kept for a restart'),
});
