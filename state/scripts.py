"""The ledger's transitions, one Lua script each: a crash before or after a script is safe, and there is no during.

A job is {g: generation, p: {trigger: true | [operations]}, a: attempt, n: not before (ms), l: not before, whoever asks (ms),
r: run, ok: {o: operation, id: account, c: attributes} that a person approved}.
Time is the server's, so that the clocks of the machines do not matter.
"""

from __future__ import annotations

_COMMON = """
local T = redis.call('TIME')
local now = tonumber(T[1]) * 1000 + math.floor(tonumber(T[2]) / 1000)
local P = KEYS[1]
local function k(name) return P .. name end
local function merge(a, b)
  -- the union of two pending jobs for one user: everybody's permissions, the newer generation; the wait of the first,
  -- which only a person shortens
  for trigger, ops in pairs(b.p) do
    local mine = a.p[trigger]
    if mine == nil or ops == true then a.p[trigger] = ops
    elseif mine ~= true then
      local seen = {}
      for _, o in ipairs(mine) do seen[o] = true end
      for _, o in ipairs(ops) do if not seen[o] then table.insert(mine, o) end end
    end
  end
  a.g = math.max(a.g, b.g)
  a.a = math.max(a.a, b.a)
  if b.p.manual then a.n = math.min(a.n, b.n) end
  -- a write without an answer may still be carried out: nobody shortens that
  a.l = math.max(a.l or 0, b.l or 0)
  a.n = math.max(a.n, a.l)
  a.r = b.r or a.r
  a.ok = b.ok or a.ok
  return a
end
local function lane(job) return (job.p.manual or job.p.automatic) and 'interactive' or 'bulk' end
local function list(of_lane) return of_lane == 'interactive' and 'urgent' or 'due' end
local function pending(user, job, send_at)
  redis.call('HSET', k('jobs'), user, cjson.encode(job))
  local mine = list(lane(job))
  -- a job becomes urgent while it waits, and never the other way round
  if mine == 'urgent' then redis.call('ZREM', k('due'), user) end
  redis.call('ZADD', k(mine), send_at, user)
end
local function running(user)
  local deadline = redis.call('ZSCORE', k('leases'), user)
  return deadline and tonumber(deadline) > now
end
local function release(user)
  redis.call('ZREM', k('leases'), user)
  redis.call('HDEL', k('leased'), user)
end
local function set_back(by)
  -- the server's clock was set back: all that is to come would be that much later
  for _, name in ipairs({'urgent', 'due', 'leases', 'removals'}) do
    local rows = redis.call('ZRANGE', k(name), 0, -1, 'WITHSCORES')
    for i = 1, #rows, 2 do redis.call('ZADD', k(name), tonumber(rows[i + 1]) - by, rows[i]) end
  end
  local jobs = redis.call('HGETALL', k('jobs'))
  for i = 1, #jobs, 2 do
    local job = cjson.decode(jobs[i + 1])
    job.n = job.n - by
    if job.l then job.l = job.l - by end
    redis.call('HSET', k('jobs'), jobs[i], cjson.encode(job))
  end
  for _, field in ipairs({'throttled_until', 'probe_at'}) do
    local at = redis.call('HGET', k('gate'), field)
    if at then redis.call('HSET', k('gate'), field, string.format('%d', tonumber(at) - by)) end
  end
end
local function watch_clock()
  -- before a lease is judged: had the clock been set forward, every lease would have run out at once, and two workers
  -- would have the same user. Leases outlast what stays below 20 s.
  local seen = tonumber(redis.call('GET', k('clock')) or now)
  if now + 10000 < seen then set_back(seen - now)
  elseif now > seen + 20000 then
    for _, user in ipairs(redis.call('ZRANGE', k('leases'), 0, -1)) do
      redis.call('ZADD', k('leases'), 'GT', now + 30000, user)
    end
  end
  redis.call('SET', k('clock'), now)
end
local function restore(user, job, delay, late)
  -- a job that was running becomes pending again, together with what was submitted meanwhile
  release(user)
  job.n = now + math.max(delay, late)
  if late > 0 then job.l = now + late end
  local other = redis.call('HGET', k('jobs'), user)
  if other then job = merge(job, cjson.decode(other)) end
  pending(user, job, job.n)
  return job
end
local function wanted_now(user, job, resend)
  -- by a person. false: not yet, and the sweeper sends its message then
  job.n = math.max(now, job.l or 0)
  pending(user, job, job.n > now and job.n or now + resend)
  return job.n <= now
end
"""

# ARGV: trigger, operations (JSON list or 'true'), run or '', resend_ms, at_once ('1'), users (JSON).
# Gives user, generation, send ('1'/'0') for each.
MARK = (
    _COMMON
    + """
local trigger, ops, run, resend, at_once = ARGV[1], cjson.decode(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[5]
local out = {}
for _, user in ipairs(cjson.decode(ARGV[6])) do
  local job = {g = redis.call('INCR', k('generation')), p = {[trigger] = ops}, a = 1, n = now}
  if run ~= '' then job.r = run; redis.call('SADD', k('run:' .. run .. ':users'), user) end
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
  if running(user) then send = false end
  pending(user, job, (send or not before) and now + resend or due or now)
  table.insert(out, user); table.insert(out, tostring(job.g)); table.insert(out, send and '1' or '0')
end
if run ~= '' then redis.call('EXPIRE', k('run:' .. run .. ':users'), 2592000) end
return out
"""
)

# ARGV: owner, lease_ms, users (JSON). Gives user, job for each that was claimed.
CLAIM = (
    _COMMON
    + """
watch_clock()
local owner, lease = ARGV[1], tonumber(ARGV[2])
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
        job = merge(dead, job)
      end
      redis.call('ZADD', k('leases'), now + lease, user)
      redis.call('HSET', k('leased'), user, cjson.encode({o = owner, j = job}))
      table.insert(out, user); table.insert(out, cjson.encode(job))
    end
  end
end
return out
"""
)

# ARGV: owner, lease_ms, users... Gives the users still owned.
RENEW = (
    _COMMON
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
#       attempt_spent, history entry (JSON; of a dead letter or a held removal also what is kept of it), counter, requests.
# Gives applied, the lane of what was submitted meanwhile or '', run finished (id or '') for each.
SETTLE = (
    _COMMON
    + """
local function finish(run)
  if redis.call('HEXISTS', run, 'scanned_all') == 1 and redis.call('SCARD', run .. ':users') == 0 then
    return redis.call('HSETNX', run, 'finished_at', now) == 1
  end
end
local function settle(owner, user, outcome, delay, late, spent, history, counter, requests)
  local raw = redis.call('HGET', k('leased'), user)
  if not raw then return '0', '', '' end
  local leased = cjson.decode(raw)
  if leased.o ~= owner then return '0', '', '' end
  local job = leased.j
  if job.r and requests > 0 then redis.call('HINCRBY', k('run:' .. job.r), 'requests', requests) end
  redis.call('XADD', k('history'), 'MAXLEN', '~', ARGV[1], '*', 'e', history)
  if outcome == 'pending' then
    if spent then job.a = job.a + 1 end
    restore(user, job, delay, late)
    return '1', '', ''
  end
  release(user)
  if outcome == 'failed' or outcome == 'held' then
    local entry = cjson.decode(history)
    local before = redis.call('HGET', k(outcome), user)
    entry.first = before and cjson.decode(before).first or now
    entry.last = now
    entry.p = job.p
    redis.call('HSET', k(outcome), user, cjson.encode(entry))
    redis.call('HDEL', k(outcome == 'failed' and 'held' or 'failed'), user)
  else
    redis.call('HDEL', k('failed'), user)
    redis.call('HDEL', k('held'), user)
    if outcome ~= 'skipped' then redis.call('HDEL', k('rejected'), user) end
  end
  if job.p.manual then
    redis.call('SET', k('result:' .. user), cjson.encode({g = job.g, e = history}), 'EX', ARGV[2])
    redis.call('XADD', k('told'), 'MAXLEN', '~', 1000, '*', 'u', user)
  end
  local other = redis.call('HGET', k('jobs'), user)
  local again = other and lane(cjson.decode(other)) or ''
  local finished = ''
  local function count(id)
    local run = k('run:' .. id)
    if redis.call('SREM', run .. ':users', user) == 0 then return end
    redis.call('HINCRBY', run, counter, 1)
    if finish(run) then finished = id end
  end
  if job.r then count(job.r) end
  -- the full sync under way may wait for this user, too, though a later batch has put its name on the job
  local current = redis.call('GET', k('run'))
  if current and current ~= job.r and again == '' then count(current) end
  return '1', again, finished
end
local out = {}
for _, each in ipairs(cjson.decode(ARGV[3])) do
  local applied, again, run = settle(unpack(each))
  table.insert(out, applied); table.insert(out, again); table.insert(out, run)
end
return out
"""
)

# ARGV: owner, delay_ms, late_ms, users... No attempt is spent.
HAND_BACK = (
    _COMMON
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
    _COMMON
    + """
for _, user in ipairs(ARGV) do
  local raw = redis.call('HGET', k('jobs'), user)
  local job = raw and cjson.decode(raw)
  if job and job.n <= now then redis.call('ZADD', k(list(lane(job))), 'XX', now, user) end
end
return #ARGV
"""
)

# ARGV: limit, resend_ms, lane. Leases that ran out become pending; gives each of the lane whose message is to be sent.
SWEEP = (
    _COMMON
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
for _, user in ipairs(redis.call('ZRANGEBYSCORE', k(mine), '-inf', now, 'LIMIT', 0, limit)) do
  if redis.call('HEXISTS', k('jobs'), user) == 0 then redis.call('ZREM', k(mine), user)
  else
    redis.call('ZADD', k(mine), now + resend, user)
    if not running(user) then table.insert(out, user) end
  end
end
return out
"""
)

# ARGV: 'failed' or 'held', users... Entries become pending again with the permits they had. A held one is taken
# away and its operation approved; a dead letter stays until it succeeds. Gives user, generation, lane.
AGAIN = (
    _COMMON
    + """
local list = ARGV[1]
local out = {}
for i = 2, #ARGV do
  local user = ARGV[i]
  local raw = redis.call('HGET', k(list), user)
  if raw then
    local entry = cjson.decode(raw)
    local job = {g = redis.call('INCR', k('generation')), p = entry.p, a = 1, n = now}
    if list == 'held' then
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
    _COMMON
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
