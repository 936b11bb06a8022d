/**
 * Header fields that no route may change: those that frame a message or belong to one connection, and those that only
 * the gateway may speak. The configuration refuses them with a position, the compiled changes refuse them again.
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

/** @param lowered a field's name in small letters */
export function isReservedField(lowered: string): boolean {
  return RESERVED.has(lowered) || lowered.startsWith('x-spillway-');
}
