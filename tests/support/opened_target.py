"""A ScimTarget on a server of a test, opened and closed in one event loop."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from config.settings import LimitSettings, MappedValue, Secret, TargetSettings
from scim.quirks import QuirkStore
from scim.target import ScimTarget, open_target

T = TypeVar("T")


def with_target(
    base_url: str,
    body: Callable[[ScimTarget], Awaitable[T]],
    *,
    token: str = "token",
    token_file: Path | None = None,
    quirks: QuirkStore | None = None,
    limiter: Any = None,
    timeout_seconds: float = 5,
    **known: Any,
) -> T:
    """Runs the body with a target and gives what it gives."""
    number, name = tempfile.mkstemp()
    os.close(number)
    secret = Path(name)
    secret.write_text(token, encoding="utf-8")
    settings = TargetSettings(
        **{
            "name": "acme",
            "base_url": base_url,
            "token": Secret(file=token_file or secret),
            "mapping": {"userName": MappedValue(value="name")},
            "limits": LimitSettings(timeout_seconds=timeout_seconds),
            **known,
        }
    )

    async def run() -> T:
        target = open_target(settings, quirks=quirks, limiter=limiter)
        try:
            return await body(target)
        finally:
            await target.close()

    try:
        return asyncio.run(run())
    finally:
        secret.unlink()
