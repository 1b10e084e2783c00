"""What of a config decides what becomes of users, in a few letters: processes that were started with another one are told by it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from config.settings import Settings

# Secrets, where files lie, and how much a process does at a time may differ from machine to machine.
_LEFT_OUT: Any = {"token": True, "ca_file": True, "limits": True, "oauth2": {"client_secret"}}
_OF_DRUPAL: Any = {"kind", "base_url", "table_prefix", "poll_seconds"}


def config_digest(settings: Settings) -> str:
    """Of the targets and of the site, the same on every machine."""
    known = {
        "targets": {name: target.model_dump(exclude=_LEFT_OUT) for name, target in settings.targets.items()},
        "drupal": settings.drupal.model_dump(include=_OF_DRUPAL),
    }
    text = json.dumps(known, sort_keys=True, default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _plain(value: object) -> object:
    # Sets have another order in every process.
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
