"""People as accounts hold them on a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from provisioning.mapping import new_resource
from provisioning.model import Desired
from provisioning.paths import parse, value_at

DEPARTMENT = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"
EMAIL = 'emails[type eq "work"].value'


@dataclass(frozen=True)
class Person:
    """What is wanted of an account, and with some of it changed."""

    attributes: dict[str, Any]

    @property
    def desired(self) -> Desired:
        return Desired(self.attributes)

    @property
    def resource(self) -> dict[str, Any]:
        return new_resource(self.desired)

    def with_(self, **changed: Any) -> Person:
        return Person({**self.attributes, **changed})


ZOE = Person(
    {
        "userName": "zoë o'neil",
        "externalId": "5f0c-1",
        "active": True,
        "displayName": "Zoë “Z” O'Neil",
        "name.givenName": "Zoë",
        "name.familyName": "O'Neil",
        EMAIL: "zoe@example.org",
        DEPARTMENT: "Research & Development",
    }
)


def other(number: int) -> Person:
    return Person({"userName": f"user{number}", "externalId": f"other-{number}"})


def held(server: Any, path: str) -> Any:
    (account,) = [each for each in server.users() if each.get("externalId") == "5f0c-1"]
    return value_at(account, parse(path))
