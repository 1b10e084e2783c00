"""Rules that span keys, or that no type can say. They read the raw document, so that one mistake hides no other."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from config.cron import fires
from config.problems import Problem, nearest

OPERATIONS = ("create", "update", "deactivate", "delete")
TARGET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
DATABASES = ("mysql+pymysql", "postgresql+psycopg", "sqlite")
SECRET_KEYS = ("token", "password", "client_secret")
REFERENCE_HINT = 'write { env = "NAME" } or { file = "PATH" } and keep the secret there'
# The attributes of RFC 7643 that tell accounts apart.
_LOOKED_FOR = frozenset({"displayName", "emails", "externalId", "phoneNumbers", "userName"})
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# As SQLAlchemy reads it, which takes everything up to the last @, slashes too; urlsplit would stop at the first slash.
_USER_AND_PASSWORD = re.compile(r"[\w+]+://[^:/]*:[^@]+@")
_TLS_ARGUMENT = re.compile(r"[?&]ssl_", re.IGNORECASE)
_PASSWORD_ARGUMENT = re.compile(r"[?&][^=&]*passw(or)?d=[^&]", re.IGNORECASE)


def rule_problems(file: str, document: Mapping[str, Any]) -> Iterator[Problem]:
    for key, what, write in _all(document):
        yield Problem(file, key, what, write)


_Found = Iterator[tuple[str, str, str]]


def _all(document: Mapping[str, Any]) -> _Found:
    yield from _secrets("", document)
    yield from _redis(_table(document, "redis"))
    yield from _drupal(_table(document, "drupal"))
    targets = document.get("targets")
    if isinstance(targets, dict) and not targets:
        yield "targets", "there is no target", "add [targets.NAME] with base_url, token and mapping"
    for name, target in targets.items() if isinstance(targets, dict) else ():
        if not TARGET_NAME.fullmatch(str(name)):
            yield f"targets.{name}", "is no name for a target", "use a-z, 0-9, - and _, such as miniorange"
        if isinstance(target, dict):
            yield from _target(f"targets.{name}", target)
    yield from _shared(_table(document, "targets"))


def _shared(targets: Mapping[str, Any]) -> _Found:
    """One service provider, with one token, under two names, of which one takes the accounts of the other for those of its own leavers."""
    seen: dict[str, str] = {}
    removing = {name for name in targets if _removes_whom_it_leaves_out(_table(targets, name))}
    for name in targets:
        target = _table(targets, name)
        address = str(target.get("base_url", name)).rstrip("/").lower()
        # Some have one address for all customers, whom the token tells apart.
        first = seen.setdefault(f"{address} {target.get('token')} {target.get('oauth2')}", name)
        if first != name and removing & {first, name}:
            yield (
                f"targets.{name}.base_url",
                f"is that of targets.{first}, too: whoever is in the scope of one of them alone loses the account by the other",
                'let one section have everybody, or write out_of_scope = "keep" into the leavers of both',
            )


def _removes_whom_it_leaves_out(target: Mapping[str, Any]) -> bool:
    keeps = _table(target, "leavers").get("out_of_scope") == "keep"
    return not keeps and bool(str(target.get("scope", "")).strip())


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _secrets(prefix: str, table: Mapping[str, Any]) -> _Found:
    for key, value in table.items():
        where = f"{prefix}{key}"
        # A target may be called token, and a mapping is not about secrets.
        if key in SECRET_KEYS and prefix != "targets.":
            yield from _secret(where, value)
        elif isinstance(value, dict) and key != "mapping":
            yield from _secrets(f"{where}.", value)


def _secret(where: str, value: Any) -> _Found:
    if isinstance(value, str):
        yield where, "a secret must not stand here", REFERENCE_HINT
    if not isinstance(value, dict):
        return
    given = [name for name in ("env", "file") if value.get(name)]
    if len(given) != 1:
        yield where, "exactly one of env and file says where the secret is", 'write { env = "NAME" }'
    variable = value.get("env")
    if isinstance(variable, str) and variable and not _VARIABLE.fullmatch(variable):
        # Perhaps the secret itself, which must not come back in a message that the variable is not set.
        yield (
            f"{where}.env",
            "is not the name of an environment variable",
            "use letters, digits and underscores, and keep the secret itself in the variable",
        )


def _redis(redis: Mapping[str, Any]) -> _Found:
    url = redis.get("url", "embedded")
    if not isinstance(url, str):
        return
    if redis.get("ca_file") and not url.startswith("rediss://"):
        yield "redis.ca_file", "is of no use without TLS", "write a rediss:// url, or take it out"
    if url == "embedded":
        return
    # As redis-py reads it: in lower case.
    if not urlsplit_safely(url).scheme or not url.startswith(("redis://", "rediss://", "unix://")):
        yield (
            "redis.url",
            "is not an address of a Redis",
            'write "embedded", or redis://, rediss:// or unix:// ...',
        )
    if _TLS_ARGUMENT.search(url):
        yield (
            "redis.url",
            "must not say how certificates are verified",
            "write ca_file for an authority of your own",
        )
    if _has_password(url):
        yield (
            "redis.url",
            "a secret must not stand here",
            'take it out and write password = { env = "NAME" }',
        )


def _drupal(drupal: Mapping[str, Any]) -> _Found:
    if drupal.get("kind") == "jsonapi":
        yield from _address(
            "drupal.base_url", drupal.get("base_url"), insecure=drupal.get("allow_insecure") is True
        )
        yield from _one_of("drupal", drupal, ("username", "password"), ("client_id", "client_secret"))
        return
    url = drupal.get("url")
    if not isinstance(url, str):
        return
    if url.partition(":")[0].lower() not in DATABASES:
        yield (
            "drupal.url",
            "is not a database that Drupal runs on",
            f"begin it with {':// or '.join(DATABASES)}://",
        )
    elif not urlsplit_safely(url).scheme:
        yield "drupal.url", "has a host or port that cannot be one", "write mysql+pymysql://account@host/site"
    if _has_password(url):
        yield (
            "drupal.url",
            "a secret must not stand here",
            'take it out and write password = { env = "NAME" }',
        )


def _one_of(where: str, table: Mapping[str, Any], *groups: tuple[str, ...]) -> _Found:
    given = [group for group in groups if any(table.get(key) is not None for key in group)]
    words = " or ".join(" and ".join(group) for group in groups)
    if len(given) != 1:
        yield (
            where,
            "one way to sign in is needed" if not given else "two ways to sign in are one too many",
            f"write {words}",
        )
        return
    missing = [key for key in given[0] if table.get(key) is None]
    if missing:
        yield f"{where}.{missing[0]}", "is missing", f"write {words}"


def _target(where: str, target: Mapping[str, Any]) -> _Found:
    insecure = target.get("allow_insecure") is True
    yield from _address(f"{where}.base_url", target.get("base_url"), insecure=insecure)
    yield from _address(f"{where}.moved_from", target.get("moved_from"), insecure=True)
    oauth2 = _table(target, "oauth2")
    if oauth2:
        yield from _address(f"{where}.oauth2.token_url", oauth2.get("token_url"), insecure=insecure)
    yield from _one_of(where, target, ("token",), ("oauth2",))
    yield from _mapping(where, target)
    for name in ("manual", "automatic", "scheduled"):
        yield from _operations(f"{where}.{name}.operations", _table(target, name).get("operations"))
    scheduled = _table(target, "scheduled")
    if scheduled.get("enabled", True) is not False and "cron" in scheduled:
        yield from _cron(f"{where}.scheduled.cron", scheduled["cron"])


def _mapping(where: str, target: Mapping[str, Any]) -> _Found:
    mapping = target.get("mapping")
    if not isinstance(mapping, dict):
        return
    if "userName" not in mapping:
        yield f"{where}.mapping", "userName is not mapped, and SCIM requires it", 'write userName = "name"'
    matching = target.get("matching", ["externalId", "userName"])
    if matching == []:
        yield (
            f"{where}.matching",
            "is empty, and an account that is there already would never be found",
            'write matching = ["externalId", "userName"]',
        )
    for attribute in matching if isinstance(matching, list) else ():
        mapped = any(
            path == attribute or path.split("[")[0] == str(attribute).split(".")[0] for path in mapping
        )
        # The default order is not the operator's mistake.
        if not mapped and "matching" in target:
            near = difflib.get_close_matches(str(attribute), _LOOKED_FOR | mapping.keys(), n=1, cutoff=0.7)
            unknown = near and near[0] != attribute
            write = f"did you mean {near[0]}?" if unknown else f"map {attribute}, or take it out of matching"
            yield f"{where}.matching", f"{attribute} is not mapped", write


def _operations(where: str, operations: Any) -> _Found:
    for name in operations if isinstance(operations, list) else ():
        if name not in OPERATIONS:
            yield where, f"there is no operation {str(name)[:40]!r}", nearest(str(name), OPERATIONS)


def _cron(where: str, cron: Any) -> _Found:
    example = 'write minute hour day month weekday, such as "*/30 * * * *"'
    try:
        if not fires(str(cron)):
            yield where, "never fires: there is no such day", example
    except (ValueError, OverflowError):
        yield where, "is not a cron line", example
    except LookupError:
        what = "cannot be looked at: the environment variable TZ names no time zone that is known here"
        yield where, what, "write one such as Europe/Berlin into TZ, or unset it"


def _address(where: str, url: Any, *, insecure: bool) -> _Found:
    if not isinstance(url, str):
        return
    parts = urlsplit_safely(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"[\s\x00-\x1f\x7f]", url):
        yield where, "is not a web address", "write https://host/path"
        return
    if "?" in url or "#" in url or "@" in parts.netloc:
        yield where, "must have no user, query or fragment", "write https://host/path"
    if parts.scheme == "http" and not insecure and not _is_loopback(parts.hostname):
        yield where, "http:// would show the token to the network", "write https://, or allow_insecure = true"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _has_password(url: str) -> bool:
    return bool(_USER_AND_PASSWORD.match(url) or _PASSWORD_ARGUMENT.search(url))


def urlsplit_safely(url: str) -> Any:
    """Empty where it is none, or where nobody can look for its host: one with an empty part, or one of more than 63
    characters, is a UnicodeError only when it is looked up.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port, (parts.hostname or "").encode("idna")
    except ValueError:
        return urlsplit("")
    return parts
