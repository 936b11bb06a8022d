/**
 * Which request ids of a trusted peer are taken over: `^[A-Za-z0-9._-]{8,64}$`. Shorter ones collide, longer ones bloat
 * every log line, other characters would need escaping in logs, JSON and HTML.
 */
const SHORTEST = 8;
const LONGEST = 64;

export function isRequestId(text: string): boolean {
  if (text.length < SHORTEST || text.length > LONGEST) return false;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    const small = code | 32;
    const letter = small >= 97 && small <= 122;
    const digit = code >= 48 && code <= 57;
    if (!letter && !digit && code !== 45 && code !== 46 && code !== 95) return false;
  }
  return true;
}
