"""The ledger's transitions, one Lua script each: a crash before or after a script is safe, and there is no during.

A job is {g: generation, p: {trigger: true | [operations]}, a: attempt, n: not before (ms), l: not before, whoever asks (ms),
r: run, ok: {o: operation, id: account, c: attributes} that a person approved}.
Time is the server's, so that the clocks of the machines do not matter.
"""

from __future__ import annotations

from state.script_parts import COMMON

# ARGV: trigger, operations (JSON list or 'true'), run or '', resend_ms, at_once ('1'), users (JSON).
# Gives user, generation, send ('1'/'0') for each.
MARK = (
    COMMON
    + """
watch_clock()
local trigger, ops, run, resend, at_once = ARGV[1], cjson.decode(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[5]
local out, users = {}, cjson.decode(ARGV[6])
if run ~= '' and #users > 0 then redis.call('SADD', k('run:' .. run .. ':users'), unpack(users)) end
for _, user in ipairs(users) do
  local job = {g = redis.call('INCR', k('generation')), p = {[trigger] = ops}, a = 1, n = now}
  if run ~= '' then job.r = run end
  local before = redis.call('HGET', k('jobs'), user)
  local send, due = not before, nil
  if before then
    before = cjson.decode(before)
    due = redis.call('ZSCORE', k(list(lane(before))), user)
    local waiting = before.n > now
    -- a message is on its way already, unless the user waits for a back-off and a person wants it now
    if waiting and at_once == '1' then send = true; before.a = 1
    -- it is in the other lane, behind a full sync; of two messages the later one finds nothing to claim
    elseif not waiting and trigger ~= 'scheduled' and not before.p.manual and not before.p.automatic then send = true end
    job = merge(before, job)
    if send and job.n > now then send = false; due = job.n end
  end
  local send_at = (send or not before) and now + resend or due or now
  if running(user) then
    send = false
    local late = late_until(user)
    if late > 0 then
      wait_until(job, late)
      send_at = job.n
    end
  end
  pending(user, job, send_at)
  table.insert(out, user); table.insert(out, tostring(job.g)); table.insert(out, send and '1' or '0')
end
if run ~= '' then redis.call('EXPIRE', k('run:' .. run .. ':users'), 2592000) end
return out
"""
)

# ARGV: owner, lease_ms, users (JSON). Gives user, job for each that was claimed.
CLAIM = (
    COMMON
    + """
watch_clock()
local owner, lease = cjson.encode(ARGV[1]), tonumber(ARGV[2])
local out = {}
for _, user in ipairs(cjson.decode(ARGV[3])) do
  local raw = redis.call('HGET', k('jobs'), user)
  if raw and not running(user) then
    local job = cjson.decode(raw)
    if job.n <= now then
      redis.call('HDEL', k('jobs'), user)
      redis.call('ZREM', k(list(lane(job))), user)
      local left = redis.call('HGET', k('leased'), user)
      if left then
        -- somebody died over this user: one attempt is spent, so that a user who kills workers is not tried for ever
        local dead = cjson.decode(left).j
        dead.a = dead.a + 1
        raw = cjson.encode(merge(dead, job))
      end
      redis.call('ZADD', k('leases'), now + lease, user)
      redis.call('HSET', k('leased'), user, '{"o":' .. owner .. ',"j":' .. raw .. '}')
      table.insert(out, user); table.insert(out, raw)
    end
  end
end
return out
"""
)

# ARGV: owner, lease_ms, users... Gives the users still owned.
RENEW = (
    COMMON
    + """
watch_clock()
local out = {}
for i = 3, #ARGV do
  local user = ARGV[i]
  local raw = redis.call('HGET', k('leased'), user)
  if raw and cjson.decode(raw).o == ARGV[1] and running(user) then
    redis.call('ZADD', k('leases'), now + tonumber(ARGV[2]), user)
    table.insert(out, user)
  end
end
return out
"""
)

# ARGV: history_length, result_seconds, and JSON: a list for each user of owner, user, outcome, delay_ms, late_ms,
#       attempt_spent, left (of a leaver, as far as that is told), history entry (JSON; of a dead letter or a held removal also what is kept of it), counter, requests.
# Gives applied, the lane of what was submitted meanwhile or '', run finished (id or '') for each.
SETTLE = (
    COMMON
    + """
-- the full sync under way, and the lists that hold anybody at all: mostly none does
local current, lists = redis.call('GET', k('run')), {}
for _, name in ipairs({'failed', 'held', 'rejected'}) do
  if redis.call('HLEN', k(name)) > 0 then table.insert(lists, k(name)) end
end
-- what is to be added to full syncs: id -> counter -> how many; and who was the last of each that was counted
local sums, last = {}, {}
local function add(id, counter, count)
  if not sums[id] then sums[id] = {} end
  sums[id][counter] = (sums[id][counter] or 0) + count
end
local function finish(run)
  if redis.call('HEXISTS', run, 'scanned_all') == 1 and redis.call('SCARD', run .. ':users') == 0 then
    return redis.call('HSETNX', run, 'finished_at', now) == 1
  end
end
local function settle(number, owner, user, outcome, delay, late, spent, left, history, counter, requests)
  local raw = redis.call('HGET', k('leased'), user)
  if not raw then return '0', '' end
  local leased = cjson.decode(raw)
  if leased.o ~= owner then return '0', '' end
  local job = leased.j
  if job.r and requests > 0 then add(job.r, 'requests', requests) end
  redis.call('XADD', k('history'), 'MAXLEN', '~', ARGV[1], '*', 'e', history)
  if outcome == 'pending' then
    if spent then job.a = job.a + 1 end
    restore(user, job, delay, late)
    return '1', ''
  end
  release(user)
  -- nobody has the user before what was sent last can be carried out no more
  if late > 0 then redis.call('ZADD', k('leases'), now + late, user) end
  if outcome == 'failed' or outcome == 'held' then
    local entry = cjson.decode(history)
    local before = redis.call('HGET', k(outcome), user)
    entry.first = before and cjson.decode(before).first or now
    entry.last = now
    entry.p = job.p
    redis.call('HSET', k(outcome), user, cjson.encode(entry))
    redis.call('HDEL', k(outcome == 'failed' and 'held' or 'failed'), user)
  elseif outcome ~= 'skipped' then
    -- what one trigger may not do does not end what waits for a person on account of another
    -- nor does being left alone for a while end what a person has rejected
    for _, list in ipairs(lists) do
      if list ~= k('rejected') or outcome ~= 'unchanged' or not left then redis.call('HDEL', list, user) end
    end
  end
  if job.p.manual then
    redis.call('SET', k('result:' .. user), cjson.encode({g = job.g, e = history}), 'EX', ARGV[2])
    redis.call('XADD', k('told'), 'MAXLEN', '~', 1000, '*', 'u', user)
  end
  local raw_other = redis.call('HGET', k('jobs'), user)
  local other = raw_other and cjson.decode(raw_other)
  local again = other and lane(other) or ''
  if other and late > 0 then
    wait_until(other, now + late)
    pending(user, other, other.n)
  end
  local function count(id)
    if redis.call('SREM', k('run:' .. id .. ':users'), user) == 0 then return end
    add(id, counter, 1)
    last[id] = number
  end
  if job.r then count(job.r) end
  -- the full sync under way may wait for this user, too, though a later batch has put its name on the job
  if current and current ~= job.r and again == '' then count(current) end
  return '1', late > 0 and '' or again
end
local out = {}
for number, each in ipairs(cjson.decode(ARGV[3])) do
  local applied, again = settle(number, unpack(each))
  table.insert(out, applied); table.insert(out, again); table.insert(out, '')
end
for id, counters in pairs(sums) do
  local run = k('run:' .. id)
  for counter, count in pairs(counters) do redis.call('HINCRBY', run, counter, count) end
  if last[id] and finish(run) then out[3 * last[id]] = id end
end
return out
"""
)

# ARGV: owner, delay_ms, late_ms, users... No attempt is spent.
HAND_BACK = (
    COMMON
    + """
for i = 4, #ARGV do
  local raw = redis.call('HGET', k('leased'), ARGV[i])
  if raw and cjson.decode(raw).o == ARGV[1] then
    restore(ARGV[i], cjson.decode(raw).j, tonumber(ARGV[2]), tonumber(ARGV[3]))
  end
end
return #ARGV - 3
"""
)

# ARGV: users. Their message is let go: of whoever still waits for it, another is due at once.
LET_GO = (
    COMMON
    + """
for _, user in ipairs(ARGV) do
  local raw = redis.call('HGET', k('jobs'), user)
  local job = raw and cjson.decode(raw)
  if job and job.n <= now then redis.call('ZADD', k(list(lane(job))), 'XX', now, user) end
end
return #ARGV
"""
)

# ARGV: limit, resend_ms, lane, '1' for none but those whose lease ran out. Leases that ran out become pending; gives each of the
# lane whose message is to be sent.
SWEEP = (
    COMMON
    + """
watch_clock()
local limit, resend, mine = tonumber(ARGV[1]), tonumber(ARGV[2]), list(ARGV[3])
for _, user in ipairs(redis.call('ZRANGEBYSCORE', k('leases'), '-inf', now, 'LIMIT', 0, limit)) do
  local raw = redis.call('HGET', k('leased'), user)
  if raw then
    local job = cjson.decode(raw).j
    job.a = job.a + 1
    job = restore(user, job, 0, 0)
    -- before all who may have a message: these have none
    if job.n <= now then redis.call('ZADD', k(list(lane(job))), 0, user) end
  else redis.call('ZREM', k('leases'), user) end
end
local out = {}
for _, user in ipairs(redis.call('ZRANGEBYSCORE', k(mine), '-inf', ARGV[4] == '1' and 0 or now, 'LIMIT', 0, limit)) do
  if redis.call('HEXISTS', k('jobs'), user) == 0 then redis.call('ZREM', k(mine), user)
  else
    redis.call('ZADD', k(mine), now + resend, user)
    if not running(user) then table.insert(out, user) end
  end
end
return out
"""
)

# ARGV: JSON: a list for each user of user, held entry as it was a moment ago, what is rejected. Who has been settled since has
# nothing that could be rejected. Gives how many.
REJECT = (
    COMMON
    + """
local count = 0
for _, each in ipairs(cjson.decode(ARGV[1])) do
  if redis.call('HGET', k('held'), each[1]) == each[2] then
    redis.call('HSET', k('rejected'), each[1], each[3])
    count = count + redis.call('HDEL', k('held'), each[1])
  end
end
return {tostring(count)}
"""
)

# ARGV: 'failed' or 'held', users... Entries become pending again with the permits they had. A held one is taken
# away and its operation approved; a dead letter stays until it succeeds. Gives user, generation, lane.
AGAIN = (
    COMMON
    + """
local entries = ARGV[1]
local out = {}
for i = 2, #ARGV do
  local user = ARGV[i]
  local raw = redis.call('HGET', k(entries), user)
  if raw then
    local entry = cjson.decode(raw)
    local job = {g = redis.call('INCR', k('generation')), p = entry.p, a = 1, n = now}
    if entries == 'held' then
      job.ok = {o = entry.operation, id = entry.scim_id, c = entry.changes}
      redis.call('HDEL', k('held'), user)
    end
    local before = redis.call('HGET', k('jobs'), user)
    if before then job = merge(cjson.decode(before), job); job.a = 1 end
    wanted_now(user, job, 30000)
    table.insert(out, user); table.insert(out, tostring(job.g))
    table.insert(out, lane(job))
  end
end
return out
"""
)

# ARGV: resend_ms. Whoever waits for a back-off is due now; no attempt is given back. Gives user, lane of each to be sent.
HURRY = (
    COMMON
    + """
local out = {}
for _, mine in ipairs({'urgent', 'due'}) do
  for _, user in ipairs(redis.call('ZRANGE', k(mine), 0, -1)) do
    local raw = redis.call('HGET', k('jobs'), user)
    local job = raw and cjson.decode(raw)
    if job and job.n > now and not running(user) and wanted_now(user, job, tonumber(ARGV[1])) then
      table.insert(out, user)
      table.insert(out, lane(job))
    end
  end
end
return out
"""
)
