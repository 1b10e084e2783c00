"""Users from their creation to their end on providers with the manners of real ones; over real HTTP."""

from __future__ import annotations

import pytest

from config.settings import LeaverSettings
from provisioning.model import OutcomeName
from tests.support.manners import listing
from tests.support.provider import Provider, World, refusal
from tests.support.reconciling import ANNA, BERT
from tests.support.scripted_target import Answer


def test_who_says_412_of_all_it_refuses_is_believed():
    """GitLab: of a filter that it does not know, and of an account that it does not accept."""

    def first(request):
        unknown = "externalId" in request.query.get("filter", "")
        taken = request.method == "POST" and request.body["userName"] == "bert"
        return refusal(412) if unknown or taken else None

    world = World(Provider(first))
    world.site.add(ANNA, name="bert")
    refused = world.run(ANNA)
    assert (refused.outcome, refused.status_code, refused.attempt) == (OutcomeName.FAILED, 412, 1)
    world.site.edit(ANNA, name="anna")
    assert world.run(ANNA).outcome is OutcomeName.DONE
    assert [account["userName"] for account in world.provider.accounts.values()] == ["anna"]


@pytest.mark.parametrize("patch", [True, False])
def test_a_leaver_goes_where_the_version_that_is_shown_is_refused(patch):
    """SCIM-SDK once compared the version with that of the changed account, so that none was right."""

    def first(request):
        return refusal(412) if request.method in {"PATCH", "PUT"} and "if-match" in request.headers else None

    config = {"etag": {"supported": True}, "patch": {"supported": patch}}
    provider = Provider(first, lambda account: {**account, "meta": {"version": 'W/"1"'}}, config=config)
    world = World(provider)
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.edit(ANNA, status=False)
    left = world.run(ANNA)
    assert (left.outcome, left.attempt) == (OutcomeName.DONE, 1)
    assert [account["active"] for account in provider.accounts.values()] == [False]


def test_a_version_that_has_changed_meanwhile_is_not_written_over():
    versions = iter(range(100))

    def first(request):
        return refusal(412) if request.method == "PATCH" else None

    def shown(account):
        return {**account, "meta": {"version": f'W/"{next(versions)}"'}}

    world = World(Provider(first, shown, config={"etag": {"supported": True}, "patch": {"supported": True}}))
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.edit(ANNA, name="anna2")
    assert world.run(ANNA).outcome is OutcomeName.FAILED
    assert all(request.headers.get("if-match") for request in world.asked if request.method == "PATCH")


@pytest.mark.parametrize("said", [int, lambda active: str(int(active)), str], ids=["0", "'0'", "'False'"])
def test_active_in_other_words_is_understood(said):
    """Snipe-IT says 1 and 0, as its database does."""
    world = World(Provider(shown=lambda account: {**account, "active": said(account["active"])}))
    world.site.add(ANNA, name="anna")
    assert "did not keep" not in world.run(ANNA).detail
    world.site.edit(ANNA, status=False)
    left = world.run(ANNA)
    assert (left.outcome, left.attempt) == (OutcomeName.DONE, 1)


@pytest.mark.parametrize("said", [Answer(200), Answer(200, {}), Answer(202)], ids=["200", "200 {}", "202"])
def test_a_leaver_has_left_where_the_account_shows_it_though_the_answer_does_not(said):
    world = World(Provider(written=lambda account: said))
    world.site.add(ANNA, name="anna")
    world.run(ANNA)
    world.site.edit(ANNA, name="anna2")
    assert (world.run(ANNA).outcome, world.run(ANNA).outcome) == (OutcomeName.DONE, OutcomeName.UNCHANGED)
    world.site.edit(ANNA, status=False)
    left = world.run(ANNA)
    assert (left.outcome, left.attempt) == (OutcomeName.DONE, 1)
    assert [account["active"] for account in world.provider.accounts.values()] == [False]


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_whoever_answers_without_the_account_has_answered(method):
    """It may act later, and is waited for; but a few such users in a row are no target that answers nobody."""

    def first(request):
        if request.method != method or not late:
            return None
        late.clear()
        return Answer(202)

    late: list[int] = []
    world = World(Provider(first), leavers=LeaverSettings(deleted="delete"))
    world.site.add(ANNA, name="anna")
    if method != "POST":
        world.run(ANNA)
        world.site.edit(ANNA, name="anna2")
    if method == "DELETE":
        world.site.delete(ANNA)
    late.append(1)
    waiting = world.run(ANNA, attempts=1)
    assert (waiting.outcome, waiting.unanswered, waiting.silent) == (OutcomeName.PENDING, True, False)
    assert waiting.status_code == 202
    assert world.run(ANNA).outcome is OutcomeName.DONE


def claimed() -> dict[str, dict[str, object]]:
    """An account of Anna's that nobody remembers."""
    return {"9": {"id": "9", "userName": "anna", "externalId": ANNA, "active": True}}


def test_who_fails_over_a_filter_it_does_not_know_is_read_instead():
    """authentik answered 500 to a filter on externalId: no new user got in, and a leaver's account was not found."""

    def first(request):
        return refusal(500) if "externalId" in request.query.get("filter", "") else None

    world = World(Provider(first, accounts=claimed()))
    world.site.add(ANNA, name="anna", status=False)
    left = world.run(ANNA)
    assert (left.outcome, left.attempt) == (OutcomeName.DONE, 1)
    assert world.provider.accounts["9"]["active"] is False


@pytest.mark.parametrize("manner", ["fails", "refuses", "ignores"])
def test_the_listing_is_read_once_for_a_leaver_who_is_not_in_it(manner):
    """It is the answer already, and not put to the test by the search that it stands in for."""

    def first(request):
        if "externalId" not in request.query.get("filter", ""):
            return None
        others = listing(provider.accounts["9"])
        return {"fails": refusal(500), "refuses": refusal(400), "ignores": others}[manner]

    provider = Provider(first, accounts=claimed())
    world = World(provider)
    for _ in range(2):
        world.site.add(BERT, name="bert", status=False)
        world.links.links.clear()
        left = world.run(BERT)
        assert (left.outcome, left.attempt) == (OutcomeName.UNCHANGED, 1)
        assert len([each for each in world.asked if each.query.get("count") == "200"]) == 1


@pytest.mark.parametrize("failures", [1, 100])
def test_a_search_that_fails_is_no_reason_to_read_the_listing_where_everything_fails(failures):
    left = iter(range(failures))

    def first(request):
        return refusal(500) if request.path == "/Users" and next(left, None) is not None else None

    world = World(Provider(first, accounts=claimed()))
    world.site.add(ANNA, name="anna", status=False)
    assert world.run(ANNA, attempts=1).outcome is OutcomeName.PENDING
    assert [each for each in world.asked if each.query.get("count") == "200"] == []


@pytest.mark.parametrize(
    "detail", ["Request failed, see errors for additional details.", "", "Nutzer vorhanden"]
)
def test_an_account_is_looked_for_whatever_words_refuse_a_second_one(detail):
    """FusionAuth said 400 to a userName that is taken. No look-up had come before, as its schema says that it refuses doubles."""
    unique = [{"name": name, "uniqueness": "server"} for name in ("userName", "externalId")]
    schema = {"id": "urn:ietf:params:scim:schemas:core:2.0:User", "attributes": unique}

    def first(request):
        if request.path == "/Schemas":
            return listing(schema)
        return refusal(400, detail=detail) if request.method == "POST" else None

    accounts = {"9": {"id": "9", "userName": "anna", "active": True}}
    world = World(Provider(first, accounts=accounts))
    world.site.add(ANNA, name="anna")
    world.site.add(BERT, name="bert")
    assert world.run(ANNA).outcome is OutcomeName.DONE
    assert accounts["9"]["externalId"] == ANNA
    # Nobody of that name: it was refused for another reason, and that is told.
    refused = world.run(BERT)
    assert (refused.outcome, refused.status_code) == (OutcomeName.FAILED, 400)
    assert len([each for each in world.asked if each.method == "POST"]) <= 2


@pytest.mark.parametrize(
    ("others", "outcome"), [(149, OutcomeName.PENDING), (99, OutcomeName.PENDING), (98, OutcomeName.DONE)]
)
def test_a_leaver_is_not_without_account_where_the_listing_is_cut_off(others, outcome):
    """better-auth showed its first hundred users whatever startIndex and count said, as if they were all, and knew no filter on
    externalId.
    """
    accounts = {f"u{number}": {"id": f"u{number}", "userName": f"u{number}"} for number in range(others)}

    def first(request):
        if request.path != "/Users":
            return None
        asked = request.query.get("filter")
        return refusal(400) if asked else listing(*[*accounts.values()][:100])

    world = World(Provider(first, accounts={**accounts, **claimed()}))
    accounts |= world.provider.accounts
    world.site.add(ANNA, name="anna", status=False)
    assert world.run(ANNA, attempts=1).outcome is outcome


def loudly(account):
    return {name[:1].upper() + name[1:]: value for name, value in account.items()}


def quietly(account):
    return {name.lower(): value for name, value in account.items()}


@pytest.mark.parametrize("spelled", [loudly, quietly])
def test_names_are_the_same_in_any_case(spelled):
    """RFC 7643 2.1. An account of another externalId was taken over as one of nobody's, and a leaver's was not found."""

    def first(request):
        answer = provider.answer(request)
        is_list = isinstance(answer.body, dict) and "Resources" in answer.body
        return Answer(answer.status, spelled(answer.body)) if is_list else answer

    provider = Provider(first, spelled, accounts=claimed())
    world = World(provider)
    world.site.add(ANNA, name="anna", status=False)
    world.site.add(BERT, name="bert")
    provider.accounts["8"] = {"id": "8", "userName": "bert", "externalId": "somebody-else", "active": True}
    assert world.run(ANNA).outcome is OutcomeName.DONE
    assert provider.accounts["9"]["active"] is False
    assert "another externalId" in world.run(BERT).detail
    assert provider.accounts["8"]["externalId"] == "somebody-else"
