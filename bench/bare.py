"""Bare loops, the baselines: nothing but the requests, or nothing but the reading, with the same libraries.

python -m bench.bare create SITE CONCURRENCY BASE_URL   posts the same ready-made bodies as scimpipe does
python -m bench.bare lean SITE CONCURRENCY BASE_URL     the same without httpx's client, as scimpipe sends
python -m bench.bare bodies SITE COUNT                  prints the first of those bodies after the
                                                        administrator's, one a line
python -m bench.bare read SITE                          selects and fetches the same columns as a full sync does
Prints {"count", "seconds", "cpu"} as JSON; cpu: of this process, meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import uvloop
from sqlalchemy import create_engine, text

from bench.place import MAPPING
from config.settings import DrupalDatabaseSettings, MappedValue, TargetSettings
from drupal.opening import open_reader
from provisioning.mapping import compile_target, new_resource
from scim.wire import Wire, timeouts

# Users, seconds, and seconds of CPU.
Spent = tuple[int, float, float]
HEADERS = {"Authorization": "Bearer bench", "Content-Type": "application/scim+json"}
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


async def create(site: str, concurrency: str, base_url: str) -> Spent:
    async with httpx.AsyncClient(transport=Wire(int(concurrency)), timeout=timeouts(30)) as http:

        async def post(body: bytes) -> int:
            return (await http.post(f"{base_url}/Users", content=body, headers=HEADERS)).status_code

        return await _all(await bodies(site), int(concurrency), post)


async def lean(site: str, concurrency: str, base_url: str) -> Spent:
    wire, url = Wire(int(concurrency)), httpx.URL(f"{base_url}/Users")
    extensions = {"timeout": timeouts(30).as_dict()}

    async def post(body: bytes) -> int:
        stream = httpx.ByteStream(body)
        request = httpx.Request("POST", url, headers=HEADERS, stream=stream, extensions=extensions)
        request.read()
        answer = await wire.handle_async_request(request)
        await answer.aread()
        return answer.status_code

    async with wire:
        return await _all(await bodies(site), int(concurrency), post)


async def _all(ready: Sequence[bytes], concurrency: int, post: Callable[[bytes], Awaitable[int]]) -> Spent:
    turns = iter(ready)

    async def work() -> None:
        for body in turns:
            assert await post(body) == 201

    began, spent = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return len(ready), time.perf_counter() - began, time.process_time() - spent


async def read(site: str) -> Spent:
    """Page by page, as the reader does; the rows are fetched and thrown away."""
    began, spent, count, after = time.perf_counter(), time.process_time(), 0, 0
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
    return count, time.perf_counter() - began, time.process_time() - spent


COMMANDS: dict[str, Any] = {"create": create, "lean": lean, "read": read}


def main(arguments: Sequence[str]) -> None:
    if arguments[0] == "bodies":
        for body in uvloop.run(bodies(arguments[1]))[1 : int(arguments[2]) + 1]:
            print(body.decode())
        return
    count, seconds, cpu = uvloop.run(COMMANDS[arguments[0]](*arguments[1:]))
    print(json.dumps({"count": count, "seconds": seconds, "cpu": cpu}))


if __name__ == "__main__":
    main(sys.argv[1:])
