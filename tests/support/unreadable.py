"""What is told of a Drupal database that cannot be read."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path

import pytest
from sqlalchemy import make_url

from config.settings import DrupalDatabaseSettings, Secret
from drupal.database import DatabaseReader
from provisioning.errors import SourceUnreadable
from tests.support.databases import KINDS

SERVERS = tuple(kind for kind in KINDS if kind != "sqlite")
CANARY = "canary-secret-7731"


def told(
    url: str, *, password: Path | None = None, fields: frozenset[str] = frozenset(), prefix: str = ""
) -> str:
    """The detail of the SourceUnreadable that verify raises, with its whole traceback free of secrets."""

    async def run() -> str:
        secret = Secret(file=password) if password else None
        settings = DrupalDatabaseSettings(url=url, password=secret, table_prefix=prefix)
        reader = DatabaseReader(settings, fields)
        try:
            return await reader.verify()
        finally:
            await reader.close()

    with pytest.raises(SourceUnreadable) as raised:
        asyncio.run(run())
    shown = "".join(traceback.format_exception(raised.value))
    assert CANARY not in shown
    assert "sqlalchemy" not in shown
    assert "SELECT" not in raised.value.detail.replace("grant it SELECT on", "")
    return raised.value.detail


def database_of(url: str) -> str:
    return str(make_url(url).database)


READABLE = ("users", "users_field_data", "user__roles")
