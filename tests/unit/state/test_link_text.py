"""A link's line of text: short, whole, and read in every form it was ever written in."""

from __future__ import annotations

import base64
import hashlib

import pytest

from provisioning.diff import digests
from provisioning.model import DOUBT, Desired, Link
from state.link_text import LinkText

MAIL = 'emails[type eq "work"].value'
PATHS = ("userName", "externalId", MAIL, "title")
LINK = Link("id-1", 'W/"1"', "print", {"userName": "aaaaaaa", MAIL: "b-_bbbb", "active": "ccccccc"}, True)


def old_text(link: Link) -> str:
    """As links were written before there were layouts, when digests had eight letters."""

    def short(path: str) -> str:
        return base64.urlsafe_b64encode(hashlib.blake2b(path.encode(), digest_size=3).digest()).decode()

    parts = [link.scim_id, link.version or "", link.fingerprint, "1" if link.active else "0"]
    for path, digest in link.digests.items():
        parts += [short(path), digest if digest == DOUBT else f"{digest:x<8}"]
    return "\t".join(parts)


@pytest.mark.parametrize(
    "link",
    [
        pytest.param(LINK, id="account"),
        pytest.param(LINK._replace(version=None, active=False), id="no-version-deactivated"),
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


def test_that_an_account_may_be_active_all_the_same_is_remembered():
    invited = LINK._replace(active=False, may_be_active=True)
    text = LinkText(PATHS)

    assert text.read(text.write(invited)) == text.read_without_content(text.write(invited))._replace(
        digests=invited.digests
    )
    assert text.read(text.write(invited)) == invited


def test_a_link_of_ten_attributes_stays_below_the_next_size_that_is_allocated():
    paths = [f"attribute{number}" for number in range(9)]
    key, desired = b"k" * 32, Desired(dict.fromkeys([*paths, "active"], "value"))
    link = Link("0f000000-0000-4000-8000-000000000001", None, "fingerprint1", digests(desired, key))

    text = LinkText(paths).write(link)

    assert len(text) <= 132
    assert LinkText(paths).read(text) == link


def test_a_digest_that_has_no_place_in_the_layout_is_kept_all_the_same():
    link = LINK._replace(digests={"userName": "aaaaaaa", "title": DOUBT, "locale": "ddddddd"})

    read = LinkText((*PATHS, "locale")).read(LinkText((*PATHS, "locale")).write(link))

    assert read == link
    without = LinkText(PATHS)
    assert without.read(without.write(link)).digests.keys() > {"userName", "title"}


def test_a_layout_is_read_by_whoever_has_another_mapping_once_it_has_learned_of_it():
    before, after = LinkText(PATHS), LinkText(("userName", "nickName", "title"))
    text = before.write(LINK)

    assert after.read(text) is None
    assert after.read_without_content(text) == LINK._replace(digests={})
    after.learn({before.layout: before.layout_paths})
    link = after.read(text)
    assert link is not None
    assert {path: digest for path, digest in link.digests.items() if path in LINK.digests} == {
        "userName": "aaaaaaa",
        "active": "ccccccc",
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
