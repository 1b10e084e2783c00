"""The demo's folder: each demo makes it anew, and has it for itself while it runs."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from cli.session import CommandError

LOCK = "demo.lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder, empty but for the lock. Raises CommandError where a demo runs in it, or nothing can be written there."""
    with written(folder):
        lock = _lock(folder)
    try:
        with written(folder):
            _empty(folder)
        yield
    finally:
        os.close(lock)


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Says what of the folder cannot be written, and why: a disk is full, say."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename or folder} cannot be written: {error.strerror}"
    except DBAPIError as error:
        what = f"the site's database in {folder} cannot be written: {error.orig}"
    else:
        return
    raise CommandError(
        f"{what}; start the demo in a folder that can be written, on a disk with room"
    ) from None


def _lock(folder: Path) -> int:
    """The kernel lets it go with its process, a killed one included. It holds that process's number."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise CommandError(
            f"{folder} is no folder, and no demo has made it; move it away, or start the demo elsewhere"
        )
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
    except BlockingIOError:
        raise CommandError(
            f"a demo runs in this folder already (process {os.read(lock, 20).decode()}); "
            "end it with Ctrl-C, or start this one elsewhere"
        ) from None
    return lock


def _empty(folder: Path) -> None:
    # Somebody else may have made it; a token is about to be written.
    folder.chmod(0o700)
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        # Another demo could lock a second file of that name.
        elif each.name != LOCK:
            each.unlink()
