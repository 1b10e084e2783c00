"""A site, a target behind a fault proxy, real processes between them, and what must be true when all is calm again."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.demo.people import ADMIN
from cli.demo.rows import Person
from tests.faults.proxy import FaultProxy
from tests.faults.report import Report
from tests.support.pipeline import Pipeline, pipeline, scim2_server

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
# A worker reads Drupal, waits for its turn, sends: a removal may rest on what was true this long before.
STALE_SECONDS = 45.0
SECTION = """
allow_insecure = true
scope = "'left' not in roles"
[targets.main.leavers]
blocked = "deactivate"
deleted = "delete"
out_of_scope = "deactivate"
[targets.main.guard]
max_removals = 1000000
max_removal_percent = {percent}
[targets.main.limits]
timeout_seconds = {timeout}
[targets.main.manual]
operations = ["create", "update", "deactivate", "delete"]
[targets.main.automatic]
operations = ["create", "update", "deactivate", "delete"]
[targets.main.scheduled]
operations = ["create", "update", "deactivate", "delete"]
cron = "0 0 1 1 *"
"""


@dataclass
class Someone:
    """A user as the test knows it. left: (from, until) of every time in which the account was rightly removed."""

    name: str
    department: str | None
    roles: tuple[str, ...] = ()
    status: bool = True
    deleted: bool = False
    left: list[tuple[float, float]] = field(default_factory=list)

    @property
    def due(self) -> bool:
        return self.status and not self.deleted and "left" not in self.roles

    def may_be_removed(self, began: float, ended: float) -> bool:
        return any(since <= ended and until >= began - STALE_SECONDS for since, until in self.left)


@dataclass
class World:
    """people: everybody who was ever on the site, by uuid. injected: faults done elsewhere than in the target's proxy. judged: how
    many of the proxy's exchanges have been looked at."""

    running: Pipeline
    proxy: FaultProxy
    report: Report
    random: random.Random
    people: dict[str, Someone] = field(default_factory=dict)
    injected: int = 0
    _number: int = 0
    judged: int = 0

    # -- what happens on the site ------------------------------------------------------------------------------

    def add(self, count: int) -> list[str]:
        persons = []
        for _ in range(count):
            self._number += 1
            uuid = f"{self.random.getrandbits(32):08x}-0000-4000-8000-{self._number:012d}"
            someone = Someone(f"user{self._number}", f"department {self.random.randrange(9)}")
            name = someone.name
            persons.append(
                Person(uuid, name, f"{name}@example.org", "F", "L", someone.department, (), None, (), True)
            )
            self.people[uuid] = someone
        self.running.site.add_people(persons)
        return [person.uuid for person in persons]

    def there(self) -> list[str]:
        return [uuid for uuid, someone in self.people.items() if not someone.deleted]

    def edit(self, uuid: str) -> None:
        someone = self.people[uuid]
        if self.random.random() < 0.3:
            self._number += 1
            someone.name = f"user{self._number}"
            self.running.site.edit(uuid, name=someone.name)
        else:
            choice = self.random.randrange(10)
            someone.department = f"department {choice}" if choice else None
            self.running.site.edit(uuid, department=someone.department)

    def set(
        self, uuid: str, *, status: bool | None = None, left: bool | None = None, deleted: bool = False
    ) -> None:
        someone = self.people[uuid]
        due = someone.due
        now = time.time()
        if due:
            # Before the site says so: nothing may be removed earlier.
            someone.left.append((now, float("inf")))
        if deleted:
            someone.deleted = True
            self.running.site.delete(uuid)
        if status is not None:
            someone.status = status
            self.running.site.edit(uuid, status=status)
        if left is not None:
            someone.roles = ("left",) if left else ()
            self.running.site.edit(uuid, roles=someone.roles)
        if someone.due and someone.left:
            someone.left[-1] = (someone.left[-1][0], time.time())

    def turmoil(self, scale: int = 1) -> None:
        """People come, change and go."""
        self.add(4 * scale)
        there = self.there()
        chosen = self.random.sample(there, min(len(there), 12 * scale))
        for number, uuid in enumerate(chosen):
            someone = self.people[uuid]
            match number % 12:
                case 0:
                    self.set(uuid, deleted=True)
                case 1 | 2:
                    self.set(uuid, status=not someone.status)
                case 3 | 4:
                    self.set(uuid, left="left" not in someone.roles)
                case _:
                    self.edit(uuid)

    # -- calm, and what must be true then ----------------------------------------------------------------------

    def sync(self) -> Any:
        """The run's document; without outcome where there is no run, as while no worker is up."""
        with contextlib.suppress(AssertionError):
            return self.running.run("sync", "--timeout", "20", code=None)
        return {}

    def settle(self, scenario: str, seconds: float = 120) -> None:
        """Faults off, one more sync, nothing left to do; then everything is judged."""
        letters = self.running.run("dead-letters", "list", code=None)
        self._come_to_rest(seconds)
        last = self.sync()
        violations = [
            *self._target_violations(),
            *self._removal_violations(),
            *self._letter_violations(letters),
        ]
        if last.get("outcome") != "done" or last["failed"] or last["held"]:
            violations.append(f"the last sync ended as {last}")
        new = self.proxy.record.exchanges[self.judged :]
        self.judged = len(self.proxy.record.exchanges)
        faults = self.injected + sum(each.fault is not None and not each.operation for each in new)
        self.injected = 0
        self.report.add(scenario, len(self.there()), faults, violations)
        assert not violations, (scenario, violations[:10], self._log())

    def _come_to_rest(self, seconds: float) -> None:
        self.proxy.calm()
        deadline = time.monotonic() + seconds
        while True:
            # Nobody is pending either while no worker is up, or while the lock of a killed scan is waited for.
            compared = self.sync().get("outcome", "pending") != "pending"
            status = self.running.run("status")["targets"]["main"]
            at_rest = (status["pending"], status["running"], status["health"]) == (0, 0, "ok")
            # What has been given up may still be carried out.
            if at_rest and compared and all(each.ended for each in self.proxy.record.exchanges):
                return
            assert time.monotonic() < deadline, (status, self._log())
            time.sleep(0.3)

    def settle_orphans(self, scenario: str, seconds: float = 120) -> None:
        """After links were lost, as docs/operations.md has it: `sync --verify`; accounts of users deleted meanwhile are held,
        and a person approves; where a lost create and a rename made two accounts, a dead letter says so, and a person
        removes one.
        """
        self._come_to_rest(seconds)
        deadline = time.monotonic() + seconds
        while True:
            self.running.run("sync", "--verify", "--timeout", "20", code=None)
            self.running.run("held", "approve", "--all", code=None)
            self._remove_surplus()
            if not self._orphans() and not self._surplus():
                break
            assert time.monotonic() < deadline, self._log()
            time.sleep(1)
        self.settle(scenario, seconds)

    def _orphans(self) -> list[str]:
        owners = [account.get("externalId") for account in self.running.resources("main")]
        return [uuid for uuid in owners if uuid in self.people and self.people[uuid].deleted]

    def _surplus(self) -> dict[str, list[str]]:
        """Ids of accounts beside another one of the same user, the one with the user's name first to stay."""
        accounts: dict[str, list[dict[str, Any]]] = {}
        for account in self.running.resources("main"):
            accounts.setdefault(account.get("externalId", ""), []).append(account)
        found = {}
        for uuid, several in accounts.items():
            if uuid in self.people and len(several) > 1:
                several.sort(key=lambda account: account["userName"] != self.people[uuid].name)
                found[uuid] = [account["id"] for account in several[1:]]
        return found

    def _remove_surplus(self) -> None:
        told = {
            letter["user"]
            for letter in self.running.run("dead-letters", "list")
            if "accounts on the target" in letter["detail"]
        }
        for uuid, accounts in self._surplus().items():
            for scim_id in accounts if uuid in told else ():
                self.running.http("DELETE", "main", f"/Users/{scim_id}")
        if told:
            self.running.run("dead-letters", "retry", *told, code=None)

    def _log(self) -> str:
        return (self.running.folder / "processes.log").read_text()[-2000:]

    def _target_violations(self) -> list[str]:
        accounts = self.running.accounts("main")
        found = []
        names = [account["userName"].lower() for account in accounts.values()]
        found += [f"{name} is there {names.count(name)} times" for name in {*names} if names.count(name) > 1]
        accounts.pop(ADMIN.uuid, None)
        for uuid, someone in self.people.items():
            account = accounts.pop(uuid, None)
            if someone.due and account is None:
                found.append(f"{uuid} has no account")
            elif account is not None and someone.due and self._shown(account) != self._wanted(someone):
                found.append(f"{uuid} is {self._shown(account)} and not {self._wanted(someone)}")
            elif account is not None and someone.deleted:
                found.append(f"{uuid} is deleted and has an account")
            elif account is not None and not someone.due and account.get("active", True):
                found.append(f"{uuid} left and is active")
        return [*found, *(f"{uuid} is nobody's account" for uuid in accounts)]

    @staticmethod
    def _wanted(someone: Someone) -> tuple[Any, ...]:
        return someone.name, someone.name, True, someone.department

    @staticmethod
    def _shown(account: dict[str, Any]) -> tuple[Any, ...]:
        department = (account.get(ENTERPRISE) or {}).get("department")
        return account["userName"], account.get("displayName"), account.get("active", True), department

    def _removal_violations(self) -> list[str]:
        found = []
        for each in self.proxy.record.removals():
            someone = self.people.get(each.user or "")
            if someone is None or not someone.may_be_removed(each.began, each.ended or time.time()):
                others = [other for other, user in self.proxy.record.owners.items() if user == each.user]
                found.append(
                    f"{each.user}: {each.removal} of {each.path} at {each.began:.1f}, who had not left; has {others}"
                )
        return found

    def _letter_violations(self, letters: list[dict[str, Any]]) -> list[str]:
        """A dead letter's reason is true: the proxy did something to this user's requests, and answered that status."""
        found = []
        for letter in letters:
            user, status = letter["user"], letter["status_code"]
            mine = [each for each in self.proxy.record.exchanges if each.user == user]
            if not letter["detail"] or not any(each.fault for each in mine):
                found.append(f"{user} is a dead letter without a reason: {letter}")
            elif status is not None and status not in {each.status for each in mine}:
                found.append(f"{user} is a dead letter for {status}, which was never answered")
        return found


@contextmanager
def world(
    folder: Path,
    report: Report,
    seed: int,
    *,
    kind: str = "sqlite",
    people: int = 40,
    timeout: float = 1.0,
    percent: int = 100,
    host: str = "127.0.0.1",
    **known: Any,
) -> Iterator[World]:
    """Starts no process of ours yet. timeout: limits.timeout_seconds. percent: of the guard. host: the address the
    target is at, for machines that are not this one. known: of tests.support.pipeline."""
    with ExitStack() as stack:
        address = stack.enter_context(scim2_server(folder, ["main"]))
        proxy = stack.enter_context(FaultProxy(address("main"), seed, host=host))
        section = {"main": SECTION.format(timeout=timeout, percent=percent)}
        running = stack.enter_context(pipeline(kind, folder, section, lambda _: proxy.base_url, **known))
        running.address = address
        made = World(running, proxy, report, random.Random(seed))
        made.add(people)
        yield made
