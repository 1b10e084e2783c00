"""What `scimpipe check` says of a target's switches."""

from __future__ import annotations

import pytest

from cli.checks import still_active
from config.settings import LeaverSettings, MappedValue, ScheduledSettings, TargetSettings, TriggerSettings


def target(deleted: str, automatic: set[str], scheduled: set[str] | None) -> TargetSettings:
    return TargetSettings(
        name="acme",
        base_url="https://acme.example",
        mapping={"userName": MappedValue(value="name")},
        leavers=LeaverSettings(deleted=deleted),
        manual=TriggerSettings(operations={"create", "deactivate", "delete"}),
        automatic=TriggerSettings(operations=automatic),
        scheduled=None if scheduled is None else ScheduledSettings(operations=scheduled),
    )


@pytest.mark.parametrize(
    ("deleted", "automatic", "scheduled", "told"),
    [
        (
            "delete",
            {"deactivate"},
            {"deactivate"},
            ['leavers.deleted is "delete", which automatic and scheduled may not'],
        ),
        ("delete", {"deactivate"}, None, ['leavers.deleted is "delete", which automatic may not']),
        ("delete", {"deactivate"}, {"deactivate", "delete"}, []),
        ("deactivate", {"deactivate"}, None, []),
        ("keep", {"deactivate"}, None, []),
        (
            "keep",
            {"create"},
            None,
            [
                f'leavers.{each} is "deactivate", which automatic may not'
                for each in ("blocked", "out_of_scope")
            ],
        ),
        # By hand only: nobody expects anything to happen by itself.
        ("delete", set(), None, []),
    ],
)
def test_whoever_leaves_and_stays_active_is_told_of(deleted, automatic, scheduled, told):
    found = list(still_active(target(deleted, automatic, scheduled)))
    assert [each.split(" do:")[0] for each in found] == told


@pytest.mark.parametrize(
    ("scheduled", "words"),
    [
        (None, "which automatic (never, as drupal.poll_seconds is 0) may not do"),
        ({"create"}, "which automatic (never, as drupal.poll_seconds is 0) and scheduled may not do"),
        ({"deactivate"}, ""),
    ],
)
def test_with_change_detection_off_the_automatic_trigger_removes_nobody(scheduled, words):
    found = list(still_active(target("deactivate", {"deactivate"}, scheduled), polled=False))
    assert (len(found), all(words in each for each in found)) == (3 if words else 0, True)
