"""What the ledger's transitions (state.scripts) share, in Lua: time, jobs, leases, and a clock that is set."""

from __future__ import annotations

COMMON = """
local T = redis.call('TIME')
local now = tonumber(T[1]) * 1000 + math.floor(tonumber(T[2]) / 1000)
local P, K = KEYS[1], {}
local function k(name)
  local key = K[name]
  if not key then key = P .. name; K[name] = key end
  return key
end
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
local function late_until(user)
  -- of a lease that nobody holds: until then what was sent last may still be carried out; 0 without one
  if redis.call('HEXISTS', k('leased'), user) == 1 then return 0 end
  return tonumber(redis.call('ZSCORE', k('leases'), user) or '0')
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
local function wait_until(job, at)
  -- whoever asks
  job.l = math.max(job.l or 0, at)
  job.n = math.max(job.n, at)
end
local function wanted_now(user, job, resend)
  -- by a person. false: not yet, and the sweeper sends its message then
  wait_until(job, late_until(user))
  job.n = math.max(now, job.l)
  pending(user, job, job.n > now and job.n or now + resend)
  return job.n <= now
end
"""
