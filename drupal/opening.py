"""Which reader a site is read with: the one place that knows both."""

from __future__ import annotations

from config.settings import DrupalDatabaseSettings, DrupalSettings
from provisioning.ports import SourceReader


def open_reader(settings: DrupalSettings, names: frozenset[str]) -> SourceReader:
    """The reader of [drupal]. names: the Drupal names the mappings use; only those fields are read.

    Nothing connects before the first call. Each reader is imported when it is needed: a site read over JSON:API
    needs no database drivers, and the other way round.
    """
    if isinstance(settings, DrupalDatabaseSettings):
        from drupal.database import DatabaseReader

        return DatabaseReader(settings, names)
    from drupal.jsonapi import JsonApiReader

    return JsonApiReader(settings, names)
