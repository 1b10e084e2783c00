"""Reads users over Drupal core's JSON:API. See FACTS of docs/drupal.md for what that does and does not show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TypeVar

from config.settings import DrupalJsonApiSettings
from drupal.errors import NoUsers, Unintelligible, source_errors
from drupal.fields import field_names
from drupal.jsonapi_rows import (
    BASE_FIELDS,
    TEXTS,
    TIMES,
    UID,
    field_infos,
    ref_of,
    refuse_incomplete,
    rows_of,
    suspicious,
    user_of,
)
from drupal.jsonapi_session import DrupalSession
from provisioning.mapping import BASE_NAMES
from provisioning.model import UUID, FieldInfo, SourceUser, UserRef

# Drupal gives no more, whatever is asked for.
PAGE = 50
_Params = dict[str, str | int]
_U = TypeVar("_U", SourceUser, UserRef)


class JsonApiReader:
    """A provisioning.ports.SourceReader over JSON:API. names: the Drupal names the mappings use; only they are asked
    for. Raises SourceUnreadable, SourceIdentityLost.
    """

    def __init__(self, settings: DrupalJsonApiSettings, names: frozenset[str]) -> None:
        self._session = DrupalSession(settings)
        self._fields = field_names(names)
        # A module can hide those from everybody, us too; the others are asked for on every row (jsonapi_rows.suspicious).
        self._needed = (*self._fields, *sorted(names.intersection(TEXTS + TIMES)))
        self._known_fields = False

    async def verify(self) -> str:
        with source_errors():
            await self._session.verify()
            rows = rows_of(await self._complete({**_after(0), "page[limit]": 1}, whole=True))
            if not rows:
                raise NoUsers("the site shows no user at all; is drupal.base_url the right site?")
            self._user(rows[0])
            self._known_fields = True
        return "Drupal over JSON:API, signed in; the account sees status, roles and mail"

    async def read(self, ids: Sequence[str]) -> Mapping[str, SourceUser]:
        users: dict[str, SourceUser] = {}
        wanted = list(dict.fromkeys(ids))
        with source_errors():
            if not self._known_fields:
                await self.verify()
            for start in range(0, len(wanted), PAGE):
                users |= await self._asked(wanted[start : start + PAGE], self._user, self._params())
        return users

    async def present(self, ids: Sequence[str]) -> frozenset[str]:
        there: set[str] = set()
        wanted = list(dict.fromkeys(ids))
        fields = _sparse((UID, "status", "roles", "mail", "changed"))
        with source_errors():
            for start in range(0, len(wanted), PAGE):
                there |= (await self._asked(wanted[start : start + PAGE], ref_of, fields)).keys()
        return frozenset(there)

    async def _asked(
        self, ids: Sequence[str], made: Callable[[Mapping[str, object]], _U], fields: _Params
    ) -> Mapping[str, _U]:
        """One page of users by uuid, none of whom is left out but those who are gone."""
        params = {**_condition("i", "id", "IN", list(ids)), **fields}
        found = map(made, rows_of(await self._complete(params)))
        users = {user.uuid: user for user in found if user.uid > 0}
        if absent := [each for each in ids if each not in users]:
            await self._prove_gone(absent)
        return users

    async def _prove_gone(self, absent: Sequence[str]) -> None:
        """Absent from a listing means gone only if it was really we who did not see them, and Drupal says so of each:
        something in between may have shortened the listing.
        """
        await self._session.verify()
        for uuid in absent:
            if UUID.fullmatch(uuid) and await self._session.has(uuid):
                raise Unintelligible("Drupal's listing leaves out a user that Drupal has")

    async def scan(self, after: int = 0) -> AsyncIterator[Sequence[SourceUser]]:
        with source_errors():
            await self.verify()
            async for rows in self._walk(after, self._params()):
                yield [self._user(row) for row in rows]

    async def ids(self, after: int = 0) -> AsyncIterator[Sequence[UserRef]]:
        with source_errors():
            await self._session.verify()
            async for rows in self._walk(after, _sparse((UID, "status", "roles", "mail", "changed"))):
                yield [ref_of(row) for row in rows]

    async def _walk(self, after: int, fields: _Params) -> AsyncIterator[Sequence[Mapping[str, object]]]:
        """Key-set paging by uid, to the end; who we are is proven once more there, as an end may be a refusal."""
        while True:
            rows = rows_of(await self._complete({**_after(after), **fields, "page[limit]": PAGE}))
            uids = [ref_of(row).uid for row in rows]
            if uids != sorted(set(uids)) or (uids and uids[0] <= after):
                raise Unintelligible("Drupal's listing is not in order of uid")
            if not rows:
                await self._session.verify()
                return
            yield rows
            after = uids[-1]

    async def changed_since(self, since: int) -> Sequence[UserRef]:
        """Page by page in the order of uid, as a filter on `changed` also means a user's rows in other languages: by the time
        that is shown such a listing is in no order.
        """
        # Unix integers only: other forms mean different things per database.
        changed = _condition("c", "changed", ">=", str(since))
        fields = _sparse((UID, "status", "roles", "mail", "changed"))
        with source_errors():
            await self._session.verify()
            refs = [ref_of(row) async for rows in self._walk(0, {**changed, **fields}) for row in rows]
        return sorted(refs, key=lambda ref: (ref.changed, ref.uid))

    async def search(self, text: str, limit: int = 50) -> Sequence[SourceUser]:
        with source_errors():
            await self.verify()
            queries: list[_Params] = []
            if text.isdigit():
                queries.append(_condition("u", UID, "=", text))
            if not UUID.fullmatch(text):
                # Whoever is meant may come after many others whose names contain it.
                operators = ("=", "CONTAINS") if text else ()
                queries += [
                    _condition("s", name, operator, text)
                    for operator in operators
                    for name in ("name", "mail")
                ]
            else:
                queries.append(_condition("i", "id", "=", text.lower()))
            found: dict[str, SourceUser] = {}
            for query in queries or [{}]:
                document = await self._complete({**query, **_after(0), **self._params(), "page[limit]": PAGE})
                found |= {user.uuid: user for user in map(self._user, rows_of(document))}
        users = sorted(found.values(), key=lambda user: (not _is_exactly(user, text), user.uid))
        return users[:limit]

    async def fields(self) -> Sequence[FieldInfo]:
        with source_errors():
            await self._session.verify()
            rows = rows_of(await self._complete({**_after(0), "page[limit]": PAGE}, whole=True))
            if not rows:
                raise NoUsers("the site shows no user at all; is drupal.base_url the right site?")
        base = [FieldInfo(name, multiple=name == "roles") for name in sorted(BASE_NAMES)]
        # A field's parts show only where it has a value.
        known: dict[str, FieldInfo] = {}
        for row in rows:
            known |= {info.name: info for info in field_infos(row) if info.columns or info.name not in known}
        return [*base, *sorted(known.values(), key=lambda info: info.name)]

    async def close(self) -> None:
        await self._session.close()

    async def _complete(
        self, params: Mapping[str, str | int], *, whole: bool = False
    ) -> Mapping[str, object]:
        """A page on which every user has what every user has. A suspicious one proves who we are, is asked for once
        more, and is then a matter of permissions. whole: with all fields, not only those in use.
        """
        asked = params if whole else {**self._params(), **params}
        document = await self._session.get(asked)
        if suspicious(document):
            await self._session.verify()
            document = await self._session.get(asked)
            refuse_incomplete(document)
        return document

    def _params(self) -> _Params:
        return _sparse((*BASE_FIELDS, *self._fields))

    def _user(self, row: Mapping[str, object]) -> SourceUser:
        return user_of(row, self._needed)


def _sparse(fields: Sequence[str]) -> _Params:
    return {"fields[user--user]": ",".join(fields)}


def _after(uid: int) -> _Params:
    return {**_condition("u0", UID, ">", str(uid)), "sort": UID}


def _condition(name: str, path: str, operator: str, value: str | list[str]) -> _Params:
    prefix = f"filter[{name}][condition]"
    params: _Params = {f"{prefix}[path]": path, f"{prefix}[operator]": operator}
    if isinstance(value, list):
        return {**params, **{f"{prefix}[value][{index}]": each for index, each in enumerate(value)}}
    return {**params, f"{prefix}[value]": value}


def _is_exactly(user: SourceUser, text: str) -> bool:
    names = (user.uuid, str(user.uid), user.values.get("name"), user.values.get("mail"))
    return any(name is not None and str(name).casefold() == text.casefold() for name in names)
