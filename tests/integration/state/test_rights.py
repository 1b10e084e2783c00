"""The rights of docs/security.md are those that the code and dramatiq's script use, all of them and no other."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import dramatiq.brokers.redis
import pytest
import redis

from config.settings import DrupalDatabaseSettings, RedisSettings, Secret, Settings
from state.broker import make_broker, send
from state.connection import sync_client
from tests.support.valkey import valkey

ROOT = Path(__file__).parents[3]
CALL = re.compile(r"""redis\.p?call\(\s*['"](\w+)['"]""")
# What the clients say by themselves: signing in, choosing a database, loading scripts; a ping of an idle connection.
BY_THE_CLIENTS = {
    "auth", "hello", "client|setinfo", "client|setname", "select", "ping", "evalsha", "script|load", "info",
}  # fmt: skip


def documented() -> list[str]:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    found = re.search(r"ACL SETUSER scimpipe on >PASSWORD (.+?)\n```", page, re.DOTALL)
    assert found is not None
    return found[1].split()


def scripts() -> str:
    ours = [file.read_text(encoding="utf-8") for file in (ROOT / "state").glob("*.py")]
    theirs = Path(dramatiq.brokers.redis.__file__).with_name("redis").glob("*.lua")
    return "\n".join([*ours, *(file.read_text(encoding="utf-8") for file in theirs)])


def commands_of_the_code() -> set[str]:
    """In scripts, and as methods of redis-py on anything."""
    text = scripts() + "\n".join(
        file.read_text(encoding="utf-8") for folder in ("producers", "workers", "cli") for file in (ROOT / folder).glob("*.py")
    )  # fmt: skip
    methods = {
        name for name in re.findall(r"(?:redis|client|pipe)\.([a-z_]+)\(", text) if hasattr(redis.Redis, name)
    }
    sent = re.findall(r"""send_command\(\s*['"](\w+)['"]""", text)
    spelled = {"delete": "del", "scan_iter": "scan"}
    known = {spelled.get(name, name) for name in methods}
    unsent = {"pipeline", "register_script", "from_url", "from_pool", "close", "execute_command", "call"}
    return {name.lower() for name in (*CALL.findall(text), *sent)} | (known - unsent)


def test_every_command_is_allowed_and_no_other():
    allowed = {right.removeprefix("+") for right in documented() if right.startswith("+")}
    assert commands_of_the_code() - allowed == set(), "rights that are missing"
    assert allowed - commands_of_the_code() - BY_THE_CLIENTS == set(), "rights nobody uses"


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with valkey(tmp_path) as url:
        client = redis.Redis.from_url(url)
        client.execute_command("ACL", "SETUSER", "scimpipe", "on", ">pw", *documented())
        client.close()
        (tmp_path / "password").write_text("pw")
        parts = RedisSettings(url=url, username="scimpipe", password=Secret(file=tmp_path / "password"))
        drupal = DrupalDatabaseSettings(url="sqlite:///x")
        yield Settings(path=Path("scimpipe.toml"), redis=parts, drupal=drupal, targets={})


def test_messages_of_a_worker_that_died_come_back(settings):
    """dramatiq's maintenance, a matter of chance and of dead workers, uses what its daily work does not (KEYS)."""
    broker = make_broker(settings)
    broker.maintenance_chance = dramatiq.brokers.redis.MAINTENANCE_SCALE
    send(broker, "acme", ["u-1"], "interactive")
    client = sync_client(settings)
    # Long dead, with the message in its hands.
    (message,) = client.hkeys("dramatiq:interactive.msgs")
    assert client.lpop("dramatiq:interactive") == message
    client.sadd("dramatiq:__acks__.dead.interactive", message)
    client.zadd("dramatiq:__heartbeats__", {"dead": (time.time() - 600) * 1000})
    consumer = broker.consume("interactive", timeout=10)
    deadline = time.monotonic() + 10
    while (seen := next(consumer)) is None:
        assert time.monotonic() < deadline, "the message did not come back"
    assert tuple(seen.args) == ("acme", ["u-1"])
    next(consumer)
    assert client.zscore("dramatiq:__heartbeats__", "dead") is None
    consumer.close()
    client.close()


@pytest.mark.parametrize(
    "refused", [("FLUSHALL",), ("CONFIG", "GET", "*"), ("GET", "other:key"), ("SCRIPT", "FLUSH")]
)
def test_nothing_else_is_allowed(settings, refused):
    client = sync_client(settings)
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*refused)
    client.close()
