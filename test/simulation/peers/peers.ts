/** Who is compared with ours, by name; each is re-implemented from its public description, with default parameters. */
import { Admission } from '../../../src/shedding/admission.ts';
import type { GateFactory } from '../gate.ts';
import { EnvoyGradient } from './envoy.ts';
import { FixedLimit } from './fixed.ts';
import { Gradient2 } from './gradient2.ts';
import { LimitedGate } from './limited-gate.ts';
import { PrototypeGate } from './prototype.ts';
import { SlaGradient } from './sla-gradient.ts';
import { Vegas } from './vegas.ts';
import { Windowed } from './windowed.ts';

export interface Peer {
  readonly name: string;
  readonly gate: GateFactory;
}

/** No limit at all. */
export const none: GateFactory = (policy, random) => new Admission({ ...policy, mode: 'off' }, random, 0);

/** A tuned number, over all workers; who comes above it is refused. */
export function fixed(limit: number): GateFactory {
  return ({ workers }) => new LimitedGate(new FixedLimit(Math.max(1, limit / workers)));
}

/** A tuned number with our queue and priorities. */
function fixedWithQueue(limit: number): GateFactory {
  return (policy, random) => new Admission({ ...policy, limit }, random, 0);
}

export const envoy: GateFactory = (_policy, random) => new LimitedGate(new EnvoyGradient(random));
export const gradient2: GateFactory = () => new LimitedGate(new Windowed(new Gradient2()));
export const vegas: GateFactory = (_policy, random) => new LimitedGate(new Windowed(new Vegas(random)));
/** As its library comes: each answer is a sample. */
export const vegasUnwindowed: GateFactory = (_policy, random) => new LimitedGate(new Vegas(random));
export const slaGradient: GateFactory = ({ slaMs }) => new LimitedGate(new SlaGradient(slaMs));
export const prototype: GateFactory = (policy, random) => new PrototypeGate(policy, random);

/** @param slots what an oracle would give as the fixed limit: the service's slots at the start */
export function peers(slots: number): readonly Peer[] {
  return [
    { name: 'none', gate: none },
    { name: `fixed ${slots}`, gate: fixed(slots) },
    { name: `fixed ${slots}, our queue`, gate: fixedWithQueue(slots) },
    { name: 'Envoy', gate: envoy },
    { name: 'Gradient2', gate: gradient2 },
    { name: 'Vegas', gate: vegas },
    { name: 'SLA ÷ p95', gate: slaGradient },
    { name: 'prototype', gate: prototype },
  ];
}
