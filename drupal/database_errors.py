"""What a database driver's error means: the codes of MySQL, PostgreSQL and SQLite, each to one reason, each reason to
one class and one sentence. Nothing of the driver's own text is passed on: it can hold parameters.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from config.settings import SecretUnavailableError
from drupal.errors import DrupalError, NotDrupal, NotPermitted, SignInRefused, Unavailable, Unreachable


class Reason(Enum):
    UNREACHABLE = "unreachable"
    UNKNOWN_HOST = "unknown host"
    TLS = "tls"
    SIGN_IN = "sign-in"
    UNKNOWN_DATABASE = "unknown database"
    NO_RIGHT = "no right"
    NOT_DRUPAL = "not drupal"
    NO_FILE = "no file"
    NO_SQLITE = "no sqlite"
    NOT_OPENED = "not opened"
    BUSY = "busy"
    NO_CRYPTOGRAPHY = "no cryptography"
    OTHER = "other"


# {host}, {account}, {database}: of drupal.url. {code}: the driver's error code.
SENTENCES: Mapping[Reason, tuple[type[DrupalError], str]] = {
    Reason.UNREACHABLE: (
        Unreachable,
        "no connection to the database at {host}; check host and port in drupal.url, that it runs and lets this machine in",
    ),
    Reason.UNKNOWN_HOST: (Unreachable, "nobody knows the host {host}; check the host in drupal.url"),
    Reason.TLS: (
        Unreachable,
        "no TLS with the database at {host}; check the TLS arguments of drupal.url, the files they name, and that it offers TLS",
    ),
    Reason.SIGN_IN: (
        SignInRefused,
        (
            "the database at {host} refuses the account {account}; check the account in drupal.url, drupal.password, "
            "and that it may sign in from this machine"
        ),
    ),
    Reason.UNKNOWN_DATABASE: (
        NotDrupal,
        "there is no database {database} at {host}; check the name after the last slash of drupal.url",
    ),
    Reason.NO_RIGHT: (
        NotPermitted,
        (
            "the account {account} may not read Drupal's tables in {database}; grant it SELECT on users, users_field_data, "
            "user__roles and the user__field_* tables the mapping uses (with the table prefix, if any)"
        ),
    ),
    Reason.NOT_DRUPAL: (
        NotDrupal,
        "the tables in {database} are not those of a Drupal site (8 or later); check drupal.url and drupal.table_prefix",
    ),
    Reason.NO_FILE: (
        Unreachable,
        "{database}: there is no such file; check the path in drupal.url and drupal.table_prefix (on SQLite a part of the file's name)",
    ),
    Reason.NO_SQLITE: (NotDrupal, "{database} is not an SQLite database; check the path in drupal.url"),
    Reason.NOT_OPENED: (
        Unreachable,
        (
            "{database} cannot be opened as an SQLite database; check the path in drupal.url, that this account may read the file "
            "and write in its folder (Drupal keeps SQLite in WAL mode, where readers keep a -shm file)"
        ),
    ),
    Reason.BUSY: (
        Unavailable,
        "the database {database} is busy: locked, out of connections or too slow; it is tried again",
    ),
    Reason.NO_CRYPTOGRAPHY: (
        SignInRefused,
        "the database at {host} wants an encrypted password exchange for {account}; pip install cryptography, or connect with TLS",
    ),
    Reason.OTHER: (
        Unavailable,
        "the database {database} answered with an error ({code}); its own log says more",
    ),
}

# https://mariadb.com/kb/en/mariadb-error-code-reference/
MYSQL: Mapping[int, Reason] = {
    1040: Reason.BUSY,
    1044: Reason.NO_RIGHT,
    1045: Reason.SIGN_IN,
    1049: Reason.UNKNOWN_DATABASE,
    1054: Reason.NOT_DRUPAL,
    1130: Reason.SIGN_IN,
    1142: Reason.NO_RIGHT,
    1143: Reason.NO_RIGHT,
    1146: Reason.NOT_DRUPAL,
    1203: Reason.BUSY,
    1205: Reason.BUSY,
    1213: Reason.BUSY,
    1698: Reason.SIGN_IN,
    1969: Reason.BUSY,
    2003: Reason.UNREACHABLE,
    2006: Reason.UNREACHABLE,
    2013: Reason.UNREACHABLE,
    2026: Reason.TLS,
    3024: Reason.BUSY,
}

# https://www.postgresql.org/docs/current/errcodes-appendix.html
POSTGRESQL: Mapping[str, Reason] = {
    "28000": Reason.SIGN_IN,
    "28P01": Reason.SIGN_IN,
    "3D000": Reason.UNKNOWN_DATABASE,
    "42501": Reason.NO_RIGHT,
    "42703": Reason.NOT_DRUPAL,
    "42P01": Reason.NOT_DRUPAL,
    "53300": Reason.BUSY,
    "55P03": Reason.BUSY,
    "57014": Reason.BUSY,
    "57P01": Reason.UNREACHABLE,
    "57P02": Reason.UNREACHABLE,
    "57P03": Reason.BUSY,
}
# libpq gives no code for a connection that fails, only text. In this order.
POSTGRESQL_TEXTS: tuple[tuple[str, Reason], ...] = (
    ("resolve host", Reason.UNKNOWN_HOST),
    ("translate host name", Reason.UNKNOWN_HOST),
    ("too many connections", Reason.BUSY),
    ("too many clients", Reason.BUSY),
    ("permission denied for database", Reason.NO_RIGHT),
    ("password", Reason.SIGN_IN),
    ("authentication", Reason.SIGN_IN),
    ("pg_hba.conf", Reason.SIGN_IN),
    ("certificate", Reason.TLS),
    ("ssl", Reason.TLS),
    ("role", Reason.SIGN_IN),
    ("database", Reason.UNKNOWN_DATABASE),
)

# https://www.sqlite.org/rescode.html
SQLITE: Mapping[str, Reason] = {
    "SQLITE_AUTH": Reason.NO_RIGHT,
    "SQLITE_BUSY": Reason.BUSY,
    "SQLITE_CANTOPEN": Reason.NOT_OPENED,
    "SQLITE_IOERR": Reason.NOT_OPENED,
    "SQLITE_LOCKED": Reason.BUSY,
    "SQLITE_NOTADB": Reason.NO_SQLITE,
    "SQLITE_PERM": Reason.NOT_OPENED,
    "SQLITE_READONLY": Reason.NOT_OPENED,
}


def database_error(error: Exception, url: URL) -> DrupalError:
    """What an error of SQLAlchemy's, a driver's or a secret's means, in a sentence without values."""
    if isinstance(error, SecretUnavailableError):
        return SignInRefused(f"drupal.password: {error}")
    reason = reason_of(error)
    if reason is Reason.NOT_OPENED and _is_missing(Path(str(url.database))):
        reason = Reason.NO_FILE
    kind, sentence = SENTENCES[reason]
    names = {"host": _host(url), "account": url.username or "(none)", "database": url.database}
    return kind(sentence.format(**names, code=_code(error)))


def _is_missing(file: Path) -> bool:
    try:
        file.expanduser().stat()
    except (OSError, RuntimeError, ValueError) as error:
        # The others: in a folder that we may not look into; ~somebody without a home; a NUL.
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


def reason_of(error: Exception) -> Reason:
    original: Any = getattr(error, "orig", None) or error
    if "cryptography" in str(original) and isinstance(original, RuntimeError):
        return Reason.NO_CRYPTOGRAPHY
    if isinstance(original, ssl.SSLError | FileNotFoundError | PermissionError | IsADirectoryError):
        # PyMySQL lets these pass: a file that an argument names.
        return Reason.TLS
    module = type(original).__module__.partition(".")[0]
    if module == "pymysql":
        return _mysql_reason(original)
    if module == "psycopg":
        return _postgresql_reason(original)
    return _sqlite_reason(original) if module == "sqlite3" else Reason.OTHER


def _mysql_reason(error: Any) -> Reason:
    cause = getattr(error, "original_exception", None)
    if isinstance(cause, socket.gaierror | ssl.SSLError):
        return Reason.UNKNOWN_HOST if isinstance(cause, socket.gaierror) else Reason.TLS
    return MYSQL.get(error.args[0] if error.args else 0, Reason.OTHER)


def _postgresql_reason(error: Any) -> Reason:
    if error.sqlstate is not None:
        return POSTGRESQL.get(error.sqlstate, Reason.OTHER)
    if type(error).__name__ not in {"OperationalError", "ConnectionTimeout"}:
        return Reason.OTHER
    # Without the quoted names: a host may be called "database".
    text = re.sub(r'"[^"]*"', "", str(error).lower())
    return next((reason for part, reason in POSTGRESQL_TEXTS if part in text), Reason.UNREACHABLE)


def _sqlite_reason(error: Any) -> Reason:
    if "no such table" in str(error) or "no such column" in str(error):
        return Reason.NOT_DRUPAL
    name = getattr(error, "sqlite_errorname", "")
    return next((reason for code, reason in SQLITE.items() if name.startswith(code)), Reason.OTHER)


def _code(error: Exception) -> str:
    original: Any = getattr(error, "orig", None) or error
    if original.args and isinstance(original.args[0], int):
        return str(original.args[0])
    code = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None)
    return str(code or type(original).__name__)


def _host(url: URL) -> str:
    host = url.host or "localhost"
    return f"{host}:{url.port}" if url.port else host
