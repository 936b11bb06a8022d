/** A closed loop flat out, by autocannon. */
import autocannon from 'autocannon';

/** Connections that each send their next request when they have their answer. */
export function flatOut(
  port: number,
  seconds: number,
  connections: number,
  key: string,
): Promise<autocannon.Result> {
  return autocannon({
    url: `http://127.0.0.1:${port}/item?id=1`,
    connections,
    duration: seconds,
    headers: { 'x-api-key': key },
    excludeErrorStats: true,
  });
}
