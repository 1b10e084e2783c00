"""`scimpipe demo`: the real pipeline on embedded parts, with a config file one can read.

A Drupal-shaped SQLite site, scim2-server as the target, Valkey from the wheel, workers, scheduler and change
detection as processes of their own: nothing is faked.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.demo.folder import claimed, written
from cli.demo.site import DrupalSite
from cli.demo.target import free_port, listening, server_command
from cli.output import Output
from cli.running import LANES, own_command, processes, worker_command, workers_ready
from cli.session import Session, opened
from cli.syncs import show_sync, sync_one

FOLDER = Path("scimpipe-demo")
LOG = "processes.log"
USERS = 50
ARRIVE_SECONDS = 30
CONFIG = """\
# The demo's configuration: change it and look what happens. `scimpipe check --config {folder}/scimpipe.toml`
[service]
data_dir = "{state}"  # each demo has one of its own: what a killed one left behind ends in the old one

[drupal]
kind = "database"
url = "sqlite:///site.sqlite"
poll_seconds = 1

[targets.demo]
base_url = "http://127.0.0.1:{port}/v2"
token = {{ file = "token" }}

[targets.demo.mapping]
userName = "name"
externalId = "uuid"
active = "status"
displayName = "name"
'name.givenName' = "field_first_name"
'name.familyName' = "field_last_name"
'emails[type eq "work"].value' = "mail | lower"
'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department' = "field_department"
userType = "'staff' if 'editor' in roles else 'member'"

[targets.demo.leavers]
blocked = "deactivate"
deleted = "delete"
out_of_scope = "deactivate"

[targets.demo.manual]
operations = ["create", "update", "deactivate", "delete"]
[targets.demo.automatic]
operations = ["create", "update", "deactivate", "delete"]
[targets.demo.scheduled]
operations = ["create", "update", "deactivate"]
cron = "*/5 * * * *"
"""


@dataclass(frozen=True, slots=True)
class Step:
    """Something an administrator does in Drupal, and how one sees it on the target. arrived: of the account or None."""

    words: str
    user: str
    arrived: Callable[[dict[str, Any] | None], bool]


def show(*, once: bool, as_json: bool) -> None:
    """The demo command's body."""
    session = Session(FOLDER / "scimpipe.toml", as_json=as_json)

    async def body() -> int:
        with claimed(FOLDER):
            session.output.say(f"Making a Drupal-shaped site with {USERS} users in {FOLDER}/ ...")
            with written(FOLDER):
                port = _make(FOLDER)
            return await _run(session, port, once=once)

    session.run(body)


def _make(folder: Path) -> int:
    port = free_port()
    (folder / "token").write_text(secrets.token_urlsafe(24), encoding="utf-8")
    config = CONFIG.format(port=port, folder=folder, state=f".scimpipe-{secrets.token_hex(4)}")
    (folder / "scimpipe.toml").write_text(config, encoding="utf-8")
    site = DrupalSite.create(_site_url(folder))
    site.populate(USERS)
    site.close()
    return port


async def _run(session: Session, port: int, *, once: bool) -> int:
    target = server_command(port, (FOLDER / "token").read_text(encoding="utf-8"))
    commands = [*map(worker_command, LANES), own_command("scheduler"), own_command("changes")]
    with (FOLDER / LOG).open("wb") as log:
        async with (
            processes(session.settings.path, [target], log) as server,
            opened(session) as all_of_it,
            processes(session.settings.path, commands, log) as running,
        ):
            await listening(port, server[0], f"in {FOLDER / LOG}")
            await workers_ready(all_of_it, [*server, *running], f"in {FOLDER / LOG}")
            return await _show(session, all_of_it, port, once=once)


def _site_url(folder: Path) -> str:
    return f"sqlite:///{(folder / 'site.sqlite').absolute()}"


async def _show(session: Session, all_of_it: Any, port: int, *, once: bool) -> int:
    output = session.output
    output.block(
        "\nScheduled: a full sync brings everybody to the target; who is blocked gets no account, and is unchanged.",
        "bold",
    )
    document, code = await sync_one(session, all_of_it, "demo", 120, verify=False, wait=True)
    show_sync(session, document)
    output.block("\nAutomatic: what happens in Drupal arrives by itself.", "bold")
    site = DrupalSite.open(_site_url(FOLDER))
    # The first poll of change detection only takes its bearings.
    await _until(lambda: all_of_it.redis.exists("scimpipe:{demo}:changes"))
    steps = [await _arrives(all_of_it, output, step) for step in _steps(site)]
    output.block("\nManual: pick a user, submit, see the result.", "bold")
    steps.append(await _manual(all_of_it, output, site))
    site.close()
    output.document({"sync": document, "steps": steps})
    _where(output, port)
    if not once:
        output.block("\nStaying up; Ctrl-C ends it.", "bold")
        await _stay()
    return code if all(step["arrived"] for step in steps) else 1


def _steps(site: DrupalSite) -> Any:
    with written(FOLDER):
        yield from _acts(site)


def _acts(site: DrupalSite) -> Any:
    """Done one after the other, each when the one before has arrived."""
    people = [user for user in site.users() if user.uid > 1 and user.status]
    edited, blocked, deleted = people[0], people[1], people[2]
    site.edit(edited.uuid, department="Space travel")
    yield Step(
        f"{edited.name} moved to the department Space travel", edited.uuid, _in_department("Space travel")
    )
    site.block(blocked.uuid)
    yield Step(
        f"{blocked.name} was blocked", blocked.uuid, lambda found: found is not None and not found["active"]
    )
    site.unblock(blocked.uuid)
    yield Step(
        f"{blocked.name} was unblocked", blocked.uuid, lambda found: found is not None and found["active"]
    )
    added = site.add_user(
        "ada", "ada@example.test", first_name="Ada", last_name="Lovelace", department="Engines"
    )
    yield Step("ada was added", added, lambda found: found is not None)
    site.edit(added, name="ada.lovelace")
    yield Step(
        "ada was renamed to ada.lovelace",
        added,
        lambda found: found is not None and found["userName"] == "ada.lovelace",
    )
    site.delete(deleted.uuid)
    yield Step(f"{deleted.name} was deleted", deleted.uuid, lambda found: found is None)


def _in_department(name: str) -> Callable[[dict[str, Any] | None], bool]:
    urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
    return lambda found: found is not None and found.get(urn, {}).get("department") == name


async def _arrives(all_of_it: Any, output: Output, step: Step) -> dict[str, Any]:
    started = time.monotonic()

    async def there() -> bool:
        accounts = await all_of_it.target("demo").find("externalId", step.user)
        return step.arrived(dict(accounts[0].resource) if accounts else None)

    arrived = await _until(there)
    seconds = round(time.monotonic() - started, 1)
    output.say(f"  in Drupal: {step.words}", "")
    output.say(
        f"  on the target {seconds} s later" if arrived else "  NOT on the target in time",
        "green" if arrived else "red",
    )
    return {"step": step.words, "arrived": arrived, "seconds": seconds}


async def _manual(all_of_it: Any, output: Output, site: DrupalSite) -> dict[str, Any]:
    from producers.manual import submit
    from producers.submission import wait_for
    from provisioning.model import OutcomeName

    user = next(user for user in site.users() if user.name == "ada.lovelace")
    state = all_of_it.state("demo")
    started = time.monotonic()
    results = await wait_for(state, await submit(state, [user.uuid]), ARRIVE_SECONDS)
    seconds = round(time.monotonic() - started, 2)
    result = results[user.uuid]
    output.say(f"  scimpipe provision {user.name}: {result.outcome.value} after {seconds} s", "green")
    if result.outcome is OutcomeName.UNCHANGED:
        output.say("  as the change above had arrived by itself; whatever still differs is put right")
    return {"step": f"{user.name} was submitted by hand", "arrived": True, "seconds": seconds}


async def _until(condition: Callable[[], Any]) -> bool:
    deadline = time.monotonic() + ARRIVE_SECONDS
    while time.monotonic() < deadline:
        if await condition():
            return True
        await asyncio.sleep(0.1)
    return False


def _where(output: Output, port: int) -> None:
    config = FOLDER / "scimpipe.toml"
    command = os.path.relpath(Path(sys.executable).with_name("scimpipe"))
    output.block("\nWhere things are", "bold")
    output.say(f"  config          {config}")
    output.say(f"  Drupal's tables {FOLDER / 'site.sqlite'}")
    output.say(f"  target          http://127.0.0.1:{port}/v2 (token in {FOLDER / 'token'})")
    output.say(f"  logs            {FOLDER / LOG}")
    output.say("Try, in another terminal:")
    output.say(f"  export SCIMPIPE_CONFIG={config}")
    for words in ("check", "status", "users ada", "preview ada.lovelace", "history", "remote ada"):
        output.say(f"  {command} {words}")


async def _stay() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
