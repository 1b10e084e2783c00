"""A link's line of text: short, whole, and read in every form it was ever written in."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest

from provisioning.model import DOUBT, Link
from state.link_text import LinkText

MAIL = 'emails[type eq "work"].value'
PATHS = ("userName", "externalId", MAIL, "title")
LINK = Link("id-1", 'W/"1"', "print", {"userName": "aaaaaaaa", MAIL: "bbbbbbbb", "active": "cccccccc"}, True)


def old_text(link: Link) -> str:
    """As links were written before there were layouts."""

    def short(path: str) -> str:
        return base64.urlsafe_b64encode(hashlib.blake2b(path.encode(), digest_size=3).digest()).decode()

    parts = [link.scim_id, link.version or "", link.fingerprint, "1" if link.active else "0"]
    for path, digest in link.digests.items():
        parts += [short(path), digest]
    return "\t".join(parts)


@pytest.mark.parametrize(
    "link",
    [
        pytest.param(LINK, id="account"),
        pytest.param(replace(LINK, version=None, active=False), id="no-version-deactivated"),
        pytest.param(Link("", None, "print", {}, False), id="no-account"),
        pytest.param(LINK.doubting(["title"]), id="in-doubt"),
        pytest.param(Link("", None, "", {"title": DOUBT}, False), id="create-in-doubt"),
        pytest.param(Link("ä/1", None, "!print", LINK.digests), id="gone"),
    ],
)
def test_a_link_is_read_as_it_was_written_now_or_before_there_were_layouts(link):
    text = LinkText(PATHS)

    assert "\n" not in text.write(link)
    assert LinkText(reversed(PATHS)).read(text.write(link)) == link
    assert text.read(old_text(link)) == link


def test_ten_attributes_take_half_of_what_paths_and_digests_in_turns_took():
    paths = [f"attribute{number}" for number in range(9)]
    link = Link("", None, "", dict.fromkeys([*paths, "active"], "aaaaaaaa"))

    assert len(LinkText(paths).write(link)) < 0.75 * len(old_text(link))


def test_a_layout_is_read_by_whoever_has_another_mapping_once_it_has_learned_of_it():
    before, after = LinkText(PATHS), LinkText(("userName", "nickName", "title"))
    text = before.write(LINK)

    assert after.read(text) is None
    assert after.read_without_content(text) == replace(LINK, digests={})
    after.learn({before.layout: before.layout_paths})
    link = after.read(text)
    assert link is not None
    assert {path: digest for path, digest in link.digests.items() if path in LINK.digests} == {
        "userName": "aaaaaaaa",
        "active": "cccccccc",
    }


def test_an_attribute_that_left_the_mapping_is_known_again_when_it_comes_back():
    before, between = LinkText(PATHS), LinkText(("userName", "externalId"))
    between.learn({before.layout: before.layout_paths})
    kept = between.read(before.write(LINK))
    assert kept is not None

    again = between.read(between.write(kept))

    assert again == kept
    assert before.read(between.write(kept)) is None
    before.learn({between.layout: between.layout_paths})
    assert before.read(between.write(kept)) == LINK
