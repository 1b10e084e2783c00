"""Who we are to JSON:API: what the anonymous user is shown is never taken for what is there (FACTS.md)."""

from __future__ import annotations

import pytest

from config.settings import Secret
from provisioning.errors import SourceIdentityLost, SourceUnreadable
from tests.support.jsonapi_reading import QUESTIONS, scanned, user


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


@pytest.mark.parametrize(("known", "words"), [("password", "refuses sign-ins for now"), ("client", "403")])
def test_a_sign_in_that_something_before_the_site_refuses_is_tried_again(site, ask, tmp_path, known, words):
    """A firewall, a deploy, flood control because of somebody else at the same address: that says nothing of our credentials."""
    site.sign_ins_refused = 1
    secret = tmp_path / "client"
    secret.write_text("client-secret")

    async def body(reader):
        with pytest.raises(SourceUnreadable, match=words) as told:
            await reader.verify()
        assert not isinstance(told.value, SourceIdentityLost)
        return await reader.verify()

    options = {"client_id": "client", "client_secret": Secret(file=secret)} if known == "client" else {}
    assert ask(body, **options)


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
