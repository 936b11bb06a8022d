/**
 * Calls over TLS with HTTP/2 where the gateway agrees to it by ALPN: a few sessions that live some seconds each, streams that are
 * read, uploaded to, or reset in the middle, and sessions that are torn. Where it does not agree, the same calls go out
 * as HTTP/1.1 on the connection that was made; the report says which it was.
 */
import { connect as connectHttp2, constants } from 'node:http2';
import type { ClientHttp2Session } from 'node:http2';
import { connect as connectTls } from 'node:tls';
import type { TLSSocket } from 'node:tls';

import { digestOf, fillerOf, SMALL_BYTES } from './body.ts';
import { anonymous, below, overTls, PATIENCE_MS } from './http-calls.ts';
import type { Call, CallTools } from './http-calls.ts';
import { connectionFault, CUT, failed, LEFT, OK, refusal } from './outcomes.ts';
import type { Outcome } from './outcomes.ts';

const SESSIONS = 4;
const SESSION_LIFE_MS = 15_000;
const RESETS = 0.1;
const TEARS = 0.15;

interface Held {
  readonly session: ClientHttp2Session;
  readonly bornMs: number;
}

async function handshake({ settings, ca, metCertificate }: CallTools): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
  const socket = connectTls({
    port: settings.tlsPort,
    host: '127.0.0.1',
    servername: 'localhost',
    ca,
    ALPNProtocols: ['h2', 'http/1.1'],
  });
  socket.once('secureConnect', () => {
    metCertificate(socket.getPeerCertificate().serialNumber);
    resolve(socket);
  });
  socket.on('error', reject);
  socket.once('close', () => reject(Object.assign(new Error('closed'), { code: 'ECONNRESET' })));
  return promise;
}

async function oneStream(tools: CallTools, session: ClientHttp2Session, uploads: boolean): Promise<Outcome> {
  const { random } = tools;
  const pieces = uploads ? fillerOf(1 + below(random, 100_000)) : [];
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const stream = session.request({
    ...anonymous(tools),
    ':method': uploads ? 'POST' : 'GET',
    ':path': uploads ? '/upload' : '/item',
    ':authority': 'localhost',
  });
  const patience = setTimeout(() => {
    resolve(failed('silent'));
    stream.close(constants.NGHTTP2_CANCEL);
  }, PATIENCE_MS);
  let status = 0;
  let text = '';
  stream.once('response', (fields) => {
    status = fields[':status'] ?? 0;
  });
  stream.on('data', (chunk: Buffer) => {
    if (text.length < 4096) text += chunk.toString('latin1');
  });
  stream.once('error', () => resolve(CUT));
  stream.once('close', () => {
    if (stream.rstCode !== constants.NGHTTP2_NO_ERROR || status === 0) resolve(CUT);
    else if (status !== 200) resolve(refusal(status, text));
    else resolve((uploads ? text === digestOf(pieces) : text.length === SMALL_BYTES) ? OK : failed('wrong'));
  });
  for (const piece of pieces) stream.write(piece);
  if (random() < RESETS) {
    setTimeout(() => {
      resolve(LEFT);
      stream.close(constants.NGHTTP2_CANCEL);
    }, random() * 20);
    // Half of them end what they send first.
    if (random() < 0.5) stream.end();
  } else {
    stream.end();
  }
  const outcome = await promise;
  clearTimeout(patience);
  return outcome;
}

/** Calls that share a few sessions, as one client process does. */
export function http2Caller(): {
  readonly read: Call;
  readonly upload: Call;
  readonly close: () => void;
} {
  const held: (Held | undefined)[] = Array.from({ length: SESSIONS });
  const opening: (Promise<ClientHttp2Session | undefined> | undefined)[] = Array.from({ length: SESSIONS });

  const torn = new WeakSet<ClientHttp2Session>();

  const openSession = async (tools: CallTools, place: number): Promise<ClientHttp2Session | undefined> => {
    const socket = await handshake(tools);
    tools.metProtocol(socket.alpnProtocol === 'h2' ? 'h2' : 'http/1.1');
    if (socket.alpnProtocol !== 'h2') {
      socket.destroy();
      return undefined;
    }
    const session = connectHttp2('https://localhost', { createConnection: () => socket });
    const mine: Held = { session, bornMs: performance.now() };
    held[place] = mine;
    const forget = (): void => {
      if (held[place] === mine) held[place] = undefined;
    };
    session.on('error', forget);
    session.once('goaway', forget);
    session.once('close', forget);
    return session;
  };

  /** Ends a session that has lived its life: in order, or torn with all its streams. */
  const age = (tools: CallTools, place: number): void => {
    const old = held[place];
    if (old === undefined || performance.now() - old.bornMs < SESSION_LIFE_MS) return;
    held[place] = undefined;
    if (tools.random() < TEARS && old.session.socket !== undefined) {
      torn.add(old.session);
      old.session.destroy();
    } else {
      old.session.close();
    }
  };
  const call = async (tools: CallTools, uploads: boolean): Promise<Outcome> => {
    const place = below(tools.random, SESSIONS);
    age(tools, place);
    let session = held[place]?.session;
    if (session === undefined || session.closed || session.destroyed) {
      try {
        opening[place] ??= openSession(tools, place);
        session = await opening[place];
      } catch (error) {
        return connectionFault(error, false);
      } finally {
        opening[place] = undefined;
      }
    }
    if (session === undefined) return overTls(tools);
    if (session.closed || session.destroyed) return torn.has(session) ? LEFT : CUT;
    const outcome = await oneStream(tools, session, uploads);
    return outcome === CUT && torn.has(session) ? LEFT : outcome;
  };
  return {
    read: (tools) => call(tools, false),
    upload: (tools) => call(tools, true),
    close: () => {
      for (const each of held) each?.session.close();
    },
  };
}
