"""People for a demonstration: varied on purpose, and the same at every run."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from cli.demo.rows import Person

_NAMESPACE = uuid.UUID("5d3f2b6e-8a41-4f0c-9d27-6b1e0c4a9f35")
ADMIN = Person(str(uuid.uuid5(_NAMESPACE, "admin")), "admin", "admin@drupal.test", roles=("administrator",))
ANONYMOUS_UUID = str(uuid.uuid5(_NAMESPACE, "anonymous"))
_FIRST = (
    "Ada",
    "Björn",
    "Chloé",
    "Đức",
    "Elif",
    "Fátima",
    "Grace",
    "Håkon",
    "İpek",
    "José",
    "Kaja",
    "Łukasz",
    "Maïa",
)
_LAST = (
    "O'Neill",
    "Ångström",
    "van den Berg",
    "Müller",
    "Nguyễn",
    "Þórsdóttir",
    'Smith "Smithy"',
    "Çelik",
    "García-Ruiz",
)
_WHOLE = (("小林", "さくら"), ("Ольга", "Иванова"), ("نور", "حداد"), ("Ελένη", "Παπαδοπούλου"))
_DEPARTMENTS = ("Youth", "Finance", "Research & Development", "Öffentlichkeitsarbeit", "IT; Operations")
_INTERESTS = ("Chess", "Rowing", "Café culture", "Lead-acid batteries, old", "日本語", "Gardening")


def people(count: int, first: int = 1) -> Iterator[Person]:
    """Count people, numbered from `first`. Among ten there is always one without mail, one without any field, one
    with quotes in the name, one blocked, and some with several interests.
    """
    return (_person(number) for number in range(first, first + count))


def _person(number: int) -> Person:
    name = f"member{number:03d}"
    identity = str(uuid.uuid5(_NAMESPACE, name))
    mail = None if number % 10 == 4 else f"{name}@example.test"
    roles = ("editor", "member") if number % 4 == 0 else ("member",)
    status = number % 10 != 7
    if number % 10 == 9:
        return Person(identity, name, mail, roles=(), status=status)
    first, last = _names(number)
    return Person(
        uuid=identity,
        name=_login(number, name, last),
        mail=mail,
        first_name=first,
        last_name=last,
        department=_DEPARTMENTS[number % len(_DEPARTMENTS)] if number % 5 else None,
        interests=tuple(_INTERESTS[(number + step) % len(_INTERESTS)] for step in range(number % 4)),
        homepage=(f"https://example.test/~{name}", f"Home of {first}") if number % 3 == 0 else None,
        roles=roles,
        status=status,
    )


def _names(number: int) -> tuple[str, str]:
    if number % 12 == 11:
        return _WHOLE[number // 12 % len(_WHOLE)]
    return _FIRST[number % len(_FIRST)], _LAST[number % len(_LAST)]


def _login(number: int, name: str, last: str) -> str:
    """Drupal allows spaces, apostrophes, @ and any letter in a name."""
    return f"{last.split()[0]} {number}" if number % 7 == 5 else name
