"""The first lines of the scimpipe command: whoever presses Ctrl-C while the rest is loaded sees no traceback."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    try:
        from cli.main import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
