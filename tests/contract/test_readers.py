"""What every reader of a Drupal site must do: one body, run on the database of each kind and on JSON:API.

A reader joins with one entry in READERS: a context manager that serves TRAP_USERS and yields a `Served`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from config.settings import DrupalDatabaseSettings, DrupalJsonApiSettings, DrupalSettings, Secret
from drupal.opening import open_reader
from provisioning.errors import SourceUnreadable
from provisioning.mapping import BASE_NAMES
from provisioning.model import SourceUser, UserRef
from provisioning.ports import SourceReader
from tests.support.databases import KINDS
from tests.support.jsonapi_site import JsonApiSite
from tests.support.site_fixture import START, TRAP_FIELDS, TRAP_USERS, trap_site


@dataclass(frozen=True, slots=True)
class Served:
    """A site that is being served. break_down: makes it unreadable, as an accident would."""

    settings: DrupalSettings
    break_down: Callable[[], None]


@contextmanager
def database(kind: str, folder: Path) -> Iterator[Served]:
    with trap_site(kind, folder) as (url, _):

        def break_down() -> None:
            engine = create_engine(url)
            with engine.begin() as connection:
                connection.execute(text("ALTER TABLE users_field_data RENAME TO elsewhere"))
            engine.dispose()

        yield Served(DrupalDatabaseSettings(url=url), break_down)


@contextmanager
def jsonapi(folder: Path) -> Iterator[Served]:
    secret = folder / "password"
    secret.write_text("right", encoding="utf-8")
    with JsonApiSite(list(TRAP_USERS)) as served:

        def break_down() -> None:
            served.html = True

        settings = DrupalJsonApiSettings(
            kind="jsonapi", base_url=served.base_url, username="reader", password=Secret(file=secret)
        )
        yield Served(settings, break_down)


READERS: dict[str, Callable[[Path], AbstractContextManager[Served]]] = {
    **{f"database-{kind}": partial(database, kind) for kind in KINDS},
    "jsonapi": jsonapi,
}


@pytest.fixture(params=READERS, scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all tests that only read."""
    with READERS[request.param](tmp_path_factory.mktemp("site")) as served:
        yield served


@pytest.fixture(params=READERS)
def doomed_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    with READERS[request.param](tmp_path) as served:
        yield served


def ask(
    site: Served, question: Callable[[SourceReader], Awaitable[Any]], names: frozenset[str] = TRAP_FIELDS
) -> Any:
    async def run() -> Any:
        reader = open_reader(site.settings, names)
        try:
            return await question(reader)
        finally:
            await reader.close()

    return asyncio.run(run())


async def everything(pages: AsyncIterator[Sequence[Any]]) -> list[Any]:
    return [item async for page in pages for item in page]


def by_uid(*uids: int) -> list[SourceUser]:
    users = {user.uid: user for user in TRAP_USERS}
    return [users[uid] for uid in uids]


def test_a_scan_gives_every_user_attribute_by_attribute_in_the_order_of_uid(site: Served) -> None:
    users = ask(site, lambda reader: everything(reader.scan()))

    assert [user.uid for user in users] == [1, 2, 3, 5, 6, 7]
    for user, expected in zip(users, TRAP_USERS, strict=True):
        assert dict(user.values) == dict(expected.values)
        assert user == expected


def test_a_scan_goes_on_after_a_uid(site: Served) -> None:
    assert ask(site, lambda reader: everything(reader.scan(3))) == by_uid(5, 6, 7)
    assert ask(site, lambda reader: everything(reader.scan(7))) == []


def test_values_have_the_types_expressions_count_on(site: Served) -> None:
    for user in ask(site, lambda reader: everything(reader.scan())):
        values = user.values
        assert type(values["status"]) is bool
        for name in ("uid", "created", "changed", "access", "login"):
            assert type(values[name]) is int
        assert type(values["roles"]) is type(values["field_interests"]) is list


def test_users_are_read_by_uuid_and_who_is_gone_is_not_in_the_answer(site: Served) -> None:
    known, gone = TRAP_USERS[1], "0b5e55ed-0000-4000-8000-000000000004"

    users = ask(site, lambda reader: reader.read([gone, known.uuid, TRAP_USERS[5].uuid]))

    assert users == {known.uuid: known, TRAP_USERS[5].uuid: TRAP_USERS[5]}


def test_users_are_present_or_gone(site: Served) -> None:
    known, gone = TRAP_USERS[1].uuid, "0b5e55ed-0000-4000-8000-000000000004"

    assert ask(site, lambda reader: reader.present([gone, known, known])) == frozenset({known})
    assert ask(site, lambda reader: reader.present([])) == frozenset()


def test_reading_nobody_gives_nobody(site: Served) -> None:
    assert ask(site, lambda reader: reader.read([])) == {}


def test_ids_name_everybody_without_reading_them(site: Served) -> None:
    refs = ask(site, lambda reader: everything(reader.ids()))

    assert refs == [UserRef(user.uid, user.uuid, user.changed) for user in TRAP_USERS]
    assert ask(site, lambda reader: everything(reader.ids(6))) == [UserRef(7, TRAP_USERS[5].uuid, START + 10)]


def test_changed_since_counts_the_second_itself_and_orders_by_time_then_uid(site: Served) -> None:
    changed = ask(site, lambda reader: reader.changed_since(START + 9))

    assert [(ref.changed - START, ref.uid) for ref in changed] == [(9, 5), (10, 6), (10, 7)]
    assert ask(site, lambda reader: reader.changed_since(START + 11)) == []


def test_an_edited_translation_does_not_make_a_user_changed(site: Served) -> None:
    changed = ask(site, lambda reader: reader.changed_since(START + 3))

    assert 2 not in [ref.uid for ref in changed]


@pytest.mark.parametrize(
    ("text", "uids"),
    [
        pytest.param("6", [6], id="uid"),
        pytest.param(TRAP_USERS[2].uuid, [3], id="uuid"),
        pytest.param(TRAP_USERS[2].uuid.upper(), [3], id="uuid-in-capitals"),
        pytest.param("BLOCKED one", [5, 3], id="name-without-case-the-exact-one-first"),
        pytest.param("ZOË ÅNG", [2], id="name-without-case-beyond-ascii"),
        pytest.param("six@EXAMPLE", [6], id="part-of-mail"),
        pytest.param("田 太", [7], id="part-of-name"),
        pytest.param("%_", [6], id="wildcards-are-letters"),
        pytest.param("w\\n", [6], id="backslash-is-a-letter"),
        pytest.param("nobody at all", [], id="nobody"),
        pytest.param("anonymous", [], id="not-the-anonymous-user"),
    ],
)
def test_search_finds_by_id_exactly_and_by_name_and_mail_in_part(
    site: Served, text: str, uids: list[int]
) -> None:
    found = ask(site, lambda reader: reader.search(text))

    # MariaDB takes accents for nothing: it may find more, after what was typed (FACTS "Tables").
    assert found[: len(uids)] == by_uid(*uids)
    assert {user.uid for user in found[len(uids) :]} <= {3}


def test_what_was_typed_comes_before_what_differs_in_accents(site: Served) -> None:
    assert ask(site, lambda reader: reader.search("Zoe Angstrom"))[0].uid == 3
    assert ask(site, lambda reader: reader.search("Zoë Ångström"))[0].uid == 2


def test_search_keeps_to_its_limit_and_to_people(site: Served) -> None:
    assert len(ask(site, lambda reader: reader.search("example.test", limit=2))) == 2
    assert ask(site, lambda reader: reader.search("blocked one", limit=1)) == by_uid(5)
    assert ask(site, lambda reader: reader.search("0")) == by_uid(6)


def test_only_the_fields_a_mapping_names_are_read(site: Served) -> None:
    names = frozenset({"mail", "roles", "field_homepage.uri", "field_department"})

    users = ask(site, lambda reader: everything(reader.scan()), names)

    for user in users:
        assert set(user.values) == BASE_NAMES | {"field_homepage", "field_department"}
    assert users[1].values["field_homepage"]["uri"] == "https://example.test/zoe"


def test_fields_name_what_a_mapping_can_use(site: Served) -> None:
    fields = {field.name: field for field in ask(site, lambda reader: reader.fields())}

    assert set(fields) >= BASE_NAMES | TRAP_FIELDS
    assert [name for name, field in fields.items() if field.multiple and name in TRAP_FIELDS | {"roles"}] == [
        "roles",
        "field_interests",
    ]
    assert {"uri", "title"} <= set(fields["field_homepage"].columns)
    assert fields["field_department"].columns == ()


def test_a_field_the_site_does_not_have_is_never_read_as_an_empty_one(site: Served) -> None:
    with pytest.raises(SourceUnreadable, match="field_shoe_size"):
        ask(site, lambda reader: reader.read([TRAP_USERS[1].uuid]), frozenset({"field_shoe_size"}))


def test_verify_says_what_is_read(site: Served) -> None:
    assert len(ask(site, lambda reader: reader.verify())) > len("Drupal")


QUESTIONS: dict[str, Callable[[SourceReader], Awaitable[Any]]] = {
    "verify": lambda reader: reader.verify(),
    "read": lambda reader: reader.read([TRAP_USERS[1].uuid]),
    "present": lambda reader: reader.present(["0b5e55ed-0000-4000-8000-000000000004"]),
    "scan": lambda reader: everything(reader.scan()),
    "ids": lambda reader: everything(reader.ids()),
    "changed_since": lambda reader: reader.changed_since(0),
    "search": lambda reader: reader.search("zoe"),
}


def test_a_site_that_broke_down_is_unreadable_and_never_a_site_without_users(doomed_site: Served) -> None:
    doomed_site.break_down()

    for name, question in QUESTIONS.items():
        with pytest.raises(SourceUnreadable) as raised:
            ask(doomed_site, question)
        assert raised.value.detail, name
        assert "zoe" not in raised.value.detail.lower(), name


def test_a_reader_that_was_working_notices_a_breakdown(doomed_site: Served) -> None:
    async def before_and_after(reader: SourceReader) -> None:
        assert await reader.read([TRAP_USERS[1].uuid])
        doomed_site.break_down()
        with pytest.raises(SourceUnreadable):
            await reader.read([TRAP_USERS[1].uuid])

    ask(doomed_site, before_and_after)
