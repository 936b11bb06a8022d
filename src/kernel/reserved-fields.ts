/**
 * Header fields that no route may change: those that frame a message or belong to one connection, and those that only
 * the gateway may speak. The configuration refuses them with a position, the compiled changes refuse them again.
 *
 * Others a route may take out, so that a stranger's service learns less, but not set: they tell an instance what the gateway
 * saw of this request, several of them the same thing. One that is fixed would contradict its twin (`X-Forwarded-Proto`
 * and `Forwarded`), and what two readers could read differently is refused (forwarding.md §3).
 */

const RESERVED: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  // Without it a loop of gateways is not seen.
  'via',
  // By these a request is found again, and an instance knows how long it has.
  'x-request-deadline-ms',
  'x-request-id',
]);

/** Of a request; in an answer they mean nothing. */
const OBSERVED: ReadonlySet<string> = new Set([
  'forwarded',
  'traceparent',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-real-ip',
]);

/** Whether a field of a request tells what the gateway saw. @param lowered its name in small letters */
export function isObservedField(lowered: string): boolean {
  return OBSERVED.has(lowered);
}

/** @param lowered a field's name in small letters */
export function isReservedField(lowered: string): boolean {
  return RESERVED.has(lowered) || lowered.startsWith('x-spillway-');
}
