"""Faults of the source: what a Drupal site, its database or something in front of them does wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import threading
import time
from typing import Any, Self

from cli.demo.rows import Person
from provisioning.model import SourceUser
from tests.faults.target_faults import Call, Fault, Reply
from tests.support.jsonapi_site import JsonApiSite

COLLECTION = "/jsonapi/user/user"


async def forbidden(call: Call) -> Reply:
    if call.path != COLLECTION:
        return await call.forward()
    return Reply(403, b'{"errors": [{"status": "403"}]}', "application/vnd.api+json")


async def unavailable(call: Call) -> Reply:
    return Reply(500, b"<!doctype html>") if call.path == COLLECTION else await call.forward()


async def dropped(call: Call) -> Reply:
    return Reply(silent=True) if call.path == COLLECTION else await call.forward()


async def stalled_page(call: Call) -> Reply:
    reply = await call.forward()
    if call.path == COLLECTION:
        await asyncio.sleep(3)
    return reply


async def empty_listing(call: Call) -> Reply:
    """As a cache or a firewall in between answers: all is well, and there is nobody."""
    return await _shortened(call, 0)


async def half_listing(call: Call) -> Reply:
    return await _shortened(call, 2)


async def _shortened(call: Call, step: int) -> Reply:
    reply = await call.forward()
    if call.path != COLLECTION or reply.status != 200:
        return reply
    page = json.loads(reply.content)
    kept = page["data"][::step] if step else []
    body = json.dumps({**page, "data": kept, "links": {}}).encode()
    return Reply(200, body, reply.content_type, reply.headers)


SOURCE_FAULTS: dict[str, Fault] = {
    function.__name__: function
    for function in (forbidden, unavailable, dropped, stalled_page, empty_listing, half_listing)
}


class JsonApiDrupal:
    """What an administrator does, on the stand-in of JSON:API: as cli.demo.site.DrupalSite."""

    def __init__(self, site: JsonApiSite) -> None:
        self._site = site
        self._uid = 100

    def add_people(self, persons: list[Person]) -> None:
        for person in persons:
            now = int(time.time())
            self._uid += 1
            values: dict[str, Any] = {
                "uid": self._uid, "uuid": person.uuid, "name": person.name, "mail": person.mail,
                "status": True, "roles": [], "langcode": "en", "timezone": "UTC", "created": now, "changed": now,
                "access": 0, "login": 0, "field_first_name": person.first_name, "field_last_name": person.last_name,
                "field_department": person.department, "field_interests": [],
            }  # fmt: skip
            self._site.users.append(SourceUser(values["uid"], person.uuid, values))

    def edit(self, uuid: str, **values: Any) -> None:
        named = {"department": "field_department"}
        known = {named.get(name, name): value for name, value in values.items()}
        known = {name: list(value) if name == "roles" else value for name, value in known.items()}
        number = next(n for n, user in enumerate(self._site.users) if user.uuid == uuid)
        before = self._site.users[number]
        after = {**before.values, **known, "changed": int(time.time())}
        self._site.users[number] = SourceUser(before.uid, uuid, after)

    def delete(self, uuid: str) -> None:
        self._site.users[:] = [user for user in self._site.users if user.uuid != uuid]

    def close(self) -> None:
        return


class TcpProxy:
    """Between us and a database server: `drop` is the share of pieces at which the connection breaks, `stall_seconds`
    the wait before each, `refusing` breaks whoever comes.
    """

    def __init__(self, host: str, port: int, seed: int) -> None:
        self.drop = self.stall_seconds = 0.0
        self.refusing = False
        self.faults = 0
        self._upstream = (host, port)
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                self.faults += 1
                client.close()
                continue
            server = socket.create_connection(self._upstream)
            for here, there in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(here, there), daemon=True).start()

    def _copy(self, here: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := here.recv(65536):
                time.sleep(self.stall_seconds)
                self.faults += self.stall_seconds > 0
                if self.refusing or self._random.random() < self.drop:
                    self.faults += 1
                    break
                there.sendall(piece)
        for each in (here, there):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
