/**
 * What runs inside Redis. `DECIDE` is `decideLevels` of `src/limits/gcra.ts` in Lua, on Redis's own clock: a gateway's
 * clock has no say. One call, one MGET, and one SET for each bucket that is charged; nothing is written on a refusal.
 * Lua's numbers are doubles, like ours, and every figure is a whole number below 2^53, so both give the same results.
 */
import { createHash } from 'node:crypto';
import { EPOCH_SECONDS, TICKS_PER_SECOND } from '../../limits/gcra.ts';

/** The one line that reads the clock; the differential test puts another in its place. */
export const CLOCK_LINE = `local t = redis.call('TIME'); local now = (t[1] - ${EPOCH_SECONDS}) * ${TICKS_PER_SECOND} + t[2] * 10`;

/**
 * KEYS: the buckets. ARGV: T, b, must, want, veto for each.
 * Reply: ok, then granted, remaining, waitTicks, fullTicks for each.
 */
export const DECIDE = `
${CLOCK_LINE}
local n, ok, max, min, floor = #KEYS, 1, math.max, math.min, math.floor
local tats = redis.call('MGET', unpack(KEYS))
local unit, depth, must, value, room, reply = {}, {}, {}, {}, {}, {}
for i = 1, n do
  local a = i * 5
  unit[i], must[i] = tonumber(ARGV[a - 4]), tonumber(ARGV[a - 2])
  depth[i] = unit[i] * tonumber(ARGV[a - 3])
  value[i] = min(max(tonumber(tats[i] or now) or now, now), now + depth[i])
  room[i] = floor((now + depth[i] - value[i]) / unit[i])
  if room[i] < must[i] and ARGV[a] == '1' then ok = 0 end
end
reply[1] = ok
for i = 1, n do
  local v, granted, wait = value[i], 0, 0
  if room[i] < must[i] then
    wait = v + must[i] * unit[i] - depth[i] - now
  elseif ok == 1 then
    granted = min(tonumber(ARGV[i * 5 - 1]), room[i])
  end
  if granted > 0 then
    v = v + granted * unit[i]
    redis.call('SET', KEYS[i], string.format('%.0f', v), 'PX', math.ceil((v - now) / 10000) + 1)
  end
  local r = i * 4
  reply[r - 2], reply[r - 1], reply[r], reply[r + 1] = granted, floor((now + depth[i] - v) / unit[i]), wait, v - now
end
return reply
`;

export const DECIDE_SHA = createHash('sha1').update(DECIDE).digest('hex');

/**
 * A gateway says that it lives, and how many workers it has; who was not heard for three beats is forgotten.
 * KEYS: the hash. ARGV: gateway, workers, lifetime in seconds. Reply: live gateways, their workers in all.
 */
export const BEAT = `
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. string.format('%.3f', now + tonumber(ARGV[3])))
redis.call('EXPIRE', KEYS[1], math.ceil(tonumber(ARGV[3])) + 1)
local all, gateways, workers = redis.call('HGETALL', KEYS[1]), 0, 0
for i = 1, #all, 2 do
  local count, expiry = string.match(all[i + 1], '^(%d+):([%d.]+)$')
  if expiry and tonumber(expiry) > now then
    gateways, workers = gateways + 1, workers + tonumber(count)
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return { gateways, workers }
`;

export const LIVE_KEY = 'spw:{gw}:live';
/** Seconds after which a silent gateway is forgotten: three beats. At one and a half a late beat would shift shares. */
export const LIVE_SECONDS = 3;
