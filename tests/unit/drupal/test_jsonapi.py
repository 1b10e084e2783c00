"""The JSON:API reader against a stand-in that behaves as the captures do: a test for each trap of FACTS.md."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import DrupalJsonApiSettings, Secret
from drupal.jsonapi import JsonApiReader
from drupal.jsonapi_rows import user_of
from provisioning.errors import SourceIdentityLost, SourceUnreadable
from provisioning.model import SourceUser
from tests.support.jsonapi_site import Account, JsonApiSite

DATA = Path(__file__).parents[2] / "data" / "captures"
FIELDS = frozenset({"field_first_name", "field_department", "field_interests"})
SECRET_NAME = "Canary Person"


def user(uid: int, **values: Any) -> SourceUser:
    uuid = f"0b000000-0000-4000-8000-{uid:012d}"
    base = {"uid": uid, "uuid": uuid, "name": f"user{uid}", "mail": f"user{uid}@example.test", "status": True}
    base |= {"roles": ["member"], "langcode": "en", "timezone": "UTC", "created": 1000, "changed": 1000 + uid}
    base |= {
        "access": 0,
        "login": 0,
        "field_first_name": None,
        "field_department": "X",
        "field_interests": [],
    }
    return SourceUser(uid, uuid, {**base, **values})


@pytest.fixture
def site() -> Iterator[JsonApiSite]:
    users = [user(uid) for uid in range(1, 121)]
    users[6] = user(7, status=False, roles=[], name=SECRET_NAME)
    accounts = [
        Account("reader", "right"),
        Account("profiles", "right", sees="profiles"),
        Account("mailer", "right", sees="mail"),
        Account("nobody", "right", sees="nothing"),
        Account("blocked", "right", blocked=True),
    ]
    with JsonApiSite(users, accounts) as served:
        yield served


@pytest.fixture
def ask(site: JsonApiSite, tmp_path: Path) -> Callable[..., Any]:
    def asker(
        body: Callable[[JsonApiReader], Awaitable[Any]],
        name: str = "reader",
        password: str = "right",
        names: frozenset[str] = FIELDS,
        **known: Any,
    ) -> Any:
        secret = tmp_path / "secret"
        secret.write_text(password)
        way = known or {"username": name, "password": Secret(file=secret)}
        settings = DrupalJsonApiSettings(kind="jsonapi", base_url=site.base_url, **way)

        async def run() -> Any:
            reader = JsonApiReader(settings, names)
            try:
                return await body(reader)
            finally:
                await reader.close()

        return asyncio.run(run())

    return asker


async def scanned(reader: JsonApiReader) -> list[SourceUser]:
    return [each async for page in reader.scan() for each in page]


QUESTIONS = {
    "verify": lambda reader: reader.verify(),
    "read": lambda reader: reader.read([user(1).uuid]),
    "present": lambda reader: reader.present([user(1).uuid]),
    "scan": scanned,
    "changed_since": lambda reader: reader.changed_since(0),
    "search": lambda reader: reader.search("user1"),
}


# -- identity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("json_login", [True, False], ids=["session", "basic"])
@pytest.mark.parametrize(
    ("name", "password"),
    [("reader", "wrong"), ("unknown", "right"), ("blocked", "right"), ("reader@example.test", "right")],
    ids=["wrong password", "unknown user", "blocked account", "mail as name"],
)
def test_answers_to_the_anonymous_user_are_never_taken_for_users(
    site, ask, question, json_login, name, password
):
    site.json_login = json_login
    with pytest.raises(SourceIdentityLost, match="anonymous"):
        ask(QUESTIONS[question], name, password)


@pytest.mark.parametrize("json_login", [True, False], ids=["session", "basic"])
def test_refused_credentials_are_not_sent_again(site, ask, json_login):
    site.json_login = json_login

    async def body(reader):
        for question in QUESTIONS.values():
            with pytest.raises(SourceIdentityLost):
                await question(reader)

    ask(body, "reader", "wrong")
    assert site.accounts[0].failures == 1


def test_a_locked_out_account_is_lost_although_its_password_is_right(site, ask):
    site.accounts[0].failures = 5
    with pytest.raises(SourceIdentityLost, match="6 hours"):
        ask(scanned)


def test_one_sign_in_serves_all_requests(site, ask):
    ask(scanned)
    assert [kind for method, _, kind in site.requests if method == "GET"].count("basic") == 0
    assert sum(method == "POST" for method, _, _ in site.requests) == 1


def test_a_session_that_ended_is_renewed_once_and_the_users_are_whole(site, ask):
    async def body(reader):
        await reader.verify()
        site.sessions.clear()
        return await reader.read([user(1).uuid])

    assert ask(body)[user(1).uuid] == user(1)


def test_an_identity_lost_in_the_middle_of_a_listing_is_told_and_nobody_is_gone(site, ask):
    async def body(reader):
        pages = reader.scan()
        await anext(pages)
        site.sessions.clear()
        site.accounts[0].password = "changed"
        with pytest.raises(SourceIdentityLost):
            await anext(pages)

    ask(body)


def test_absent_users_are_gone_only_after_the_identity_was_proven_again(site, ask):
    async def body(reader):
        await reader.verify()
        before = sum(path == "/jsonapi" for _, path, _ in site.requests)
        assert await reader.read(["0b000000-0000-4000-8000-999999999999"]) == {}
        assert sum(path == "/jsonapi" for _, path, _ in site.requests) == before + 1

    ask(body)


@pytest.mark.parametrize("question", ["read", "present"])
def test_a_listing_that_leaves_out_somebody_makes_nobody_gone(site, ask, question):
    site.unlisted = frozenset({user(2).uuid})
    with pytest.raises(SourceUnreadable, match="leaves out"):
        ask(lambda reader: getattr(reader, question)([user(1).uuid, user(2).uuid]))


def test_who_is_present_is_asked_for_in_pages_without_being_read_whole(site, ask):
    async def body(reader):
        await reader.verify()
        before = len(site.requests)
        asked = [user(uid).uuid for uid in range(1, 121)]
        gone = "0b000000-0000-4000-8000-999999999999"
        assert await reader.present([*asked, gone]) == frozenset(asked)
        # Three pages, who we are, and the one who is gone by the address of its own.
        assert len(site.requests) == before + 5

    ask(body)


@pytest.mark.parametrize("name", ["profiles", "mailer", "nobody"])
def test_too_few_permissions_are_told_with_the_one_to_grant(ask, name):
    with pytest.raises(SourceUnreadable, match="administer users") as raised:
        ask(scanned, name)
    assert not isinstance(raised.value, SourceIdentityLost)


def test_oauth2_client_credentials(site, ask, tmp_path):
    secret = tmp_path / "client"
    secret.write_text("client-secret")
    users = ask(scanned, client_id="client", client_secret=Secret(file=secret))
    assert len(users) == 120
    assert {kind for method, _, kind in site.requests if method == "GET"} == {"token"}


@pytest.mark.parametrize("refuses", [False, True], ids=["anonymous", "401"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_revoked_token_is_asked_for_anew(site, ask, tmp_path, question, refuses):
    site.refuses_tokens = refuses
    secret = tmp_path / "client"
    secret.write_text("client-secret")

    async def body(reader):
        await reader.verify()
        site.tokens.clear()
        assert await QUESTIONS[question](reader)

    ask(body, client_id="client", client_secret=Secret(file=secret))
    assert sum(path == "/oauth/token" for _, path, _ in site.requests) == 2


def test_a_client_that_is_nobody_after_a_new_token_is_told_and_no_third_is_asked_for(site, ask, tmp_path):
    secret = tmp_path / "client"
    secret.write_text("client-secret")

    async def body(reader):
        await reader.verify()
        site.nobody = True
        for question in QUESTIONS.values():
            with pytest.raises(SourceIdentityLost):
                await question(reader)

    ask(body, client_id="client", client_secret=Secret(file=secret))
    assert sum(path == "/oauth/token" for _, path, _ in site.requests) == 2


def test_a_wrong_client_secret_is_told(ask, tmp_path):
    secret = tmp_path / "client"
    secret.write_text("wrong")
    with pytest.raises(SourceUnreadable, match="client_secret"):
        ask(scanned, client_id="client", client_secret=Secret(file=secret))


@pytest.mark.parametrize("question", ["read", "scan", "search"])
def test_a_field_that_is_not_shown_any_more_is_not_an_empty_one(site, ask, question):
    """Renamed, deleted, or its permission withdrawn, while we run: the attribute would be taken from every account."""

    async def body(reader):
        await reader.verify()
        for each in site.users:
            each.values.pop("field_department")
        with pytest.raises(SourceUnreadable, match="field_department"):
            await QUESTIONS[question](reader)

    ask(body)


@pytest.mark.parametrize("question", ["read", "scan", "search"])
@pytest.mark.parametrize("name", ["mail", "login", "timezone"])
def test_nor_is_one_of_drupals_own_that_a_module_hides_from_everybody(site, ask, name, question):
    """jsonapi_extras takes `mail` off JSON:API: addresses would be taken from accounts; and with `login`, as a scope, users."""

    async def body(reader):
        await reader.verify()
        site.hidden = frozenset({name})
        with pytest.raises(SourceUnreadable, match=f"user field {name}"):
            await QUESTIONS[question](reader)

    ask(body, names=FIELDS | {name})


def test_a_hidden_one_is_told_when_it_is_in_use_and_else_is_nobodys_loss(site, ask):
    site.hidden = frozenset({"mail"})
    assert len(ask(scanned)) == 120
    with pytest.raises(SourceUnreadable, match="user field mail"):
        ask(QUESTIONS["verify"], names=FIELDS | {"mail"})


def test_whoever_is_named_exactly_is_found_among_many_whose_names_contain_it(site, ask):
    site.users.append(user(9000, name="user", mail="ser1@example.test"))
    for text in ("user", "ser1@example.test"):
        assert ask(lambda reader, text=text: reader.search(text))[0].uid == 9000


# -- listings ------------------------------------------------------------------------------------------------------


def test_a_scan_is_whole_beyond_the_cap_of_fifty_and_leaves_out_the_anonymous_user(site, ask):
    assert ask(scanned) == site.users


def test_a_user_deleted_during_a_scan_costs_nobody_else(site, ask):
    async def body(reader):
        found = []
        async for page in reader.scan():
            found += page
            site.users[:] = [each for each in site.users if each.uid != 10]
        return found

    assert [each.uid for each in ask(body)] == list(range(1, 121))


def test_changed_since_goes_through_many_users_of_the_same_second(site, ask):
    site.users[:] = [user(uid, changed=5000) for uid in range(1, 121)]
    assert [ref.uid for ref in ask(lambda reader: reader.changed_since(5000))] == list(range(1, 121))
    assert ask(lambda reader: reader.changed_since(5001)) == []


def test_users_of_whom_only_a_translation_was_edited_keep_no_change_from_being_seen(site, ask):
    """A filter on `changed` finds them by the row of another language, and shows the time of this one: out of order, it seems."""
    site.users[:] = [user(uid, changed=5000 + uid) for uid in range(1, 121)]
    site.translated = {user(3).uuid: 5118, user(118).uuid: 5117, user(119).uuid: 4000, user(60).uuid: 6000}
    for since in (5000, 5050, 5118):
        refs = ask(lambda reader, since=since: reader.changed_since(since))
        assert [ref.uid for ref in refs if ref.changed >= since] == list(range(max(1, since - 5000), 121))
        assert refs == sorted(refs, key=lambda ref: (ref.changed, ref.uid))


def test_only_the_fields_that_are_needed_are_asked_for(ask):
    async def body(reader):
        return [each async for page in reader.scan() for each in page]

    assert "field_last_name" not in ask(body)[0].values


# -- answers that are none -------------------------------------------------------------------------------------------


def test_maintenance_says_when_to_come_back(site, ask):
    site.maintenance = True
    with pytest.raises(SourceUnreadable, match="maintenance") as raised:
        ask(scanned)
    assert raised.value.retry_after_seconds == 10


def test_html_is_told_and_not_quoted(site, ask):
    async def body(reader):
        await reader.verify()
        site.html = True
        return await scanned(reader)

    with pytest.raises(SourceUnreadable) as raised:
        ask(body)
    assert "zoe" not in raised.value.detail


def test_a_site_that_is_down_is_told(site, ask, tmp_path):
    settings = DrupalJsonApiSettings(
        kind="jsonapi", base_url="http://127.0.0.1:9", username="u", password=Secret(file=tmp_path / "none")
    )
    (tmp_path / "none").write_text("x")

    async def body() -> None:
        await JsonApiReader(settings, FIELDS).verify()

    with pytest.raises(SourceUnreadable, match=r"127\.0\.0\.1:9 cannot be reached"):
        asyncio.run(body())


# -- the captures themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", ["020-page50-sync_admin", "0c-walk-sync_reader-page3"])
def test_users_of_a_real_drupal_are_read_attribute_by_attribute(capture):
    body = json.loads((DATA / f"{capture}.json").read_text())["body"]
    rows = [row for row in body["data"] if "status" in row.get("attributes", {})]
    assert len(rows) >= 20
    for row in rows:
        attributes = row["attributes"]
        found = user_of(row, sorted(FIELDS))
        assert found.uid == attributes["drupal_internal__uid"]
        assert found.values["mail"] == attributes["mail"]
        assert found.values["field_interests"] == attributes["field_interests"]
        assert type(found.values["changed"]) is int
        assert "authenticated" not in found.values["roles"]
