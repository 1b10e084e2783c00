"""Bare loops, the baselines: nothing but the requests, or nothing but the reading, with the same libraries.

python -m bench.bare create BASE_URL SITE CONCURRENCY   posts the same ready-made bodies as scimpipe does
python -m bench.bare read SITE                          selects and fetches the same columns as a full sync does
Prints {"count", "seconds", "megabytes"} as JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

import uvloop

from config.settings import DrupalDatabaseSettings, MappedValue, TargetSettings
from drupal.opening import open_reader
from provisioning.mapping import compile_target, new_resource
from scim.transport import open_http

MAPPING = {
    "userName": "name",
    "externalId": "uuid",
    "active": "status",
    "displayName": "name",
    "name.givenName": "field_first_name",
    "name.familyName": "field_last_name",
    'emails[type eq "work"].value': "mail | lower",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department": "field_department",
    "userType": "'staff' if 'editor' in roles else 'member'",
}


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


async def create(base_url: str, site: str, concurrency: str) -> tuple[int, float]:
    ready = await bodies(site)
    headers = {"Authorization": "Bearer bench", "Content-Type": "application/scim+json"}
    turns = iter(ready)
    async with open_http(30, int(concurrency)) as http:

        async def work() -> None:
            for body in turns:
                answer = await http.post(f"{base_url}/Users", content=body, headers=headers)
                assert answer.status_code == 201

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(int(concurrency)):
                group.create_task(work())
        return len(ready), time.perf_counter() - began


COMMANDS: dict[str, Any] = {"create": create}


def main(arguments: Sequence[str]) -> None:
    count, seconds = uvloop.run(COMMANDS[arguments[0]](*arguments[1:]))
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"count": count, "seconds": seconds, "megabytes": megabytes}))


if __name__ == "__main__":
    main(sys.argv[1:])
