"""Bare loops, the baselines: nothing but the requests, or nothing but the reading, with the same libraries.

python -m bench.bare create SITE CONCURRENCY BASE_URL   posts the same ready-made bodies as scimpipe does
python -m bench.bare bodies SITE COUNT                 prints the first of those bodies after the
                                                        administrator's, one a line
python -m bench.bare read SITE                          selects and fetches the same columns as a full sync does
Prints {"count", "seconds"} as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import httpx
import uvloop
from sqlalchemy import create_engine, text

from bench.place import MAPPING
from config.settings import DrupalDatabaseSettings, MappedValue, TargetSettings
from drupal.opening import open_reader
from provisioning.mapping import compile_target, new_resource
from scim.transport import open_wire, timeouts

PAGE = 1000
BASE = """
SELECT u.uid, u.uuid, d.langcode, d.name, d.mail, d.timezone, d.status, d.created, d.changed, d.access, d.login
FROM users u JOIN users_field_data d ON d.uid = u.uid AND d.default_langcode = 1
WHERE u.uid > :after ORDER BY u.uid LIMIT :page
"""
FIELDS = ("field_first_name", "field_last_name", "field_department")


async def bodies(site: str) -> list[bytes]:
    mapping = {path: MappedValue(value=value) for path, value in MAPPING.items()}
    compiled = compile_target(TargetSettings(name="bench", base_url="http://127.0.0.1", mapping=mapping))
    reader = open_reader(DrupalDatabaseSettings(url=site), compiled.names)
    made = []
    async for page in reader.scan():
        for user in page:
            source = compiled.source(user.uuid, user, b"k" * 32)
            assert source.desired is not None
            made.append(json.dumps(new_resource(source.desired), ensure_ascii=False).encode())
    await reader.close()
    return made


async def create(site: str, concurrency: str, base_url: str) -> tuple[int, float]:
    ready = await bodies(site)
    headers = {"Authorization": "Bearer bench", "Content-Type": "application/scim+json"}
    turns = iter(ready)
    async with httpx.AsyncClient(transport=open_wire(int(concurrency)), timeout=timeouts(30)) as http:

        async def work() -> None:
            for body in turns:
                answer = await http.post(f"{base_url}/Users", content=body, headers=headers)
                assert answer.status_code == 201

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(int(concurrency)):
                group.create_task(work())
        return len(ready), time.perf_counter() - began


async def read(site: str) -> tuple[int, float]:
    """Page by page, as the reader does; the rows are fetched and thrown away."""
    began, count, after = time.perf_counter(), 0, 0
    with create_engine(site).connect() as connection:
        while rows := connection.execute(text(BASE), {"after": after, "page": PAGE}).all():
            bounds = {"first": rows[0].uid, "last": rows[-1].uid}
            for table, column in (
                ("roles", "roles_target_id"),
                *((name, f"{name}_value") for name in FIELDS),
            ):
                query = (
                    f"SELECT entity_id, delta, {column} FROM user__{table}"
                    " WHERE deleted = 0 AND entity_id BETWEEN :first AND :last"
                )
                connection.execute(text(query), bounds).all()
            count += len(rows)
            after = rows[-1].uid
    return count, time.perf_counter() - began


COMMANDS: dict[str, Any] = {"create": create, "read": read}


def main(arguments: Sequence[str]) -> None:
    if arguments[0] == "bodies":
        for body in uvloop.run(bodies(arguments[1]))[1 : int(arguments[2]) + 1]:
            print(body.decode())
        return
    count, seconds = uvloop.run(COMMANDS[arguments[0]](*arguments[1:]))
    print(json.dumps({"count": count, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1:])
