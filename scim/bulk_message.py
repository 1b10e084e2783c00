"""The Bulk messages (RFC 7644 3.7): what is sent, and whose answer is whose in what comes back. No I/O.

Servers deviate: the status as text, number or {"code": ...} (drafts of SCIM 2.0), answers in another order, some missing,
some of nobody that was asked about. What is not certainly an operation's answer is nobody's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from config.json_text import encoded
from scim.transport import Answer

BULK_PATH = "/Bulk"
_HEAD = b'{"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": ['
_BETWEEN, _TAIL = b", ", b"]}"
# Bytes of a request without any operation, and of an operation beside its own text.
FRAME_BYTES = len(_HEAD) + len(_TAIL)
BETWEEN_BYTES = len(_BETWEEN)
# An answer that is somebody's who was not asked about.
_STRANGER = -1


@dataclass(frozen=True, slots=True)
class Operation:
    """One write. path: below the base URL, escaped. bulk_id: of a POST, unique in its request; "" for the others, which
    are known by their path. text: its JSON as it stands in the request.
    """

    method: str
    path: str
    bulk_id: str
    text: bytes = field(repr=False)


def operation(method: str, path: str, body: Any, version: str | None, bulk_id: str) -> Operation:
    """version: for If-Match. bulk_id: digits, used for a POST only."""
    # Neither a path, which is escaped, nor a bulkId of ours holds anything JSON would escape.
    head = f'{{"method": "{method}", "path": "{path}"'
    if method == "POST":
        head += f', "bulkId": "{bulk_id}"'
    else:
        bulk_id = ""
    if version:
        head += f', "version": {json.dumps(version)}'
    data = b"}" if body is None else b', "data": %b}' % encoded(body)
    return Operation(method, path, bulk_id, head.encode() + data)


def bulk_request(operations: Sequence[Operation]) -> bytes:
    """Without failOnErrors: each operation is to be tried, whatever became of the others."""
    return _HEAD + _BETWEEN.join(each.text for each in operations) + _TAIL


def bulk_answers(operations: Sequence[Operation], body: Any) -> Sequence[Answer | None]:
    """For each operation the answer a request of its own would have had; None for one whose outcome is not known."""
    matched = _matched(operations, _entries(body))
    return [
        _answer(asked, entry) if entry is not None else None
        for asked, entry in zip(operations, matched, strict=True)
    ]


def _entries(body: Any) -> list[Any]:
    """None where this is no BulkResponse. Attribute names know no letter case (RFC 7643 2.1): some write `operations`."""
    listed = body.get("Operations", body.get("operations")) if isinstance(body, dict) else None
    return listed if isinstance(listed, list) else []


def _matched(operations: Sequence[Operation], entries: Sequence[Any]) -> Sequence[Mapping[str, Any] | None]:
    """By bulkId, or by the account that method and location name. An operation answered twice has no answer."""
    asked = _Asked(operations)
    found: list[Mapping[str, Any] | None] = [None] * len(operations)
    doubled: set[int] = set()
    nameless: list[int] = []
    # Order is believed only where the counts agree and everybody who is named stands in their own place.
    in_order = len(entries) == len(operations)
    for at, entry in enumerate(entries):
        whose = asked.whose(entry)
        if whose is None:
            nameless.append(at)
            continue
        in_order = in_order and whose == at
        if whose != _STRANGER:
            if found[whose] is not None:
                doubled.add(whose)
            found[whose] = entry
    for at in nameless if in_order else ():
        # Not of a POST: whoever got another one's new account would write into it from then on.
        if not operations[at].bulk_id and _method(entries[at]) in {"", operations[at].method}:
            found[at] = entries[at]
    for whose in doubled:
        found[whose] = None
    return found


class _Asked:
    """Finds operations of one request by what an answer says of them."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self._by_bulk_id = {each.bulk_id: at for at, each in enumerate(operations) if each.bulk_id}
        self._by_account: dict[str, int] = {}
        for at, each in enumerate(operations):
            if not each.bulk_id:
                account = _account(each.path)
                # Of two writes to one account neither is known by it.
                self._by_account[account] = _STRANGER if account in self._by_account else at

    def whose(self, entry: Any) -> int | None:
        """The place of the operation; None where the entry does not say, _STRANGER where it names none of these."""
        if not isinstance(entry, dict):
            return _STRANGER
        bulk_id, method = _word(entry.get("bulkId")), _method(entry)
        at = self._by_bulk_id.get(bulk_id, _STRANGER) if bulk_id else None
        if at is not None and (at != _STRANGER or method == "POST"):
            return at if method in {"", "POST"} else _STRANGER
        if method == "POST":
            return None
        response = entry.get("response")
        told = response.get("id") if isinstance(response, dict) else None
        account = _account(entry.get("location")) or _account(entry.get("path")) or _word(told).casefold()
        if not account:
            return at
        at = self._by_account.get(account, _STRANGER)
        return at if at == _STRANGER or method in {"", self._operations[at].method} else _STRANGER


def _answer(asked: Operation, entry: Mapping[str, Any]) -> Answer | None:
    status, response = _status(entry.get("status")), entry.get("response")
    if status is None:
        return None
    told = {"location": entry.get("location"), "etag": entry.get("version")}
    headers = {name: value for name, value in told.items() if isinstance(value, str)}
    if status >= 300:
        return Answer(status, headers, response)
    account = response if isinstance(response, dict) and _word(response.get("id")) else None
    if asked.method == "POST":
        made = _scim_id(headers.get("location"))
        return Answer(status, headers, account or ({"id": made} if made else None))
    if account is not None:
        # Another user's account is no answer to this one.
        same = _word(account.get("id")).casefold() == _account(asked.path)
        return Answer(status, headers, account) if same else None
    if asked.method != "DELETE" and status in {200, 201, 204}:
        # Success needs no body here (RFC 7644 3.7.3); the version is worth keeping all the same.
        known = {"id": _scim_id(asked.path)}
        return Answer(200, headers, known) if "etag" in headers else Answer(204, headers)
    return Answer(status, headers)


def _status(value: Any) -> int | None:
    if isinstance(value, dict):
        value = value.get("code")
    text = _word(value).strip()
    status = int(text) if len(text) == 3 and text.isascii() and text.isdigit() else 0
    return status if status >= 200 else None


def _method(entry: Any) -> str:
    method = entry.get("method") if isinstance(entry, dict) else None
    return method.upper() if isinstance(method, str) else ""


def _account(address: Any) -> str:
    """Whose account an address is: ids that differ in letter case alone are taken for one, so neither is certain."""
    return _scim_id(address).casefold()


def _scim_id(address: Any) -> str:
    """The id in .../Users/{id}; "" where there is none."""
    if not isinstance(address, str):
        return ""
    collection, _, last = address.partition("?")[0].rstrip("/").rpartition("/")
    return unquote(last) if collection.lower().endswith("users") else ""


def _word(value: Any) -> str:
    """Some send numbers."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
