"""Each trigger x each operation x switch on and off, on each database: the accounts on the target are what counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.databases import KINDS
from tests.support.pipeline import Pipeline, pipeline, scim2_server

TRIGGERS = ("manual", "automatic", "scheduled")
OPERATIONS = ("create", "update", "deactivate", "delete")
ALL = '["create", "update", "deactivate", "delete"]'


def section(trigger: str, name: str, operations: str) -> str:
    cron = 'cron = "0 0 1 1 *"\n' if trigger == "scheduled" else ""
    guard = f"[targets.{name}.guard]\nmax_removal_percent = 100\n"
    leavers = f'[targets.{name}.leavers]\nblocked = "deactivate"\ndeleted = "delete"\n'
    return f"{leavers}{guard}[targets.{name}.{trigger}]\noperations = {operations}\n{cron}"


@pytest.fixture(scope="module", params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("e2e")
    names = [f"{trigger}-{switch}" for trigger in TRIGGERS for switch in ("on", "off")]
    targets = {
        name: section(name.split("-")[0], name, ALL if name.endswith("on") else "[]") for name in names
    }
    with scim2_server(folder, names) as address, pipeline(request.param, folder, targets, address) as running:
        running.start("worker", "changes")
        running.workers_ready()
        # Change detection has taken its bearings, so that everything from now on is a change.
        running.until(
            lambda: all(running.redis().exists(f"scimpipe:{{automatic-{s}}}:changes") for s in ("on", "off"))
        )
        yield running


def act(world: Pipeline, operation: str, trigger: str) -> str:
    """Brings a user to the state before the operation on both targets, then does in Drupal what calls for it."""
    name = f"{operation}-{trigger}"
    uuid = world.site.add_user(name, f"{name}@example.test", first_name="Before", department="Old")
    if operation != "create":
        for target in (f"{trigger}-on", f"{trigger}-off"):
            if target.endswith("-on"):
                start(world, trigger, target, uuid)
                world.until(lambda target=target: uuid in world.accounts(target))
            else:
                # The switch for create is off there: somebody else has made the account.
                copy = {
                    key: value
                    for key, value in world.accounts(f"{trigger}-on")[uuid].items()
                    if key not in {"id", "meta"}
                }
                world.http("POST", target, "/Users", json=copy)
                # Any change brings the user up again, and the account is found and linked.
                world.site.edit(uuid, department="Old")
                start(world, trigger, target, uuid)
                linked = ("history", uuid, "--target", target, "--operation", "link")
                world.until(lambda linked=linked: world.run(*linked))
    if operation == "update":
        world.site.edit(uuid, first_name="After")
    elif operation == "deactivate":
        world.site.block(uuid)
    elif operation == "delete":
        world.site.delete(uuid)
    return uuid


def start(world: Pipeline, trigger: str, target: str, uuid: str) -> None:
    if trigger == "manual":
        world.run("provision", uuid, "--target", target, code=None)
    elif trigger == "scheduled":
        world.run("sync", target, code=None)


def happened(world: Pipeline, target: str, operation: str, uuid: str) -> bool:
    account = world.accounts(target).get(uuid)
    if operation == "create":
        return account is not None
    if operation == "delete":
        return account is None
    assert account is not None
    return (
        account["active"] is False if operation == "deactivate" else account["name"]["givenName"] == "After"
    )


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_an_operation_happens_where_its_switch_is_on_and_is_reported_where_it_is_off(
    world, trigger, operation
):
    uuid = act(world, operation, trigger)
    for target in (f"{trigger}-on", f"{trigger}-off"):
        start(world, trigger, target, uuid)
    world.until(lambda: happened(world, f"{trigger}-on", operation, uuid))
    skipped = (
        "history",
        uuid,
        "--target",
        f"{trigger}-off",
        "--operation",
        operation,
        "--outcome",
        "skipped",
    )
    world.until(lambda: world.run(*skipped))
    assert not happened(world, f"{trigger}-off", operation, uuid)
    entry = world.run(*skipped)[0]
    assert f"targets.{trigger}-off.{trigger}.operations" in entry["detail"]
    done = world.run(
        "history", uuid, "--target", f"{trigger}-on", "--operation", operation, "--outcome", "done"
    )
    assert [each["trigger"] for each in done] == [trigger]
