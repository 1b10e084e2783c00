"""Listings as service providers show them: whole, or refused; never quietly short (DESIGN 5.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from provisioning.errors import Outage, Permanent, Throttled, Transient, Unauthorized
from tests.support.opened_target import with_target
from tests.support.scripted_target import Answer, Request, ScriptedTarget

EVERYBODY = [{"id": str(number), "userName": f"u{number}"} for number in range(1, 26)]


def page(accounts: Sequence[Any] | None, total: Any = None, **more: Any) -> Answer:
    body = {"Resources": accounts} if accounts is not None else {}
    return Answer(body={**body, **({} if total is None else {"totalResults": total}), **more})


def slices(accounts: Sequence[Any], cap: int, total: Any = None) -> Callable[[Request], Answer]:
    """A target with index paging and pages of at most `cap`."""

    def answer(request: Request) -> Answer:
        start = int(request.query["startIndex"]) - 1
        shown = accounts[start : start + min(cap, int(request.query["count"]))]
        return page(shown, len(accounts) if total is None else total)

    return answer


def cursors(answer: Callable[[str], Answer]) -> Callable[[Request], Answer]:
    """A target with cursors: answer(cursor)."""

    def script(request: Request) -> Answer:
        if request.path == "/ServiceProviderConfig":
            return Answer(body={"pagination": {"cursor": True}})
        return answer(request.query.get("cursor", ""))

    return script


def ids(answer: Callable[[Request], Answer]) -> list[str]:
    with ScriptedTarget(
        lambda request: (
            answer(request) if request.path == "/Users" or answer.__name__ == "script" else Answer(404)
        )
    ) as server:

        async def body(target):
            return [account.scim_id async for each in target.listing() for account in each]

        return with_target(server.base_url, body)


def refused(answer: Callable[[Request], Answer], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words or None):
        ids(answer)


WHOLE = [account["id"] for account in EVERYBODY]


@pytest.mark.parametrize("cap", [1, 7, 25, 500])
@pytest.mark.parametrize("total", [None, 3, 0, "25", "many", -1, True], ids=str)
def test_a_capped_page_and_a_total_that_is_too_small_or_none_lose_nobody(cap, total):
    assert ids(slices(EVERYBODY, cap, total)) == WHOLE


@pytest.mark.parametrize("total", [26, "26", 1000])
def test_a_total_that_is_never_reached_is_no_whole_listing(total):
    refused(slices(EVERYBODY, 10, total), Transient, "but listed 25")


def test_an_account_shown_twice_on_a_page_or_on_two_comes_once():
    shown = [*EVERYBODY[:6], EVERYBODY[2], *EVERYBODY[4:], EVERYBODY[0]]
    assert ids(slices(shown, 7, 25)) == WHOLE


def test_duplicates_that_stand_for_others_are_noticed():
    refused(slices([*EVERYBODY[:20], *EVERYBODY[:5]], 10, 25), Transient, "has 25 users but listed 20")


def test_a_target_that_ignores_start_index_and_shows_a_part_is_noticed():
    refused(lambda _: page(EVERYBODY[:10], 25), Transient, "listed 10")


def test_a_target_that_ignores_start_index_and_shows_everybody_is_read_once():
    assert ids(lambda _: page(EVERYBODY, 25)) == WHOLE


def test_a_target_that_begins_anew_beyond_its_end_ends_all_the_same():
    """SCIMMY does."""

    def answer(request: Request) -> Answer:
        start = int(request.query["startIndex"]) - 1
        shown = EVERYBODY[start : start + 10] or EVERYBODY[: int(request.query["count"])][:10]
        return page(shown, 25)

    assert ids(answer) == WHOLE


def test_a_target_that_refuses_a_page_beyond_its_end_ends_there():
    def answer(request: Request) -> Answer:
        beyond = int(request.query["startIndex"]) > len(EVERYBODY)
        return Answer(400, {"scimType": "invalidValue"}) if beyond else slices(EVERYBODY, 10)(request)

    assert ids(answer) == WHOLE


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Answer(500), Transient),
        (Answer(401), Unauthorized),
        (Answer(403), Permanent),
        (Answer(429), Throttled),
        (Answer(200, "<html>"), Transient),
        (Answer(200, {"Resources": EVERYBODY}, cut=50), Transient),
    ],
    ids=["500", "401", "403", "429", "html", "cut off"],
)
@pytest.mark.parametrize("start", [1, 11, 26], ids=["first page", "middle", "beyond the end"])
def test_a_page_that_fails_is_never_the_end(failure, error, start):
    def answer(request: Request) -> Answer:
        return failure if request.query["startIndex"] == str(start) else slices(EVERYBODY, 10)(request)

    refused(answer, error, "")


@pytest.mark.parametrize(
    "answer",
    [page(None), page(None, 0), page([], 0), page(None, 0, Resources=None), Answer(404)],
    ids=["nothing", "no Resources", "empty", "null", "404"],
)
def test_nobody_at_all_is_an_empty_listing(answer):
    assert ids(lambda request: answer if "startIndex" in request.query else page([], 0)) == []


def test_404_of_whatever_is_asked_is_no_listing():
    """As of a proxy whose target is away: a leaver would have no account, for good."""
    refused(lambda _: Answer(404, "<html>"), Outage, "404")


def test_what_is_not_an_account_is_passed_over_and_missed_in_the_total():
    odd = [None, 5, "x", {}, {"id": ""}, {"id": None}, {"id": 7}]
    assert ids(lambda _: page(odd, 1)) == ["7"]
    refused(lambda _: page(odd, 7), Transient, "listed 1")


# -- cursors (RFC 9865) --------------------------------------------------------------------------------------------


def test_cursors_are_followed_through_short_and_empty_pages_to_the_end():
    def answer(cursor: str) -> Answer:
        following = {"": (EVERYBODY[:10], "a"), "a": ([], "b"), "b": (EVERYBODY[10:], None)}
        shown, then = following[cursor]
        return page(shown, 25, nextCursor=then)

    assert ids(cursors(answer)) == WHOLE


def test_cursors_without_a_total_are_believed():
    assert ids(cursors(lambda cursor: page(EVERYBODY[:5], nextCursor="" if cursor else "x"))) == WHOLE[:5]


def test_a_cursor_that_ends_early_is_noticed():
    refused(cursors(lambda _: page(EVERYBODY[:10], 25)), Transient, "listed 10")


@pytest.mark.parametrize("shown", [[], EVERYBODY[:3]], ids=["empty", "repeated"])
def test_cursors_that_go_in_circles_end(shown):
    refused(cursors(lambda _: page(shown, nextCursor="again")), Transient, "repeats")


@pytest.mark.parametrize("shown", [[], EVERYBODY[:3]], ids=["empty", "repeated"])
def test_cursors_that_lead_nowhere_end(shown):
    answers = iter(range(1000))
    refused(cursors(lambda _: page(shown, nextCursor=f"c{next(answers)}")), Transient, "repeats")


@pytest.mark.parametrize("scim_type", ["expiredCursor", "invalidCursor"])
def test_a_lost_cursor_is_worth_another_attempt_and_nobodys_dead_letter(scim_type):
    def answer(cursor: str) -> Answer:
        return Answer(400, {"scimType": scim_type}) if cursor else page(EVERYBODY[:10], nextCursor="x")

    refused(cursors(answer), Transient, scim_type)
