/**
 * A route: which requests it takes, where they go, and what is special about them (forwarding.md §3).
 *
 * The path is compared with the normal form of the request's path, so a path that is not in normal form could never
 * match and is refused here.
 */
import { z } from 'zod';
import { PRIORITIES } from '../src/kernel/priority.ts';
import { isObservedField, isReservedField } from '../src/kernel/reserved-fields.ts';
import { guard, quota } from './limit-schema.ts';
import { count, duration, flag, headerName, name, text, token, word } from './units-schema.ts';

const changedHeader = headerName().superRefine((value, context) => {
  if (isReservedField(value)) {
    context.addIssue({
      code: 'custom',
      message: `\`${value}\` belongs to the gateway and cannot be changed by a route`,
    });
  }
});

/** RFC 9110 field value without the controls that could end the line. */
const headerValue = z
  .string()
  .regex(/^[\t\x20-\x7e\x80-\xff]*$/, {
    error: 'holds a control character or one beyond U+00FF, which no header may',
  })
  .meta({ 'x-type': 'text' });

const setForInstance = changedHeader.superRefine((value, context) => {
  if (isObservedField(value)) {
    context.addIssue({
      code: 'custom',
      message: `\`${value}\` tells what the gateway saw and cannot be set, only removed; whose word counts says \`trust.proxies\``,
    });
  }
});

function headerChanges(set: typeof changedHeader) {
  return z.strictObject({
    set: z
      .record(set, headerValue)
      .prefault({})
      .describe("fields that are set, or replaced; not those that frame a message or are the gateway's own"),
    remove: z.array(changedHeader).prefault([]).describe('fields that are taken out'),
  });
}

function prefix(what: string) {
  return z
    .string()
    .superRefine((value, context) => {
      const fault = prefixFault(value);
      if (fault !== '') context.addIssue({ code: 'custom', message: `${what} ${fault}` });
    })
    .meta({ 'x-type': 'path' });
}

/** What is wrong with a path prefix, or ''. */
function prefixFault(value: string): string {
  if (!value.startsWith('/')) return 'begins with `/`';
  if (value.includes('*')) return 'is a prefix and needs no `*`: /assets/ takes everything below it';
  if (/[?#]/.test(value)) return 'has no `?` or `#`: queries never choose a route';
  if (!/^[\x21-\x7e]+$/.test(value)) return 'is printable ASCII: other characters are written as %XX';
  if (/\/\/|\\|(^|\/)\.\.?(\/|$)/.test(value)) return 'is in normal form: no `//`, `.`, `..` or `\\`';
  if (/%(?![0-9A-F]{2})/.test(value)) return 'writes %XX with two capital hex digits';
  return '';
}

const hostPattern = z
  .string()
  .regex(/^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$|^\[[0-9a-fA-F:.]+\]$/, {
    error: 'not a host: a name without port, or `*.example.com` for one label before it',
  })
  .transform((value) => value.toLowerCase())
  .meta({ 'x-type': 'host name' });

export const route = z.strictObject({
  path: prefix('a path').describe('the longest prefix that fits wins'),
  service: name().describe('where the requests go'),
  host: hostPattern
    .nullable()
    .prefault(null)
    .describe('only requests to this host; `*.example.com` takes one label'),
  methods: z
    .array(token('a method').transform((value) => value.toUpperCase()))
    .min(1)
    .nullable()
    .prefault(null)
    .describe('only these methods; others are 405'),
  match: z
    .strictObject({
      headers: z.record(headerName(), text()).prefault({}).describe('fields and the values they must have'),
    })
    .prefault({})
    .describe('further conditions'),
  rewrite: prefix('a rewrite')
    .nullable()
    .prefault(null)
    .describe(
      'replaces the prefix on the way to the instance; a Location that names the instance gets the prefix back, a relative one is passed as it is',
    ),
  priority: word(PRIORITIES)
    .nullable()
    .prefault(null)
    .describe("a request has the higher of this and its tier's; left out, its tier's"),
  cost: count(0, 1_000_000).prefault(1).describe('units a request takes from every limit'),
  timeout: duration().nullable().prefault(null).describe("instead of the service's `timeout.request`"),
  limits: z
    .strictObject({
      perClient: quota().nullable().prefault(null).describe('for each client at this route'),
      total: quota().nullable().prefault(null).describe('for all clients at this route together'),
    })
    .prefault({})
    .describe('limits of this route, besides those of tiers and front door'),
  guard: guard
    .nullable()
    .prefault(null)
    .describe('blocks a client that fails too often, against password guessing'),
  headers: z
    .strictObject({
      request: headerChanges(setForInstance).prefault({}).describe('on the way to the instance'),
      response: headerChanges(changedHeader).prefault({}).describe('on the way back'),
    })
    .prefault({})
    .describe('fields that are changed'),
  encodedSlash: word(['reject', 'pass'])
    .prefault('reject')
    .describe('`%2F` in a path: 400, or passed on as it is'),
  allowBody: flag().prefault(false).describe('GET and HEAD may bring a body'),
});
