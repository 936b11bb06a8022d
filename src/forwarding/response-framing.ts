import { listMembers, trimOws, wholeNumber } from './tokens.ts';

/**
 * Where an HTTP/1 answer's body ends, and what becomes of its connection: from its fields alone (RFC 9112 §6.3, §9.3).
 *
 * One length or one `chunked`, nothing else: what two readers could cut at different places is a fault.
 */

export interface Framing {
  fault: string;
  chunked: boolean;
  length: number;
  persistent: boolean;
  closes: boolean;
  keepAliveS: number;
}

/** Where the body ends, and whether the connection goes on. */
export function framingOf(raw: readonly string[], oneOne: boolean): Framing {
  const framing: Framing = {
    fault: '',
    chunked: false,
    length: -1,
    persistent: oneOne,
    closes: false,
    keepAliveS: -1,
  };
  let codings = 0;
  let lengths = 0;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    // By length first: few names are as long as one of these four.
    if (name.length === 14 && isNamed(name, 'content-length')) {
      lengths++;
      framing.length = wholeNumber(raw[index + 1] ?? '', Number.MAX_SAFE_INTEGER);
      if (framing.length < 0) framing.fault = 'content-length';
    } else if (name.length === 17 && isNamed(name, 'transfer-encoding')) {
      codings++;
      if ((raw[index + 1] ?? '').toLowerCase() === 'chunked') framing.chunked = true;
      else framing.fault = 'transfer coding';
    } else if (name.length === 10) {
      if (isNamed(name, 'connection')) readConnection(raw[index + 1] ?? '', framing);
      else if (isNamed(name, 'keep-alive')) framing.keepAliveS = keepAliveOf(raw[index + 1] ?? '');
    }
  }
  if (framing.closes) framing.persistent = false;
  if (codings > 0 && (codings > 1 || !oneOne)) framing.fault = 'transfer coding';
  if (codings > 0 && lengths > 0) framing.fault = 'length and transfer coding';
  if (lengths > 1) framing.fault = 'two lengths';
  return framing;
}

function isNamed(name: string, lowered: string): boolean {
  return name === lowered || name.toLowerCase() === lowered;
}

/** No server names more. */
const MOST_MEMBERS = 100;

/** A `close` anywhere is the last word. */
function readConnection(value: string, framing: Framing): void {
  const members = value === 'keep-alive' || value === 'close' ? [value] : listMembers(value, MOST_MEMBERS);
  if (members.includes('close')) framing.closes = true;
  else if (members.includes('keep-alive')) framing.persistent = true;
}

/** The seconds of `timeout=5, max=100`; -1 when it names none. */
function keepAliveOf(value: string): number {
  for (const member of listMembers(value, MOST_MEMBERS)) {
    if (member.startsWith('timeout=')) return wholeNumber(trimOws(member.slice(8)), 1_000_000);
  }
  return -1;
}
