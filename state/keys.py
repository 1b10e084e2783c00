"""The key layout. The braces are a hash tag: all keys of a target live in one slot of a cluster.

scimpipe:{T}:jobs        hash    user -> job (JSON): pending users and what they are pending for
scimpipe:{T}:due         zset    user -> ms at which a message is to be sent (again) for a pending user of the bulk lane
scimpipe:{T}:urgent      zset    the same of the interactive lane
scimpipe:{T}:leases      zset    user -> ms at which the lease of a running user ends
scimpipe:{T}:leased      hash    user -> owner and job (JSON) of a running user
scimpipe:{T}:generation  counter of submissions
scimpipe:{T}:clock       string  the server's time as last seen, in ms
scimpipe:{T}:failed      hash    user -> dead letter (JSON)
scimpipe:{T}:held        hash    user -> removal that waits for a person (JSON)
scimpipe:{T}:rejected    hash    user -> operation a person has rejected, and attributes (JSON list)
scimpipe:{T}:result:U    string  the last result of a user somebody waits for; expires after an hour
scimpipe:{T}:told        stream  the last users whose result was written; whoever waits reads along
scimpipe:{T}:address     string  base_url of the target whose accounts are linked
scimpipe:{T}:links       hash    user -> link (compact text)
scimpipe:{T}:owners      hash    SCIM id -> user
scimpipe:{T}:linked      hash    of all links: layouts, and how many are settled, deactivated or have left (state.links)
scimpipe:{T}:quirks      set     what was learned of the target
scimpipe:{T}:removals    zset    user:operation -> ms: removals of the last hour
scimpipe:{T}:removable   string  how many accounts were active when the removals of the last hour began; expires
scimpipe:{T}:cleared:P   zset    user -> ms: who lost attribute P in the last hour
scimpipe:{T}:gate        hash    throttled_until, told_until, failures, paused, quarantined, since, probe_at,
                                 probe_wait
scimpipe:{T}:history     stream  what was done
scimpipe:{T}:run         string  id of the run under way or last
scimpipe:{T}:run:R       hash    counters, cursor and times of a full sync
scimpipe:{T}:run:R:users set     users the run still waits for
scimpipe:{T}:changes     hash    change detection: watermark and the ids seen at it
scimpipe:{@drupal}:site  string  uuid of user 1 of the site whose users are linked
scimpipe:{@drupal}:roster hash   change detection: range of uids -> the users the site had in it (packed)
scimpipe:{@drupal}:polls hash    change detection: when a poll last came to an end, since when they fail, and why
scimpipe:{T}:pace        hash    the rate at which requests are sent, where one is known or set (state.rate); expires
scimpipe:{T}:paced       zset    number -> ms: moments at which requests were sent, of the last half minute; expires
scimpipe:{T}:scanner     string  who scans for a full sync; expires
scimpipe:targets         set     names that targets have, or once had: of those no longer in the config the links stay
scimpipe:key             string  32 random bytes (hex): the key of all digests
scimpipe:process:ID      string  a process that is alive: a digest of its config, and its lanes; expires
scimpipe:leader:NAME     string  who leads; expires
dramatiq:*               the queue: hints only (see dramatiq's dispatch.lua)
"""

from __future__ import annotations

PREFIX = "scimpipe"
QUEUE = "dramatiq"
DIGEST_KEY = f"{PREFIX}:key"
TARGETS = f"{PREFIX}:targets"
# The source has a gate of its own, under a name no target can have.
SOURCE = "@drupal"


def key(target: str, name: str) -> str:
    return f"{PREFIX}:{{{target}}}:{name}"
