"""A reader over JSON:API, the users it is to find, and everything that can be asked of it."""

from __future__ import annotations

from typing import Any

from drupal.jsonapi import JsonApiReader
from provisioning.model import SourceUser

FIELDS = frozenset({"field_first_name", "field_department", "field_interests"})
SECRET_NAME = "Canary Person"


def user(uid: int, **values: Any) -> SourceUser:
    uuid = f"0b000000-0000-4000-8000-{uid:012d}"
    base = {"uid": uid, "uuid": uuid, "name": f"user{uid}", "mail": f"user{uid}@example.test", "status": True}
    base |= {"roles": ["member"], "langcode": "en", "timezone": "UTC", "created": 1000, "changed": 1000 + uid}
    base |= {
        "access": 0,
        "login": 0,
        "field_first_name": None,
        "field_department": "X",
        "field_interests": [],
    }
    return SourceUser(uid, uuid, {**base, **values})


async def scanned(reader: JsonApiReader) -> list[SourceUser]:
    return [each async for page in reader.scan() for each in page]


QUESTIONS = {
    "verify": lambda reader: reader.verify(),
    "read": lambda reader: reader.read([user(1).uuid]),
    "present": lambda reader: reader.present([user(1).uuid]),
    "scan": scanned,
    "changed_since": lambda reader: reader.changed_since(0),
    "search": lambda reader: reader.search("user1"),
}
