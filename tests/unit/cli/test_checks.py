"""What `scimpipe check` says of a target's switches, and of a target that does not let us in."""

from __future__ import annotations

import asyncio

import pytest

from cli.checks import check_of_mapping, credentials, still_active
from config.settings import (
    LeaverSettings,
    MappedValue,
    ScheduledSettings,
    Secret,
    TargetSettings,
    TriggerSettings,
)
from provisioning.mapping import compile_target
from provisioning.model import FieldInfo
from provisioning.schema import rfc_schemas
from scim.target import open_target
from tests.support.raw_server import raw_server


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


@pytest.mark.parametrize(
    ("status", "headers", "what", "next_step"),
    [
        ("401 Unauthorized", "", "401", "copy it again"),
        ("403 Forbidden", "", "403", "may not read users"),
        ("403 Forbidden", "Retry-After: 90", "403", "wait 90 s, then run `scimpipe check` again"),
        ("429 Too Many Requests", "Retry-After: 90", "429", "wait 90 s, then run `scimpipe check` again"),
        ("429 Too Many Requests", "", "429", "wait 5 s, then run `scimpipe check` again"),
        ("500 Internal Server Error", "", "500", "ask whoever runs the target"),
        ("503 Service Unavailable", "", "503", "ask whoever runs the target"),
        ("503 Service Unavailable", "Retry-After: 90", "503", "wait 90 s, then run `scimpipe check` again"),
    ],
)
def test_a_target_that_does_not_let_us_in_is_told_with_what_to_do(tmp_path, status, headers, what, next_step):
    (tmp_path / "token").write_text("token")
    lines = (f"HTTP/1.1 {status}", "Content-Length: 0", "Connection: close", *([headers] if headers else []))
    with raw_server(("\r\n".join(lines) + "\r\n\r\n").encode()) as url:
        settings = TargetSettings(
            name="acme",
            base_url=url,
            token=Secret(file=tmp_path / "token"),
            mapping={"userName": MappedValue(value="name")},
        )

        async def told() -> str:
            opened = open_target(settings)
            try:
                (check,) = await credentials("acme", opened)
            finally:
                await opened.close()
            return check.detail

        detail = asyncio.run(told())
    assert what in detail
    assert next_step in detail


@pytest.mark.parametrize(
    ("fields", "schemas", "words"),
    [
        (
            (FieldInfo("name"),),
            rfc_schemas(),
            "fit Drupal's fields and RFC 7643 (the target shows no schemas)",
        ),
        (None, rfc_schemas(), "RFC 7643 (the target shows no schemas); Drupal's fields could not be read"),
        (
            (FieldInfo("name"),),
            None,
            "fit Drupal's fields and RFC 7643; the target's schemas could not be read",
        ),
        (None, None, "fit RFC 7643; Drupal's fields and the target's schemas could not be read"),
    ],
)
def test_what_a_mapping_was_compared_with_is_said(fields, schemas, words):
    compiled = compile_target(target("keep", set(), None))
    (check,) = check_of_mapping("acme", compiled, fields, schemas)
    assert check.ok
    assert check.detail.endswith(words)


def test_a_mistyped_attribute_is_found_where_drupal_cannot_be_read():
    compiled = compile_target(
        target("keep", set(), None).model_copy(
            update={"mapping": {path: MappedValue(value="name") for path in ("userName", "dispalyName")}}
        )
    )
    (check,) = check_of_mapping("acme", compiled, None, None)
    assert not check.ok
    assert "did you mean displayName?" in check.detail
