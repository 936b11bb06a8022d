/** SERVICE/INSTANCE on a command line, such as `shop/127.0.0.1:9001`. */
import { InvalidArgumentError } from 'commander';
import type { InstanceCommand } from '../io/admin-port.ts';

export interface Target {
  readonly service: string;
  /** `host:port`. */
  readonly instance: string;
  /** As it was written. */
  readonly text: string;
}

/** Parser for commander: a usage error when it is none. */
export function parseTarget(text: string): Target {
  const at = text.indexOf('/');
  if (at < 1 || at === text.length - 1) {
    throw new InvalidArgumentError('SERVICE/INSTANCE is expected, such as shop/127.0.0.1:9001.');
  }
  return { service: text.slice(0, at), instance: text.slice(at + 1), text };
}

export function operatePath(target: Target, command: InstanceCommand): string {
  return `/v1/services/${encodeURIComponent(target.service)}/instances/${encodeURIComponent(target.instance)}/${command}`;
}
