"""Manual provisioning: `scimpipe provision`, and `python -m producers.manual` for scripts that enqueue.

    python -m producers.manual TARGET UUID [UUID ...] [--config FILE]

Enqueues and exits; prints one uuid a line. To wait for the results, use `scimpipe provision`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from redis import RedisError

from config.loading import ConfigError, load
from config.logging import configure, get_logger
from config.settings import OperationName, Trigger
from producers.opened import opened
from producers.submission import resolve
from provisioning.errors import SourceUnreadable
from provisioning.mapping import MappingError
from provisioning.model import UUID
from provisioning.ports import SourceReader
from state.connection import RedisUnavailable, broken_off
from state.target_state import TargetState


async def submit(
    state: TargetState, users: Sequence[str], operations: frozenset[OperationName] | None = None
) -> Mapping[str, int]:
    """Submits users at once, ahead of any full sync. operations narrows what the manual switches allow."""
    return await state.submit(users, Trigger.MANUAL, operations=operations)


async def _spelled(reader: SourceReader, state: TargetState, uuid: str) -> str:
    """As Drupal has it, which is asked only where there are capitals. Raises SourceUnreadable."""
    if uuid == uuid.lower():
        return uuid
    return (await resolve(reader, uuid, [state])).uuid or uuid.lower()


async def _main(target: str, users: Sequence[str], config: Path | None) -> int:
    settings = load(config)
    if target not in settings.targets:
        sys.stderr.write(
            f"there is no target {target!r} in {settings.path}; there are: {', '.join(settings.targets)}\n"
        )
        return 2
    async with opened(settings, get_logger()) as all_of_it:
        state = all_of_it.state(target)
        submitted = await submit(state, [await _spelled(all_of_it.reader, state, user) for user in users])
    try:
        sys.stdout.write("".join(f"{user}\n" for user in submitted))
        sys.stdout.flush()
    except OSError as error:
        sys.stderr.write(f"all are enqueued, but stdout takes no more: {error.strerror}\n")
        # Python flushes once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _uuid(text: str) -> str:
    if not UUID.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a uuid; `scimpipe provision` takes names, uids and e-mail addresses as well"
        )
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes as DESIGN 5.2: 0 enqueued, 2 wrong usage or config, 3 Redis (or Drupal, where it is asked) cannot be reached."""
    parser = argparse.ArgumentParser(
        prog="python -m producers.manual", description="Enqueue users for provisioning."
    )
    parser.add_argument("target")
    parser.add_argument("user", nargs="+", type=_uuid, help="uuid of a Drupal user")
    parser.add_argument("--config", type=Path)
    given = parser.parse_args(arguments)
    configure(sys.stderr)
    try:
        return asyncio.run(_main(given.target, given.user, given.config))
    except (ConfigError, MappingError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (RedisUnavailable, SourceUnreadable) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    except RedisError as error:
        sys.stderr.write(f"{broken_off(error)}\n")
        return 3


if __name__ == "__main__":
    sys.exit(main())
