"""What real service providers say of one user, of the token and of a change, as `reconcile` meets it over HTTP."""

from __future__ import annotations

import pytest

from config.settings import LeaverSettings
from provisioning.errors import Unauthorized
from provisioning.model import OutcomeName
from tests.support.provider import Provider, World, refusal
from tests.support.reconciling import ANNA, BERT, settings
from tests.support.scripted_target import Answer


def test_401_to_one_users_write_stops_that_user_alone():
    """An account that is protected, or a token that may only read: it went round between quarantine and probe for ever."""
    writes = {"PATCH", "PUT", "DELETE"}
    world = World(Provider(lambda request: refusal(401) if request.method in writes else None))
    world.site.add(ANNA, name="anna")
    world.site.add(BERT, name="bert")
    world.run(ANNA)
    world.site.edit(ANNA, status=False)
    refused = world.run(ANNA)
    assert (refused.outcome, refused.status_code, refused.attempt) == (OutcomeName.FAILED, 401, 8)
    assert world.run(BERT).outcome is OutcomeName.DONE


@pytest.mark.parametrize("write", [False, True], ids=["reads", "writes"])
def test_a_token_that_has_ended_is_nobodys_dead_letter(write):
    ended = []

    def first(request):
        if request.method == "POST" or not write:
            ended.append(request)
        return refusal(401) if ended else None

    world = World(Provider(first))
    world.site.add(ANNA, name="anna")
    with pytest.raises(Unauthorized):
        world.run(ANNA)
    assert world.provider.accounts == {}


def test_a_token_that_has_ended_and_was_replaced_at_once_costs_an_attempt_at_most():
    ended = iter([refusal(401)])
    world = World(Provider(lambda request: next(ended, None) if request.method == "POST" else None))
    world.site.add(ANNA, name="anna")
    made = world.run(ANNA)
    assert (made.outcome, made.attempt) == (OutcomeName.DONE, 2)


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_may_not_read_the_config_updates_users_all_the_same(status):
    """Whether the token is good for anything the request itself tells."""

    def first(request):
        return refusal(status) if request.path == "/ServiceProviderConfig" else None

    world = World(Provider(first))
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.edit(ANNA, name="anna2")
    changed = world.run(ANNA)
    assert (changed.outcome, changed.attempt) == (OutcomeName.DONE, 1)
    world.site.edit(ANNA, status=False)
    left = world.run(ANNA)
    assert (left.outcome, left.attempt) == (OutcomeName.DONE, 1)
    assert [account["active"] for account in world.provider.accounts.values()] == [False]


def test_an_answer_that_shows_the_account_before_the_change_marks_nothing_as_rewritten():
    """open-webui: a name that was noted once was never compared again, and drift in it never repaired."""
    before = {}

    def first(request):
        if request.method != "PATCH":
            return None
        before.update(provider.accounts[request.path.split("/")[-1]])
        provider.answer(request)
        return Answer(body=dict(before))

    provider = Provider(first)
    world = World(provider)
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.edit(ANNA, name="anna2")
    changed = world.run(ANNA)
    assert (changed.outcome, changed.attempt, changed.detail) == (OutcomeName.DONE, 1, "")
    assert world.rewritten.seen == set()
    assert [account["userName"] for account in provider.accounts.values()] == ["anna2"]


@pytest.mark.parametrize("how", ["create", "update"])
def test_what_the_account_itself_shows_as_rewritten_is_read_once(how):
    world = World(Provider(shown=lambda account: {**account, "userName": account["userName"].lower()}))
    world.site.add(ANNA, name="anna" if how == "update" else "Anna")
    first = world.run(ANNA)
    reads = []
    for name in ("Anna2", "Anna3"):
        world.site.edit(ANNA, name=name)
        changed = world.run(ANNA)
        reads.append([each.method for each in world.asked if each.path != "/ServiceProviderConfig"])
        assert changed.detail == "the target did not keep as sent: userName"
    assert world.rewritten.seen == {"userName"}
    assert ("did not keep" in first.detail) is (how == "create")
    assert reads == [["PATCH"] if how == "create" else ["PATCH", "GET"], ["PATCH"]]


@pytest.mark.parametrize("answer", [refusal(403), refusal(500), refusal(401), refusal(404), refusal(429)])
def test_an_account_that_cannot_be_read_marks_nothing_as_rewritten(answer):
    """The change is done all the same."""
    patched = []

    def first(request):
        patched.extend([request] if request.method == "PATCH" else [])
        return answer if request.method == "GET" and patched else None

    world = World(Provider(first, shown=lambda account: {**account, "userName": account["userName"].lower()}))
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.edit(ANNA, name="Anna")
    changed = world.run(ANNA)
    assert (changed.outcome, changed.attempt) == (OutcomeName.DONE, 1)
    assert world.rewritten.seen == set()


@pytest.mark.parametrize("active", [True, False])
def test_a_delete_that_deactivates_is_told_as_that(active):
    """Not as silence, of which five in a row would close the target."""

    def first(request):
        if request.method != "DELETE":
            return None
        (account,) = world.provider.accounts.values()
        account["active"] = active
        return Answer(200, account)

    world = World(Provider(first), leavers=LeaverSettings(deleted="delete"))
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.delete(ANNA)
    once = world.run(ANNA, attempts=1)
    assert (once.outcome, once.silent, once.unanswered) == (OutcomeName.PENDING, False, True)
    kept = world.run(ANNA)
    assert (kept.outcome, kept.status_code, kept.attempt) == (OutcomeName.FAILED, 200, 8)
    assert ('deleted = "deactivate"' in kept.detail) is not active
    # As advised.
    world.settings = settings(leavers=LeaverSettings(deleted="deactivate"))
    (account,) = world.provider.accounts.values()
    assert world.run(ANNA).outcome in {OutcomeName.DONE, OutcomeName.UNCHANGED}
    assert account["active"] is False or active
