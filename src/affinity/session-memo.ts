import { stripCookie, type CookieReading, type SessionCookies } from './session-cookie.ts';

/**
 * What the last `Cookie` of a connection said of its session: a caller sends the same with each request, and comparing two
 * strings costs a tenth of finding, verifying and cutting out a cookie. Only a good pin is kept; its times are looked at
 * each time.
 */
export class SessionMemo {
  #header = '';
  #cookies: SessionCookies | undefined = undefined;
  #reading: CookieReading | undefined = undefined;
  #rest: string | undefined = undefined;

  /** As `SessionCookies.read`. */
  read(cookies: SessionCookies, header: string, nowWallMs: number): CookieReading {
    if (
      header === '' ||
      cookies !== this.#cookies ||
      header !== this.#header ||
      this.#reading === undefined
    ) {
      this.#reading = undefined;
      this.#rest = undefined;
    } else if (cookies.lives(this.#reading, nowWallMs)) return this.#reading;
    const reading = cookies.read(header, nowWallMs);
    if (reading.result !== 'hit') return reading;
    this.#header = header;
    this.#cookies = cookies;
    this.#reading = reading;
    return reading;
  }

  /** As `stripCookie`. */
  rest(header: string, name: string): string {
    if (this.#reading === undefined || header !== this.#header) return stripCookie(header, name);
    this.#rest ??= stripCookie(header, name);
    return this.#rest;
  }
}
