"""Whatever Drupal's tables or its JSON:API hold, reading a user gives that user or an error of ours; and so does what
is made of it: the account, the request, the fingerprint.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cli.demo.site import DrupalSite
from config.settings import DrupalDatabaseSettings, MappedValue, TargetSettings
from drupal.database import DatabaseReader
from drupal.errors import DrupalError
from drupal.jsonapi_answers import document_of
from drupal.jsonapi_rows import field_infos, ref_of, refuse_incomplete, rows_of, suspicious, user_of
from drupal.php import unserialize
from provisioning.errors import ProvisioningError
from provisioning.expressions import EvaluationError
from provisioning.mapping import compile_target, matching_value, new_resource
from provisioning.model import Presence, SourceUser

KEY = b"k" * 32
MAPPING = {
    "userName": "name",
    "externalId": "uuid",
    "active": "status",
    'emails[type eq "work"].value': "mail | lower",
    "name.givenName": "field_first_name | title",
    "title": "field_interests | join(', ')",
    "nickName": "roles | first ~ created // 60",
}
COMPILED = compile_target(
    TargetSettings(
        name="acme",
        base_url="https://a.example",
        mapping={path: MappedValue(value=text) for path, text in MAPPING.items()},
        scope="mail and 'member' in roles or name < 'x'",
    )
)
FIELDS = ("field_first_name", "field_interests")
modest = hypothesis_settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
any_text = st.text(st.characters(), max_size=20) | st.sampled_from(["\ud800", "\x00", "\x1b[2J", "9" * 5000])
leaves = st.none() | st.booleans() | st.integers() | st.floats() | any_text
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3)
)


def made_of(user: SourceUser) -> None:
    """What a worker makes of a user: none of it may raise but what is said to."""
    COMPILED.fingerprint(user, KEY)
    with contextlib.suppress(EvaluationError):
        source = COMPILED.source(user.uuid, user, KEY)
        if source.desired is None:
            assert source.presence in {Presence.BLOCKED, Presence.OUT_OF_SCOPE}
            return
        json.dumps(new_resource(source.desired), ensure_ascii=False, allow_nan=False).encode()
        for attribute in ("externalId", "userName", 'emails[type eq "work"].value'):
            matching_value(source.desired, attribute)


# -- JSON:API ------------------------------------------------------------------------------------------------

GOOD = {
    "drupal_internal__uid": 3, "status": True, "name": "anna", "mail": "anna@example.test", "langcode": "en",
    "created": "2023-11-15T05:13:20+00:00", "changed": "2023-11-15T05:13:20+00:00", "field_first_name": "Anna",
}  # fmt: skip
ROLES = {"data": [{"id": "r", "meta": {"drupal_internal__target_id": "member"}}]}


def spoiled(good: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The good object with anything in some of its places, or without them."""
    overlay = st.dictionaries(st.sampled_from([*good, "other"]), anything, max_size=2)
    gone = st.sets(st.sampled_from(sorted(good)), max_size=1)
    return st.builds(
        lambda over, without: {key: each for key, each in {**good, **over}.items() if key not in without},
        overlay,
        gone,
    )


relations = spoiled({"roles": ROLES, "field_interests": ROLES}) | st.fixed_dictionaries(
    {"roles": spoiled(ROLES) | spoiled(ROLES["data"][0]).map(lambda each: {"data": [each]})}
)
rows = st.builds(
    lambda attributes, relationships, over: {
        "id": "u-1", "attributes": attributes, "relationships": relationships, **over
    },
    spoiled(GOOD),
    relations,
    st.just({}) | st.dictionaries(st.sampled_from(["id", "attributes", "relationships"]), anything, max_size=1),
)  # fmt: skip
documents = st.fixed_dictionaries(
    {"data": st.lists(rows, min_size=1, max_size=2)}, optional={"meta": anything}
)


@modest
@given(documents | anything)
def test_any_json_api_document(document):
    answer = httpx.Response(200, content=json.dumps(document).encode())
    try:
        document = document_of(answer)
    except DrupalError:
        return
    with contextlib.suppress(DrupalError):
        if suspicious(document):
            refuse_incomplete(document)
    with contextlib.suppress(DrupalError):
        for row in rows_of(document):
            field_infos(row)
            ref_of(row)
            made_of(user_of(row, FIELDS))


# -- the database --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    made = DrupalSite.create(f"sqlite:///{folder}/site.sqlite")
    made.add_user("anna", "anna@example.test")
    made.close()
    return folder / "site.sqlite"


stored = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20)
)
COLUMNS = ("name", "mail", "status", "created", "changed", "access", "login", "langcode", "timezone")


@modest
@given(values=st.dictionaries(st.sampled_from(COLUMNS), stored, max_size=4))
def test_any_value_in_any_column(site, values):
    with contextlib.closing(sqlite3.connect(site)) as connection, connection:
        connection.create_collation("NOCASE_UTF8", lambda a, b: (a > b) - (a < b))
        before = connection.execute("SELECT * FROM users_field_data").fetchall()
        names = [each[1] for each in connection.execute("PRAGMA table_info(users_field_data)")]
        for name, value in values.items():
            with contextlib.suppress(sqlite3.IntegrityError):
                connection.execute(f"UPDATE users_field_data SET {name} = ? WHERE uid > 0", (value,))
        connection.commit()
        try:
            asyncio.run(_read_everything(site))
        finally:
            connection.execute("DELETE FROM users_field_data")
            marks = ", ".join("?" * len(names))
            connection.executemany(f"INSERT INTO users_field_data VALUES ({marks})", before)
            connection.commit()


async def _read_everything(site: Path) -> None:
    reader = DatabaseReader(DrupalDatabaseSettings(url=f"sqlite:///{site}"), frozenset(FIELDS))
    try:
        with contextlib.suppress(ProvisioningError):
            async for page in reader.scan():
                for user in page:
                    made_of(user)
                    assert isinstance(user.changed, int)
        with contextlib.suppress(ProvisioningError):
            assert all(isinstance(ref.changed, int) for ref in await reader.changed_since(0))
        with contextlib.suppress(ProvisioningError):
            await reader.search("an")
    finally:
        await reader.close()


@modest
@given(
    st.binary(max_size=80)
    | st.lists(st.sampled_from([b"a:1:{", b"i:0;", b"s:1:", b'"x";', b"}", b"N;", b"b:1;", b"d:INF;", b"s:-1:", b"O:1:"])).map(b"".join)
    | st.integers(1, 5000).map(lambda depth: b"a:1:{i:0;" * depth + b"N;" + b"}" * depth)
)  # fmt: skip
def test_any_serialised_bytes(data: bytes) -> None:
    value: Any = None
    with contextlib.suppress(ValueError):
        value = unserialize(data)
    made_of(
        SourceUser(1, "u", {"uuid": "u", "status": True, "roles": [], "name": "n", "field_first_name": value})
    )
