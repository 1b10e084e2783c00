"""Whose links these are: of the service provider at the address that a target had when its first account was linked.

Links name accounts by the ids they have there. Under another address the same ids may be other people's accounts. Under
another name nobody looks for them: the names are noted as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from config.problems import ConfigError, Problem
from config.settings import Settings
from state.client import Redis
from state.keys import TARGETS, key
from state.memory import QuirkStore

_DEFAULT_PORTS = {"http": 80, "https": 443}


async def settle_addresses(redis: Redis, settings: Settings) -> None:
    """Notes the name and the address of each target. Raises ConfigError where its links are of another, and `moved_from` does not say
    that the service provider has moved.
    """
    if settings.targets:
        await redis.sadd(TARGETS, *settings.targets)
    pipe = redis.pipeline(transaction=False)
    for name in settings.targets:
        pipe.get(key(name, "address"))
        pipe.hlen(key(name, "owners"))
    answers = iter(await pipe.execute())
    problems: list[Problem] = []
    for name, target in settings.targets.items():
        known, linked = next(answers), next(answers)
        now = normal(target.base_url)
        if known == now:
            continue
        if known is not None and linked and known != normal(target.moved_from or ""):
            problems.append(_replaced(settings, name, known, linked))
            continue
        if known is not None:
            await _forget(redis, name, everybody=not linked)
        await redis.set(key(name, "address"), now)
    if problems:
        raise ConfigError(problems)


async def left_behind(redis: Redis, settings: Settings) -> Mapping[str, str]:
    """Names that the config no longer has, though accounts are linked under them; each with what to do."""
    found = {}
    for name in sorted(await redis.smembers(TARGETS) - settings.targets.keys()):
        if linked := await redis.hlen(key(name, "owners")):
            found[name] = (
                f"{linked} account(s) are linked under {name}, which the config no longer has: they stay active when their "
                "users leave; if the section was renamed, give it that name back, or run `scimpipe sync --verify`; "
                f"docs/operations.md says how {name} is forgotten"
            )
    return found


async def _forget(redis: Redis, name: str, *, everybody: bool) -> None:
    """What was learned of the target before; and who was found to have no account there, where nobody has one."""
    await QuirkStore(redis, name).forget()
    if everybody:
        await redis.delete(key(name, "links"), key(name, "linked"))


def _replaced(settings: Settings, name: str, known: str, linked: int) -> Problem:
    return Problem(
        str(settings.path),
        f"targets.{name}.base_url",
        f"the {linked} accounts linked to users are those at {known}, and may be other people's here",
        "give another service provider a section of another name; if it is the same one, moved, write "
        f'moved_from = "{known}" beside base_url',
    )


def normal(url: str) -> str:
    """An address without what does not make it another one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port if parts.port != _DEFAULT_PORTS.get(parts.scheme) else None
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
