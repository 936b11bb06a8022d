// Loaded into a worker before the gateway (`--import`): a request whose path begins with `/throw/NAME` makes the next
// call of that step throw, once. It shows that a mistake of ours costs one request.
import { RouteTable } from '../../src/forwarding/route-table.ts';
import { CompiledChanges } from '../../src/forwarding/header-changes.ts';
import { IdentityChain } from '../../src/clients/identity.ts';
import { Limiter } from '../../src/limits/limiter.ts';
import { Admission } from '../../src/shedding/admission.ts';
import { Breaker } from '../../src/upstreams/breaker.ts';
import { Balancer } from '../../src/upstreams/balancer.ts';
import { SessionCookies } from '../../src/affinity/session-cookie.ts';

const STEPS = {
  identify: IdentityChain,
  decide: Limiter,
  enter: Admission,
  allow: Breaker,
  pick: Balancer,
  started: Balancer,
  head: Balancer,
  read: SessionCookies,
  issue: SessionCookies,
  apply: CompiledChanges,
  match: RouteTable,
};

let armed = '';

for (const [name, { prototype }] of Object.entries(STEPS)) {
  const real = prototype[name];
  prototype[name] = function step(...args) {
    if (name === 'match') armed = /^\/throw\/([a-z]+)/.exec(args[2])?.[1] ?? '';
    if (armed === name) {
      armed = '';
      throw new Error(`thrown in ${name}`);
    }
    return real.apply(this, args);
  };
}
