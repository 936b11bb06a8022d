/**
 * What runs inside Redis. `DECIDE` is `decideLevels` of `src/limits/gcra.ts` in Lua, `REFUND` its `refundedTat`, `SLOTS` is
 * `grantSlots` of `src/limits/slot-table.ts`, all on Redis's own clock: a gateway's clock has no say. A decision is one
 * call, one MGET, and one SET for each bucket that is charged. On a refusal nothing is written, but
 * that a bucket beyond its depth is brought back to it, see `decideLevels`.
 * Lua's numbers are doubles, like ours, and every figure is a whole number below 2^53, so both give the same results.
 */
import { createHash } from 'node:crypto';
import { EPOCH_SECONDS, TICKS_PER_MS, TICKS_PER_SECOND } from '../../limits/gcra.ts';
import { ROOMY_LIMIT, SLOT_TTL_MS, SPARE_PART } from '../../limits/slot-table.ts';

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
  if granted > 0 or (v < (tonumber(tats[i] or now) or now) and tonumber(ARGV[i * 5 - 1]) > 0) then
    v = v + granted * unit[i]
    redis.call('SET', KEYS[i], string.format('%.0f', v), 'PX', math.ceil((v - now) / 10000) + 1)
  end
  local r = i * 4
  reply[r - 2], reply[r - 1], reply[r], reply[r + 1] = granted, floor((now + depth[i] - v) / unit[i]), wait, v - now
end
return reply
`;

export const DECIDE_SHA = sha1(DECIDE);

/** KEYS: the buckets. ARGV: units, T for each. A bucket that does not exist is full already. Reply: one number. */
export const REFUND = `
${CLOCK_LINE}
local tats = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  local tat = tonumber(tats[i] or nil)
  if tat then
    local v = tat - tonumber(ARGV[i * 2 - 1]) * tonumber(ARGV[i * 2])
    if v <= now then
      redis.call('DEL', KEYS[i])
    else
      redis.call('SET', KEYS[i], string.format('%.0f', v), 'PX', math.ceil((v - now) / 10000) + 1)
    end
  end
end
return { #KEYS }
`;

export const REFUND_SHA = sha1(REFUND);

/**
 * KEYS: a client's hash, a field `count:expiry` for each worker, expiry in ticks. ARGV: worker, need, keep, most.
 * Reply: what the worker holds from now on.
 */
export const SLOTS = `
${CLOCK_LINE}
local key, worker, need, keep, most = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local all, others, last, ended = redis.call('HGETALL', key), 0, now + ${SLOT_TTL_MS * TICKS_PER_MS}, {}
for i = 1, #all, 2 do
  if all[i] ~= worker then
    local count, expiry = string.match(all[i + 1], '^(%d+):(%d+)$')
    if not expiry or tonumber(expiry) <= now then
      ended[#ended + 1] = all[i]
    else
      others = others + tonumber(count)
      if tonumber(expiry) > last then
        redis.call('HSET', key, all[i], string.format('%s:%.0f', count, last))
      end
    end
  end
end
local wanted = need
if need > 0 and most >= ${ROOMY_LIMIT} and (others + need) * 2 < most then
  wanted = need + math.ceil(need / ${SPARE_PART})
end
local granted = math.max(keep, math.min(wanted, most - others), 0)
if granted == 0 then ended[#ended + 1] = worker end
if #ended > 0 then redis.call('HDEL', key, unpack(ended)) end
if granted > 0 then
  redis.call('HSET', key, worker, string.format('%d:%.0f', granted, last))
  redis.call('PEXPIRE', key, ${SLOT_TTL_MS})
end
return { granted }
`;

export const SLOTS_SHA = sha1(SLOTS);

/** Everything that a connection calls by its digest. */
export const SCRIPTS: readonly string[] = [DECIDE, REFUND, SLOTS];

/**
 * A gateway says that it lives, and how many workers it has; who was not heard for three beats is forgotten, also where the
 * clock was set back meanwhile. Limits: set forward, it forgets everybody until each was heard again, for a beat at most.
 * KEYS: the hash. ARGV: gateway, workers, lifetime in seconds. Reply: live gateways, their workers in all.
 */
export const BEAT = `
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local last = string.format('%.3f', now + tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. last)
redis.call('EXPIRE', KEYS[1], math.ceil(tonumber(ARGV[3])) + 1)
local all, gateways, workers = redis.call('HGETALL', KEYS[1]), 0, 0
for i = 1, #all, 2 do
  local count, expiry = string.match(all[i + 1], '^(%d+):([%d.]+)$')
  if expiry and tonumber(expiry) > now then
    gateways, workers = gateways + 1, workers + tonumber(count)
    if tonumber(expiry) > tonumber(last) then redis.call('HSET', KEYS[1], all[i], count .. ':' .. last) end
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return { gateways, workers }
`;

/**
 * One secret for all: of two the one that has been in use for longer, by Redis's clock. So whoever lives gives a Redis that
 * has forgotten the one that its names are made of, also where a newcomer was quicker; the newcomer takes it.
 * KEYS: the secret, `since:text`. ARGV: text, since when it has been shared there, empty if it never was; the least length
 * of a text, since anything shorter was not written by a gateway. Reply: text and since of the one that holds.
 */
export const AGREE = `
local since, text = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+):(%S+)$')
local own, age = ARGV[1], tonumber(ARGV[2])
if text and #text >= tonumber(ARGV[3]) then
  since = tonumber(since)
  if not age or since < age or (since == age and text <= own) then return { text, string.format('%.0f', since) } end
end
local t = redis.call('TIME')
local told = string.format('%.0f', age or t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('SET', KEYS[1], told .. ':' .. own)
return { own, told }
`;

export const LIVE_KEY = 'spw:{gw}:live';
/** The secret behind the names of clients, where the configuration has none. */
export const SECRET_KEY = 'spw:{gw}:secret';
/** Seconds after which a silent gateway is forgotten: three beats. At one and a half a late beat would shift shares. */
export const LIVE_SECONDS = 3;

function sha1(script: string): string {
  return createHash('sha1').update(script).digest('hex');
}
