/**
 * Overrides inside Redis: one hash, which each gateway reads when its version has changed, and which is never touched by a
 * request. Fields: `life` and `version` (see `limits/override-book.ts`), `fills`, and the 22 characters of a client's hash
 * for each override, whose value is `serial|rate|burst|end|gateway`. Nothing in it is a name, a key or an address. Ends
 * are moments of Redis's own clock.
 */

/** In Cluster one slot, as everything that gateways tell each other. */
export const OVERRIDES_KEY = 'spw:{gw}:ov';

/**
 * Characters of `fills`, some 120 of them. Half: filled by a script, some are forgotten before every gateway has looked;
 * double: read with each change.
 */
const MOST_FILLS_LENGTH = 4096;
/** Longer than any override lives, so that the hash of a gateway that is gone goes too. */
const KEPT_MS = 31 * 86_400_000;

const CLOCK = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local key = KEYS[1]
`;

/** Reply: the clock in ms, then all fields and values in turn. */
export const READ_OVERRIDES = `${CLOCK}
return { now, redis.call('HGETALL', key) }
`;

/** Numbers of one order in WRITE_OVERRIDES: kind, client, rate, burst, span in ms, gateway. */
const ORDER_LENGTH = 6;

/**
 * ARGV: a life in case there is none, the most overrides, then the orders.
 * Reply: the clock, the version after them, the life, then 1 for each order, or 0 when there was no place for it.
 */
export const WRITE_OVERRIDES = `${CLOCK}
redis.call('HSETNX', key, 'life', ARGV[1])
redis.call('HSETNX', key, 'fills', '')
local version = redis.call('HINCRBY', key, 'version', 1)
local reply = { now, version, redis.call('HGET', key, 'life') }
for a = 3, #ARGV, ${ORDER_LENGTH} do
  local kind, client, taken = ARGV[a], ARGV[a + 1], 1
  if kind == 'remove' then
    redis.call('HDEL', key, client)
  elseif kind == 'fill' then
    local fills = redis.call('HGET', key, 'fills') .. version .. ':' .. client .. ','
    if #fills > ${MOST_FILLS_LENGTH} then
      fills = string.sub(fills, string.find(fills, ',', #fills - ${MOST_FILLS_LENGTH}, true) + 1)
    end
    redis.call('HSET', key, 'fills', fills)
  elseif redis.call('HEXISTS', key, client) == 0 and redis.call('HLEN', key) - 3 >= tonumber(ARGV[2]) then
    taken = 0
  else
    local ends = string.format('%.0f', now + tonumber(ARGV[a + 4]))
    local value = version .. '|' .. ARGV[a + 2] .. '|' .. ARGV[a + 3] .. '|' .. ends .. '|' .. ARGV[a + 5]
    redis.call('HSET', key, client, value)
  end
  reply[#reply + 1] = taken
end
redis.call('PEXPIRE', key, ${KEPT_MS})
return reply
`;

/**
 * Gives back to a Redis that has forgotten. Of the same life, what it still has from before and the gateway has not was
 * removed since. Another gateway may have been here first: then nothing changes, nor does the version.
 * ARGV: a life in case there is none, the life and the version that the gateway knows, then client, serial and value of
 * each override that it holds.
 */
export const RESTORE_OVERRIDES = `${CLOCK}
redis.call('HSETNX', key, 'life', ARGV[1])
local known = tonumber(ARGV[3])
local version = tonumber(redis.call('HGET', key, 'version') or 0)
local same = redis.call('HGET', key, 'life') == ARGV[2]
if same and version >= known then return 0 end
local changed, held = 0, {}
for a = 4, #ARGV, 3 do
  held[ARGV[a]] = true
  local there = redis.call('HGET', key, ARGV[a])
  local serial = there and tonumber(string.match(there, '^(%d+)|'))
  if not serial or serial < tonumber(ARGV[a + 1]) then
    redis.call('HSET', key, ARGV[a], ARGV[a + 2])
    changed = changed + 1
  end
end
if same then
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local serial = tonumber(string.match(all[i + 1], '^(%d+)|'))
    if serial and serial <= known and not held[all[i]] then redis.call('HDEL', key, all[i]) end
  end
end
if same or changed > 0 or version == 0 then
  redis.call('HSET', key, 'version', string.format('%.0f', math.max(version, known) + 1))
end
redis.call('PEXPIRE', key, ${KEPT_MS})
return changed
`;

/** Takes out what has ended. ARGV: clients. */
export const TIDY_OVERRIDES = `${CLOCK}
for a = 1, #ARGV do
  local value = redis.call('HGET', key, ARGV[a])
  local ends = value and tonumber(string.match(value, '^%d+|[^|]*|[^|]*|(%d+)|'))
  if ends and ends <= now then redis.call('HDEL', key, ARGV[a]) end
end
return 0
`;
