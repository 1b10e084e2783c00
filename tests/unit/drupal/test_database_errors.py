"""The words of drivers that the servers of the integration tests cannot be brought to say."""

from __future__ import annotations

import psycopg
import pymysql
import pytest
from sqlalchemy import exc, make_url
from sqlalchemy.exc import OperationalError

from drupal.database_errors import MYSQL, POSTGRESQL, SENTENCES, SQLITE, Reason, database_error, reason_of
from drupal.errors import Unavailable
from provisioning.errors import DETAIL_LIMIT

URL = make_url("postgresql+psycopg://drupal:canary-secret@db.example:5432/site")


def test_every_reason_has_a_sentence() -> None:
    assert set(SENTENCES) == set(Reason)


def test_every_reason_but_the_last_resort_is_used() -> None:
    coded = {*MYSQL.values(), *POSTGRESQL.values(), *SQLITE.values()}

    others = {Reason.UNKNOWN_HOST, Reason.NO_CRYPTOGRAPHY, Reason.NO_FILE, Reason.OTHER}
    assert set(Reason) - coded == others


@pytest.mark.parametrize("reason", Reason)
def test_sentences_fit_a_detail_with_ordinary_names(reason: Reason) -> None:
    names = {
        "host": "database.internal:5432",
        "account": "drupal_ro",
        "database": "/var/lib/drupal/site.sqlite",
    }

    assert len(SENTENCES[reason][1].format(**names, code=1234)) <= DETAIL_LIMIT


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ('FATAL:  password authentication failed for user "drupal"', Reason.SIGN_IN),
        ("fe_sendauth: no password supplied", Reason.SIGN_IN),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "drupal"', Reason.SIGN_IN),
        ('FATAL:  role "drupal" is not permitted to log in', Reason.SIGN_IN),
        ('FATAL:  database "site" does not exist', Reason.UNKNOWN_DATABASE),
        ('FATAL:  permission denied for database "site"', Reason.NO_RIGHT),
        ("FATAL:  sorry, too many clients already", Reason.BUSY),
        ('could not translate host name "db" to address', Reason.UNKNOWN_HOST),
        ('connection to server at "database.role.example" failed: Connection refused', Reason.UNREACHABLE),
        ("server does not support SSL, but SSL was required", Reason.TLS),
        ('root certificate file "/etc/role.pem" does not exist', Reason.TLS),
        ("SSL error: certificate verify failed", Reason.TLS),
        ('invalid sslmode value: "full"', Reason.TLS),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "drupal", SSL off', Reason.SIGN_IN),
        ("connection timeout expired", Reason.UNREACHABLE),
    ],
)
def test_postgresqls_words_for_a_failed_connection_are_understood(words: str, reason: Reason) -> None:
    assert reason_of(OperationalError("SELECT 1", {}, psycopg.OperationalError(words))) is reason


def test_mysql_8_without_cryptography_is_told() -> None:
    words = "'cryptography' package is required for sha256_password or caching_sha2_password auth methods"

    assert reason_of(RuntimeError(words)) is Reason.NO_CRYPTOGRAPHY


def test_an_error_nobody_knows_gives_its_number_and_not_its_words() -> None:
    error = OperationalError("SELECT 1", {"name": "Zoë"}, pymysql.err.OperationalError(4711, "near 'Zoë'"))

    explained = database_error(error, URL)

    assert isinstance(explained, Unavailable)
    assert "(4711)" in explained.detail
    assert "Zoë" not in explained.detail
    assert "canary-secret" not in explained.detail


def test_an_error_without_a_driver_is_still_one() -> None:
    assert isinstance(database_error(exc.TimeoutError("QueuePool limit"), URL), Unavailable)
