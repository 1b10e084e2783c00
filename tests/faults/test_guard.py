"""Mistakes that would remove, or blank, more people than anybody means to: held, shown, and decided by a person once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.demo.people import ADMIN
from cli.demo.rows import Person
from tests.faults.report import Report, full_only
from tests.faults.world import ENTERPRISE, World, world

SEED = 20261129
PEOPLE = 40
pytestmark = pytest.mark.timeout(300)
SCOPE = "scope = \"'left' not in roles\""
DEPARTMENT = f"{ENTERPRISE}:department"


@contextmanager
def provisioned(folder: Path, report: Report) -> Iterator[World]:
    """Everybody has an account; five of them may be removed in an hour."""
    with world(folder, report, SEED, people=PEOPLE, percent=12) as made:
        made.running.start("worker", "scheduler", "changes")
        made.running.workers_ready()
        made.settle("provisioned")
        yield made


ALL = ("worker", "scheduler", "changes")


def restart(made: World, commands: tuple[str, ...] = ALL) -> None:
    made.running.stop()
    made.running.start(*commands)
    made.running.workers_ready()


def configure(made: World, before: str, after: str, commands: tuple[str, ...] = ALL) -> None:
    """An edit of the config, and the restart it needs."""
    file = made.running.folder / "scimpipe.toml"
    text = file.read_text()
    assert before in text
    made.running.stop()
    file.write_text(text.replace(before, after))
    restart(made, commands)


def settled(made: World) -> None:
    made.running.until(lambda: made.running.run("sync", code=None)["outcome"] in {"held", "done"}, 60)
    status: Callable[[], Any] = lambda: made.running.run("status")["targets"]["main"]  # noqa: E731  # asked again
    made.running.until(lambda: (status()["pending"], status()["running"]) == (0, 0), 30)


def edits_are_seen(made: World) -> bool:
    """Change detection has submitted everybody's last edit and will not again. Until it has, what is a mistake by then would
    be theirs to submit, and the guard allows five an hour.
    """
    seen = json.loads(made.running.redis().hget("scimpipe:{main}:changes", "seen") or "{}")
    return all(seen.get(user.uuid) == user.changed for user in made.running.site.users())


def held(made: World) -> dict[str, dict[str, Any]]:
    return {each["user"]: each for each in made.running.run("held", "list")}


def active(made: World) -> set[str]:
    return {uuid for uuid, account in made.running.accounts("main").items() if account.get("active", True)}


def test_a_site_restored_from_a_wrong_backup(tmp_path, report):
    with provisioned(tmp_path, report) as made:
        everybody = active(made)
        lost = sorted(made.people)[: PEOPLE // 2]
        made.running.site.delete(*lost)
        settled(made)
        assert active(made) == everybody
        assert set(held(made)) == set(lost)
        assert all("removals at once" in each["detail"] for each in held(made).values())
        assert {each["operation"] for each in held(made).values()} == {"delete"}

        # Everything else goes on.
        (newcomer,) = made.add(1)
        made.edit(max(made.people))
        made.running.until(lambda: newcomer in active(made))

        # A decision is made once, survives a restart, and is about one person.
        restart(made)
        assert set(held(made)) == set(lost)
        assert made.running.run("held", "approve", lost[0])["users"] == 1
        made.running.until(lambda: lost[0] not in active(made))
        assert made.running.run("held", "approve", lost[0], code=1)["users"] == 0
        assert made.running.run("held", "reject", lost[1])["users"] == 1
        settled(made)
        settled(made)
        assert set(held(made)) == set(lost[2:])
        assert active(made) == (everybody | {newcomer}) - {lost[0]}

        # The right backup: nobody needs a decision any more, nor does the one who was rejected.
        someone = made.people
        persons = [
            Person(uuid, someone[uuid].name, f"{someone[uuid].name}@example.org", "F", "L", someone[uuid].department,
                   (), None, (), True)
            for uuid in lost
        ]  # fmt: skip
        made.running.site.add_people(persons)
        # The one removal that was approved.
        someone[lost[0]].left.append((0, float("inf")))
        settled(made)
        assert held(made) == {}
        made.settle("wrong backup")


@full_only
@pytest.mark.parametrize("mistake", ["emptied site", "role removed", "scope of nobody"])
def test_everybody_would_be_removed(tmp_path, report, mistake):
    with provisioned(tmp_path, report) as made:
        everybody = active(made)
        match mistake:
            case "emptied site":
                made.running.site.delete(*made.people)
            case "role removed":
                for uuid in (ADMIN.uuid, *made.people):
                    made.running.site.edit(uuid, roles=("member",))
                configure(made, SCOPE, "scope = \"'member' in roles\"")
                settled(made)
                made.running.until(lambda: edits_are_seen(made))
                assert held(made) == {}
                made.running.site.delete_role("member")
            case "scope of nobody":
                configure(made, SCOPE, "scope = \"'nobody' in roles\"")
        settled(made)
        assert active(made) == everybody
        assert set(held(made)) >= set(made.people)
        assert made.proxy.record.removals() == []
        report.add(mistake, PEOPLE, 0, ())


def test_a_mapping_edit_that_would_blank_an_attribute_for_everybody(tmp_path, report):
    def departments(made: World) -> set[str | None]:
        accounts = made.running.accounts("main")
        return {(accounts[uuid].get(ENTERPRISE) or {}).get("department") for uuid in made.people}

    with provisioned(tmp_path, report) as made:
        for uuid, someone in made.people.items():
            someone.department = "before"
            made.running.site.edit(uuid, department="before")
        made.settle("departments")
        mapping = f"'{DEPARTMENT}' = "
        # Without change detection, which might see one edited user before the sync sees everybody: one alone may lose it.
        after = f'{mapping}"field_interests | first"'
        configure(made, f'{mapping}"field_department"', after, ("worker", "scheduler"))
        victim, other, *_ = sorted(made.people)
        made.people[other].name = "renamed"
        made.running.site.edit(other, name="renamed")
        settled(made)
        assert departments(made) == {"before"}
        # What does not take anything away goes on, for the same person too.
        assert made.running.accounts("main")[other]["userName"] == "renamed"
        entries = held(made)
        assert set(entries) == set(made.people)
        assert {tuple(each["changes"]) for each in entries.values()} == {(DEPARTMENT,)}
        assert all("would lose" in each["detail"] for each in entries.values())
        made.running.run("held", "approve", victim)
        made.running.until(lambda: victim not in held(made) and None in departments(made))
        accounts = made.running.accounts("main")
        kept = [uuid for uuid in made.people if (accounts[uuid].get(ENTERPRISE) or {}).get("department")]
        assert set(kept) == set(made.people) - {victim}

        # The edit is taken back: everybody is as they should be, nothing waits.
        configure(made, after, f'{mapping}"field_department"')
        settled(made)
        assert held(made) == {}
        made.settle("blanked attribute")
