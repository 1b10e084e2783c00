"""Small fakes with real behaviour, for faults that have to be placed by hand. The real parts are tested elsewhere."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provisioning.diff import merge
from provisioning.errors import AmbiguousWrite, Conflict, Missing, ProvisioningError, Superseded, Transient
from provisioning.model import (
    Changes,
    Desired,
    FieldInfo,
    Job,
    Link,
    RemoteUser,
    Removal,
    SourceUser,
    UserRef,
)
from provisioning.paths import parse, value_at
from provisioning.ports import Withheld


async def pause() -> None:
    """Gives every other task a turn, as a real request would."""
    await asyncio.sleep(0)


@dataclass
class FakeSite:
    """A Drupal site in memory: uuid -> values."""

    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: ProvisioningError | None = None
    _uids: Any = field(default_factory=lambda: itertools.count(1))

    def add(self, uuid: str, **values: Any) -> str:
        base = {"mail": None, "status": True, "roles": [], "langcode": "en", "timezone": "UTC"}
        times = {"created": 1, "changed": 1, "access": 0, "login": 0}
        self.users[uuid] = {
            **base,
            **times,
            "name": uuid[:8],
            **values,
            "uuid": uuid,
            "uid": next(self._uids),
        }
        return uuid

    def edit(self, uuid: str, **values: Any) -> None:
        user = self.users[uuid]
        user.update(values)
        user["changed"] += 1

    def delete(self, uuid: str) -> None:
        del self.users[uuid]

    async def verify(self) -> str:
        return "a site in memory"

    async def read(self, ids: Sequence[str]) -> Mapping[str, SourceUser]:
        await pause()
        if self.broken:
            raise self.broken
        return {uuid: self._user(uuid) for uuid in ids if uuid in self.users}

    async def present(self, ids: Sequence[str]) -> frozenset[str]:
        return frozenset(await self.read(ids))

    async def scan(self, after: int = 0) -> AsyncIterator[Sequence[SourceUser]]:
        ordered = sorted(self.users.values(), key=lambda user: user["uid"])
        yield [self._user(user["uuid"]) for user in ordered if user["uid"] > after]

    async def ids(self, after: int = 0) -> AsyncIterator[Sequence[UserRef]]:
        async for page in self.scan(after):
            yield [UserRef(user.uid, user.uuid, user.changed) for user in page]

    async def changed_since(self, since: int) -> Sequence[UserRef]:
        return [
            UserRef(u["uid"], u["uuid"], u["changed"]) for u in self.users.values() if u["changed"] >= since
        ]

    async def search(self, text: str, limit: int = 50) -> Sequence[SourceUser]:
        return [self._user(uuid) for uuid, user in self.users.items() if text in {uuid, user["name"]}][:limit]

    async def fields(self) -> Sequence[FieldInfo]:
        return ()

    async def close(self) -> None:
        return None

    def _user(self, uuid: str) -> SourceUser:
        return SourceUser(self.users[uuid]["uid"], uuid, dict(self.users[uuid]))


@dataclass
class FakeTarget:
    """A service provider in memory: unique userName, ETags, and answers that can be lost.

    before, after: called around each write with its name; an error returned is raised before or after the
    server has acted. requests: the names of all calls, in order. blind: attributes its search does not see. unique:
    attributes its schema says it keeps unique. refuses: what it answers to an update of an attribute.
    """

    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    before: Callable[[str], ProvisioningError | None] = lambda verb: None
    after: Callable[[str], ProvisioningError | None] = lambda verb: None
    requests: list[str] = field(default_factory=list)
    blind: frozenset[str] = frozenset()
    unique: frozenset[str] = frozenset()
    drops: frozenset[str] = frozenset()
    refuses: dict[str, ProvisioningError] = field(default_factory=dict)
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    async def find(self, attribute: str, value: str, *, certain: bool = False) -> Sequence[RemoteUser]:
        await self._call("find")
        return [] if attribute in self.blind else self._matching(attribute, value)

    async def find_in_listing(self, attribute: str, value: str) -> Sequence[RemoteUser]:
        await self._call("list")
        return self._matching(attribute, value)

    async def needs_look_up(self, attribute: str, value: str, *, creating: bool) -> bool:
        return not (creating and attribute in self.unique)

    async def get(self, scim_id: str) -> RemoteUser:
        await self._call("get")
        return self._remote(scim_id)

    async def create(self, resource: Mapping[str, Any]) -> RemoteUser:
        await self._call("create")
        self._name_is_free(resource)
        scim_id = f"id-{next(self._ids)}"
        self._store(scim_id, resource)
        await self._answered("create")
        return self._remote(scim_id)

    async def update(
        self, scim_id: str, changes: Changes, desired: Desired | None, version: str | None
    ) -> RemoteUser | None:
        await self._call("update")
        current = self._remote(scim_id)
        if version is not None and version != current.version:
            raise Superseded("changed", status_code=412)
        for error in map(self.refuses.get, changes.set):
            if error is not None:
                raise error
        changed = merge(current.resource, changes)
        self._name_is_free(changed)
        self._store(scim_id, changed)
        await self._answered("update")
        return self._remote(scim_id)

    async def delete(self, scim_id: str) -> None:
        await self._call("delete")
        self.accounts.pop(scim_id, None)
        await self._answered("delete")

    async def probe(self) -> None:
        await self._call("probe")

    async def listing(self) -> AsyncIterator[Sequence[RemoteUser]]:
        yield [self._remote(scim_id) for scim_id in self.accounts]

    # -- for tests -------------------------------------------------------------------------------------------

    def has(self, **resource: Any) -> str:
        """Puts an account there, as somebody else would."""
        scim_id = f"id-{next(self._ids)}"
        self._store(scim_id, {"active": True, **resource})
        return scim_id

    def touch(self, scim_id: str, **attributes: Any) -> None:
        self._store(scim_id, {**self.accounts[scim_id], **attributes})

    @property
    def writes(self) -> list[str]:
        return [name for name in self.requests if name in {"create", "update", "delete"}]

    def _name_is_free(self, resource: Mapping[str, Any]) -> None:
        name, own = resource["userName"].lower(), resource.get("id")
        if any(a["userName"].lower() == name for i, a in self.accounts.items() if i != own):
            raise Conflict("taken", status_code=409)

    def _store(self, scim_id: str, resource: Mapping[str, Any]) -> None:
        kept = {name: value for name, value in resource.items() if name not in self.drops}
        self.accounts[scim_id] = {**kept, "id": scim_id}
        self.versions[scim_id] = self.versions.get(scim_id, 0) + 1

    def _remote(self, scim_id: str) -> RemoteUser:
        if scim_id not in self.accounts:
            raise Missing("not there", status_code=404)
        return RemoteUser(scim_id, f'W/"{self.versions[scim_id]}"', dict(self.accounts[scim_id]))

    def _matching(self, attribute: str, value: str) -> list[RemoteUser]:
        path = parse(attribute)
        return [
            self._remote(i)
            for i, a in self.accounts.items()
            if str(value_at(a, path)).lower() == value.lower()
        ]

    async def _call(self, verb: str) -> None:
        self.requests.append(verb)
        await pause()
        if error := self.before(verb):
            raise error

    async def _answered(self, verb: str) -> None:
        await pause()
        if error := self.after(verb):
            raise error


def lost_answer() -> ProvisioningError:
    return AmbiguousWrite("the answer was lost")


def down() -> ProvisioningError:
    return Transient("503", status_code=503)


@dataclass
class FakeLinks:
    links: dict[str, Link] = field(default_factory=dict)

    async def get_many(self, users: Sequence[str]) -> Mapping[str, Link]:
        return {user: self.links[user] for user in users if user in self.links}

    async def put(
        self, user: str, link: Link, *, instead_of: str = "", holder: str = "", made: bool = False
    ) -> bool:
        await pause()
        before = self.links.get(user)
        if before is not None and before.scim_id not in {"", link.scim_id, instead_of}:
            return False
        if link.scim_id and await self.owner(link.scim_id) not in {None, user}:
            return False
        self.links[user] = link
        return True

    async def drop(self, user: str, scim_id: str, *, holder: str = "") -> bool:
        before = self.links.get(user)
        if before is not None and before.scim_id not in {"", scim_id}:
            return False
        self.links.pop(user, None)
        return True

    async def owner(self, scim_id: str) -> str | None:
        return next((user for user, link in self.links.items() if link.scim_id == scim_id), None)


@dataclass
class FakeGuard:
    budget: int = 10**9
    rejects: bool = False

    async def take(self, job: Job, removal: Removal) -> Withheld | None:
        if job.approved is not None and job.approved.covers(removal):
            return None
        if self.rejects:
            return Withheld("rejected", rejected=True)
        if self.budget <= 0:
            return Withheld("over budget")
        self.budget -= 1
        return None


@dataclass
class FakeRewritten:
    seen: set[str] = field(default_factory=set)

    async def names(self) -> frozenset[str]:
        return frozenset(self.seen)

    async def add(self, names: Sequence[str]) -> None:
        self.seen.update(names)


@dataclass
class HeldLease:
    """A lease that is valid until a test says otherwise."""

    held: bool = True
    holder: str = ""

    def valid(self) -> bool:
        return self.held

    def waive(self) -> None:
        self.held = True
