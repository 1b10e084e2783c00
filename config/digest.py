"""What of a config decides what becomes of users, in a few letters: processes that were started with another one are told by it."""

from __future__ import annotations

import hashlib
import json

from config.settings import Settings

# Where secrets and certificates lie may differ from machine to machine.
_OF_THE_MACHINE = {"token", "oauth2", "ca_file"}


def config_digest(settings: Settings) -> str:
    """Of the targets, the same on every machine."""
    targets = {name: target.model_dump(exclude=_OF_THE_MACHINE) for name, target in settings.targets.items()}
    text = json.dumps(targets, sort_keys=True, default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _plain(value: object) -> object:
    # Sets have another order in every process.
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
