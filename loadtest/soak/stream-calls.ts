/** Calls that last: WebSocket with echoes, and server-sent events that the caller leaves or the instance ends. */
import { request } from 'node:http';
import { WebSocket } from 'ws';

import { anonymous, below, PATIENCE_MS } from './http-calls.ts';
import type { CallTools } from './http-calls.ts';
import { connectionFault, CUT, failed, LEFT, OK, refusal } from './outcomes.ts';
import type { Outcome } from './outcomes.ts';

/** Exponential, so that there are a few long ones. */
function lifeMs(random: () => number, meanMs: number): number {
  return Math.min(5 * meanMs, -Math.log(1 - random()) * meanMs);
}

const MEAN_LIFE_MS = 6000;
const ECHO_EACH_MS = 500;
const LEAVES = 0.15;

/** Opens a WebSocket, sends and compares echoes for some seconds, and closes it in order or leaves. */
export async function webSocket(tools: CallTools): Promise<Outcome> {
  const { settings, random } = tools;
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const socket = new WebSocket(`ws://127.0.0.1:${settings.port}/ws`, {
    headers: anonymous(tools),
    perMessageDeflate: false,
    handshakeTimeout: PATIENCE_MS,
  });
  const leaves = random() < LEAVES;
  let sent = '';
  let open = false;
  const timers: NodeJS.Timeout[] = [];
  const say = (): void => {
    if (sent !== '') {
      resolve(failed('silent'));
      socket.terminate();
      return;
    }
    sent = `${below(random, 1e9)} ${'w'.repeat(below(random, 2000))}`;
    socket.send(sent);
  };
  socket.once('open', () => {
    open = true;
    say();
    // An echo may take long when an instance has just died; a silent one would be found by the third.
    timers.push(
      setInterval(() => {
        if (sent === '') say();
      }, ECHO_EACH_MS),
      setTimeout(
        () => {
          if (leaves) {
            resolve(LEFT);
            socket.terminate();
          } else {
            socket.close(1000);
          }
        },
        lifeMs(random, MEAN_LIFE_MS),
      ),
      setTimeout(() => {
        resolve(failed('silent'));
        socket.terminate();
      }, 2 * PATIENCE_MS),
    );
  });
  socket.on('message', (data) => {
    if ((data as Buffer).toString() !== sent) resolve(failed('wrong'));
    sent = '';
  });
  socket.on('unexpected-response', (_, response) => {
    let text = '';
    response.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk;
    });
    response.once('close', () => {
      resolve(refusal(response.statusCode ?? 0, text));
      socket.terminate();
    });
  });
  socket.on('error', (error) => resolve(open ? CUT : connectionFault(error, false)));
  socket.once('close', (code) =>
    resolve(code === 1000 ? OK : code === 1006 ? CUT : failed(`closed ${code}`)),
  );
  const outcome = await promise;
  for (const timer of timers) clearTimeout(timer);
  return outcome;
}

const EVENT_EACH_MS = 200;
/** A stream that says nothing for so long has been forgotten. */
const EVENT_LATE_MS = 10_000;

/** Server-sent events; every other stream has an end of its own, the others are left. */
export async function eventStream(tools: CallTools): Promise<Outcome> {
  const { settings, random } = tools;
  const ends = random() < 0.5;
  const count = 5 + below(random, 30);
  const path = `/events?everyMs=${EVENT_EACH_MS}${ends ? `&count=${count}` : ''}`;
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const options = { port: settings.port, host: '127.0.0.1', path, agent: false, headers: anonymous(tools) };
  const asked = request(options);
  let late = setTimeout(() => resolve(failed('silent')), PATIENCE_MS);
  let leaving: NodeJS.Timeout | undefined;
  asked.once('error', (error) => resolve(connectionFault(error, (asked.socket?.bytesRead ?? 0) > 0)));
  asked.once('response', (response) => {
    let events = 0;
    let text = '';
    if (!ends) leaving = setTimeout(() => resolve(LEFT), lifeMs(random, MEAN_LIFE_MS));
    response.setEncoding('latin1').on('data', (chunk: string) => {
      events += chunk.split('\n\n').length - 1;
      if (text.length < 4096) text += chunk;
      clearTimeout(late);
      late = setTimeout(() => resolve(failed('silent')), EVENT_LATE_MS);
    });
    response.once('error', () => resolve(CUT));
    response.once('close', () => {
      if (response.statusCode !== 200) resolve(refusal(response.statusCode ?? 0, text));
      else if (!response.complete) resolve(CUT);
      else resolve(events === count ? OK : failed('wrong'));
    });
  });
  asked.end();
  const outcome = await promise;
  clearTimeout(late);
  clearTimeout(leaving);
  asked.destroy();
  return outcome;
}
