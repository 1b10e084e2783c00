"""What every command shares: options, exit codes, and turning errors into sentences."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from cli.output import Output
from cli.start import INTERRUPTED

if TYPE_CHECKING:
    # Loading these takes time that `--help` does not have.
    from config.settings import Settings
    from producers.opened import Opened

T = TypeVar("T")

DONE, SOME_FAILED, USAGE, UNREACHABLE, NOT_FINISHED = 0, 1, 2, 3, 4
# After Ctrl-C.
INTERRUPTED_SECONDS = 0.05

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="The config file; else $SCIMPIPE_CONFIG, else ./scimpipe.toml."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")
]
TargetOption = Annotated[
    str | None, typer.Option("--target", help="One target; all of them when it is left out.")
]
OneTargetOption = Annotated[
    str | None, typer.Option("--target", help="The target; needed only where there are several.")
]
TargetArgument = Annotated[str | None, typer.Argument(help="A target; all when none is named.")]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0, help="Seconds to wait for the workers, for each target.")
]


class CommandError(Exception):
    """Ends a command with a sentence for a person and an exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


class Session:
    """One run of one command: its settings, its output."""

    def __init__(self, config: Path | None, *, as_json: bool) -> None:
        self.output = Output(as_json=as_json)
        self._config = config
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """Raises ConfigError."""
        if self._settings is None:
            from config.loading import load

            self._settings = load(self._config)
        return self._settings

    def target(self, name: str | None) -> str:
        """The target meant; the only one, when none is named. Raises CommandError."""
        names = list(self.settings.targets)
        if name is None and len(names) == 1:
            return names[0]
        if name is None:
            raise CommandError(f"there are several targets; say --target with one of: {', '.join(names)}")
        return self._known(name)

    def targets(self, name: str | None) -> Sequence[str]:
        """The target named, or all."""
        return list(self.settings.targets) if name is None else [self._known(name)]

    def _known(self, name: str) -> str:
        from config.problems import nearest

        if name not in self.settings.targets:
            raise CommandError(
                f"there is no target {name!r} in {self.settings.path}; {nearest(name, self.settings.targets)}"
            )
        return name

    def run(self, body: Callable[[], Awaitable[int]], *, logs: bool = False) -> NoReturn:
        """Runs a command's body and ends the process with its code, or with a sentence. logs: of a process that runs
        on; other commands log only what went wrong.
        """
        from config.logging import configure

        configure(sys.stderr, quiet=not logs)
        raise typer.Exit(self.code_of(body))

    def code_of(self, body: Callable[[], Awaitable[int]]) -> int:
        """Says what went wrong."""
        import asyncio

        try:
            return asyncio.run(_awaited(body))
        except (KeyboardInterrupt, asyncio.CancelledError, typer.Abort):
            return INTERRUPTED
        except Exception as error:
            return self._told(error)

    def _told(self, error: Exception) -> int:
        try:
            message, code = explain(error)
        except Exception as unknown:  # a traceback would show its text, which can hold values
            from config.logging import get_logger

            get_logger().error("unexpected_error", exc_info=unknown)
            message, code = "an error nobody expected; please report the line above", SOME_FAILED
        self.output.error(message)
        return code


async def _awaited(body: Callable[[], Awaitable[int]]) -> int:
    import asyncio

    task = asyncio.current_task()
    assert task is not None, "asyncio.run makes one"
    loop = asyncio.get_running_loop()
    # Not at once, which may be in the middle of an import: whatever waits for something that is done already, as redis-py's next call
    # does, loses it (asyncio.wait_for of Python 3.11), and the command would go on.
    loop.add_signal_handler(signal.SIGINT, lambda: loop.call_later(INTERRUPTED_SECONDS, task.cancel))
    return await body()


def explain(error: Exception) -> tuple[str, int]:
    """The sentence and the exit code for an error; raises again what is nobody's fault but ours."""
    import redis

    from config.problems import ConfigError
    from config.text import printable
    from provisioning.errors import ProvisioningError
    from provisioning.expressions import EvaluationError
    from provisioning.mapping import MappingError
    from state.connection import RedisUnavailable, broken_off

    if isinstance(error, CommandError):
        return str(error), error.code
    if isinstance(error, ConfigError | MappingError):
        return str(error), USAGE
    if isinstance(error, RedisUnavailable):
        return f"Redis: {error}", UNREACHABLE
    if isinstance(error, redis.RedisError):
        return broken_off(error), UNREACHABLE
    if isinstance(error, ProvisioningError):
        # Names of tables and fields come from the site.
        return printable(error.detail), UNREACHABLE
    if isinstance(error, EvaluationError):
        return f"mapping: {error}", SOME_FAILED
    raise error


def opened(session: Session) -> AbstractAsyncContextManager[Opened]:
    """Redis, the site and the targets, for `async with`."""
    from config.logging import get_logger
    from producers.opened import opened as open_all

    return open_all(session.settings, get_logger())
