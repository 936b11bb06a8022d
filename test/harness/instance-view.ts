/** An instance as the supervisor shows it to workers: ready and long in traffic, unless a test says else. */
import type { InstanceView } from '../../src/upstreams/fleet.ts';

export function view(index: number, more: Partial<InstanceView> = {}): InstanceView {
  const id = `10.0.${index >> 8}.${index & 255}:80`;
  return {
    id,
    url: `http://${id}`,
    uid: '',
    version: '',
    versionSeq: 1,
    weight: 1,
    state: 'ready',
    reason: '',
    opensNew: true,
    keepsPinned: true,
    trial: false,
    panic: false,
    timedOut: false,
    readyForMs: -1,
    drainForMs: -1,
    stateSinceMs: 0,
    ...more,
  };
}
