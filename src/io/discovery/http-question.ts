import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { DiscoveryFault } from '../../discovery/source.ts';
import { request as requestHttp } from '../node-http.ts';

/**
 * One GET to a source of instances: its whole JSON, or its lines as they come.
 *
 * Each on a connection of its own, since a kept one may lead to a server that is gone. No redirect is followed, and what comes is
 * not trusted with memory. An answer that is none is a `SourceFault`, which says in which way.
 */

/** Until the head, and for the whole of an answer that is not a stream. Half: a busy server is given up; double: it holds. */
const ANSWER_MS = 10_000;
/** A thousand endpoints are some 300 KiB. Half: a fleet of ten thousand is refused; double: memory for mischief. */
const MOST_BYTES = 16 * 1024 * 1024;
/** Of the body of a refusal, for its reason. */
const REASON_BYTES = 4096;

export interface HttpQuestion {
  readonly url: string;
  /** Empty values are left out. */
  readonly headers: Readonly<Record<string, string>>;
  /** Who may have signed the server's certificate; undefined: a public authority. */
  readonly ca: Buffer | undefined;
  /** On top of what an answer may take: how long the server was asked to wait. */
  readonly waitMs?: number;
  readonly signal: AbortSignal;
}

/** An answer that is none. */
export class SourceFault extends Error {
  readonly kind: DiscoveryFault['kind'];
  /** Of HTTP; 0 without one. */
  readonly status: number;

  constructor(kind: DiscoveryFault['kind'], message: string, status = 0) {
    super(message);
    this.name = 'SourceFault';
    this.kind = kind;
    this.status = status;
  }
}

/** @throws SourceFault */
export async function askJson(
  question: HttpQuestion,
): Promise<{ readonly headers: IncomingHttpHeaders; readonly value: unknown }> {
  const limit = AbortSignal.timeout(Math.ceil(ANSWER_MS + (question.waitMs ?? 0)));
  const signal = AbortSignal.any([question.signal, limit]);
  try {
    const response = await headOf({ ...question, signal });
    const text = await bodyOf(response, MOST_BYTES);
    try {
      return { headers: response.headers, value: JSON.parse(text) as unknown };
    } catch {
      throw new SourceFault('malformed', 'the answer is no JSON');
    }
  } catch (error) {
    throw limit.aborted ? new SourceFault('unreachable', 'no answer in time') : faultOf(error);
  }
}

/**
 * Reads lines until the server ends them.
 * @param onOpen the server has agreed
 * @throws SourceFault when it did not agree, or the stream broke, or `onLine` threw
 */
export async function askLines(
  question: HttpQuestion,
  onOpen: () => void,
  onLine: (line: string) => void,
): Promise<void> {
  const late = new AbortController();
  const timer = setTimeout(() => {
    late.abort();
  }, ANSWER_MS).unref();
  try {
    const signal = AbortSignal.any([question.signal, late.signal]);
    const response = await headOf({ ...question, signal });
    clearTimeout(timer);
    onOpen();
    let rest = '';
    response.setEncoding('utf8');
    for await (const chunk of response as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > MOST_BYTES) throw new SourceFault('malformed', 'a line without an end');
      for (const line of lines) if (line.trim() !== '') onLine(line);
    }
  } catch (error) {
    throw late.signal.aborted ? new SourceFault('unreachable', 'no answer in time') : faultOf(error);
  } finally {
    clearTimeout(timer);
  }
}

/** The head of an answer of 200. */
async function headOf({ url, headers, ca, signal }: HttpQuestion): Promise<IncomingMessage> {
  const given = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== ''));
  const options = { method: 'GET', headers: given, agent: false as const, signal };
  const answered = Promise.withResolvers<IncomingMessage>();
  const sent = url.startsWith('https:')
    ? requestHttps(url, ca === undefined ? options : { ...options, ca })
    : requestHttp(url, options);
  sent.once('response', answered.resolve);
  sent.on('error', answered.reject);
  sent.end();
  const response = await answered.promise;
  const { statusCode = 0 } = response;
  if (statusCode === 200) return response;
  const reason = (await bodyOf(response, REASON_BYTES).catch(() => '')).trim().slice(0, 200);
  throw new SourceFault('refused', `status ${statusCode}${reason === '' ? '' : `: ${reason}`}`, statusCode);
}

async function bodyOf(response: IncomingMessage, mostBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    // Leaving the loop destroys the rest.
    if (bytes > mostBytes) throw new SourceFault('malformed', `larger than ${mostBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function faultOf(error: unknown): SourceFault {
  if (error instanceof SourceFault) return error;
  const { code = '', message } = error as NodeJS.ErrnoException;
  return new SourceFault('unreachable', message === '' ? code : message);
}
