/**
 * Whether only this machine can reach an address to listen on: what may go without a token.
 * @param host an IP literal without brackets, or `localhost`
 */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}
