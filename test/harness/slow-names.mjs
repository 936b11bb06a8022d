// Loaded into a process before the gateway (`--import`): every name but the first of each is looked up five seconds long.
import dns from 'node:dns';

const SLOW_MS = 5000;
const seen = new Set();
const real = dns.lookup;

dns.lookup = (host, ...rest) => {
  if (seen.has(host)) setTimeout(() => real(host, ...rest), SLOW_MS);
  else {
    seen.add(host);
    real(host, ...rest);
  }
};
