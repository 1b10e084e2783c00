"""The type of a connected client, in one place."""

from __future__ import annotations

from typing import Any

# A redis.asyncio.Redis with decode_responses=True. redis-py types every answer as "bytes or text or awaitable of
# either"; ours are text, which its types cannot say.
Redis = Any
