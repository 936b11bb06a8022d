import { X509Certificate, constants } from 'node:crypto';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import { certificateNames } from '../kernel/certificate-names.ts';

/**
 * What a TLS listener speaks, and which certificate it shows to whom.
 *
 * Versions 1.2 and 1.3 with the suites of Mozilla's *intermediate* list (forward secret and authenticated, all of them; the
 * order is the caller's, who knows whether it has AES in hardware), no renegotiation. For every certificate a context is
 * built beforehand, when a throw is an answer to an operator; a handshake only looks a name up in a Map: exact, then the
 * wildcard for one label, then the first certificate (an exception in Node's SNI callback would end the worker,
 * CVE-2026-21637). Every context has the authority for callers' certificates: OpenSSL takes it from the context that SNI
 * chose, and one without would trust all the world's authorities.
 */

/** Read from disk by the supervisor, the same in all workers; PEM text. */
export interface TlsMaterial {
  readonly certificates: readonly { readonly cert: string; readonly key: string }[];
  /** Empty: callers are not asked for a certificate. */
  readonly clientCa: string;
  /** 48 bytes, base64: a session that one worker began is resumed by any. */
  readonly ticketKeys: string;
  /** Why there is nothing to begin with; empty when there is. */
  readonly fault: string;
}

/** https://ssl-config.mozilla.org, intermediate; TLS 1.3 first. */
const SUITES = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** One for all listeners: what keeps their sessions apart is their ticket keys. */
const SESSION_CONTEXT = 'spillway';

/** The options of the first certificate, which is the server's own, and the contexts for names. */
export class TlsContexts {
  readonly first: SecureContextOptions;
  readonly #exact = new Map<string, SecureContext>();
  /** By what follows the star: `.example.com`. */
  readonly #wildcards = new Map<string, SecureContext>();
  readonly #fallback: SecureContext;
  /** By what they were built of. */
  readonly #built = new Map<string, SecureContext>();

  /**
   * @param before whose contexts are taken over where nothing of them has changed: a thousand cost a second to build
   * @throws Error when a certificate, key or authority cannot be used
   */
  constructor(material: TlsMaterial, minVersion: 'TLSv1.2' | 'TLSv1.3', before?: TlsContexts) {
    if (material.fault !== '') throw new Error(material.fault);
    const known = before === undefined ? this.#built : before.#built;
    const contexts = material.certificates.map((pair) => {
      const source = `${minVersion}\n${material.clientCa}\n${pair.cert}\n${pair.key}`;
      const context =
        known.get(source) ?? createSecureContext(optionsOf(material.clientCa, pair, minVersion));
      this.#built.set(source, context);
      return context;
    });
    const [first] = material.certificates;
    const [fallback] = contexts;
    if (first === undefined || fallback === undefined) throw new Error('no certificate');
    // Tickets are made and read by the context that a connection begins with, whichever SNI chooses then.
    const ticketKeys = Buffer.from(material.ticketKeys, 'base64');
    this.first = { ...optionsOf(material.clientCa, first, minVersion), ticketKeys };
    this.#fallback = fallback;
    for (const [index, { cert }] of material.certificates.entries()) {
      const context = contexts[index] ?? fallback;
      for (const name of namesOf(cert)) {
        const [map, key] = name.startsWith('*.') ? [this.#wildcards, name.slice(1)] : [this.#exact, name];
        // The first of two certificates with one name; `check` warns of the other.
        if (!map.has(key)) map.set(key, context);
      }
    }
  }

  /** Never throws, whatever a caller sends. */
  pick(serverName: string): SecureContext {
    const name = serverName.toLowerCase();
    const exact = this.#exact.get(name);
    if (exact !== undefined) return exact;
    const dot = name.indexOf('.');
    return (dot > 0 ? this.#wildcards.get(name.slice(dot)) : undefined) ?? this.#fallback;
  }
}

function optionsOf(
  clientCa: string,
  pair: { readonly cert: string; readonly key: string },
  minVersion: 'TLSv1.2' | 'TLSv1.3',
): SecureContextOptions {
  return {
    cert: pair.cert,
    key: pair.key,
    ...(clientCa === '' ? {} : { ca: clientCa }),
    minVersion,
    maxVersion: 'TLSv1.3',
    ciphers: SUITES,
    honorCipherOrder: false,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    sessionIdContext: SESSION_CONTEXT,
  };
}

function namesOf(pem: string): readonly string[] {
  const { subjectAltName, subject } = new X509Certificate(pem);
  return certificateNames(subjectAltName, subject);
}
