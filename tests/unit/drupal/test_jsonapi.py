"""The JSON:API reader against a stand-in that behaves as the captures do: a test for each trap of FACTS.md."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from config.settings import DrupalJsonApiSettings, Secret
from drupal.jsonapi import JsonApiReader
from drupal.jsonapi_rows import user_of
from provisioning.errors import SourceUnreadable
from tests.support.jsonapi_reading import FIELDS, QUESTIONS, scanned, user

DATA = Path(__file__).parents[2] / "data" / "captures"


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


def test_a_term_that_was_deleted_is_no_value():
    """Core's JSON:API has the word `missing` in place of its id."""
    body = json.loads((DATA / "020-page50-sync_admin.json").read_text())["body"]
    row = next(row for row in body["data"] if "status" in row.get("attributes", {}))
    there = {"type": "taxonomy_term--x", "id": "a-uuid", "meta": {"drupal_internal__target_id": 7}}
    gone = {"type": "unknown", "id": "missing", "meta": {"links": {}}}
    row["relationships"] |= {"field_one": {"data": gone}, "field_several": {"data": [gone, there]}}
    values = user_of(row, ["field_one", "field_several"]).values
    assert (values["field_one"], values["field_several"]) == (None, [7])


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
