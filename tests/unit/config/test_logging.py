"""Log lines hold names and codes; nobody's data forges them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import threading
from pathlib import Path

import pytest

from config.logging import EVENTS, configure, get_logger

ROOT = Path(__file__).parents[3]


@pytest.fixture
def lines():
    stream = io.StringIO()
    configure(stream, json=True)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.getLogger().handlers.clear()


def test_a_line_is_json_with_event_level_and_time(lines):
    get_logger().info("user_provisioned", target="acme", changes=["userName"])
    (line,) = lines()
    assert (line["event"], line["level"], line["changes"]) == ("user_provisioned", "info", ["userName"])
    assert line["at"].endswith("Z")


def test_an_exception_shows_its_class_and_place_and_neither_text_nor_locals(lines):
    secret_local = "canary-local"
    try:
        raise ValueError(f"canary-text {secret_local}")
    except ValueError:
        get_logger().exception("unexpected_error")
        logging.getLogger("dramatiq.worker").exception("Failed to process message")
    for line in lines():
        assert line["error"] == "ValueError"
        assert "test_logging.py" in line["error_at"][-1]
        assert "canary" not in json.dumps(line)


def test_control_characters_are_written_out(lines):
    get_logger().info("user_skipped", detail='x\n{"event": "forged"}\x1b[31m\u202e')
    (line,) = lines()
    assert line["detail"] == 'x\\u000a{"event": "forged"}\\u001b[31m\\u202e'


def test_libraries_that_log_urls_are_quiet(lines):
    logging.getLogger("httpx").info("HTTP Request: GET https://x/Users?filter=canary")
    assert lines() == []


def test_every_event_is_documented_and_every_documented_event_exists():
    documented = set(
        re.findall(
            r"^\| `(\w+)` \| (?:info|warning|error) \|", (ROOT / "docs/logs.md").read_text(), re.MULTILINE
        )
    )
    assert documented == EVENTS


def test_the_code_emits_no_other_event():
    source = "".join(
        path.read_text() for folder in ("workers", "producers") for path in (ROOT / folder).glob("*.py")
    )
    emitted = set(re.findall(r'log\.(?:info|warning|error|exception)\(\s*"(\w+)"', source))
    assert emitted
    assert emitted <= EVENTS


def test_a_line_that_cannot_be_written_fails_nobodys_work():
    gone = io.StringIO()
    configure(gone, json=True)
    log = get_logger()
    log.info("user_provisioned")
    assert "user_provisioned" in gone.getvalue()
    gone.close()
    log.info("user_provisioned")
    # A logger that was used before follows to where lines go now.
    here = io.StringIO()
    configure(here, json=True)
    log.info("user_skipped")
    assert "user_skipped" in here.getvalue()


class Writes(io.StringIO):
    """Keeps what each write was of."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def write(self, text: str) -> int:
        self.parts.append(text)
        return super().write(text)


@pytest.fixture
def writes():
    stream = Writes()
    configure(stream, json=True)
    yield lambda: [[json.loads(line)["event"] for line in part.splitlines()] for part in stream.parts]
    logging.getLogger().handlers.clear()


def test_lines_of_one_turn_of_a_loop_are_one_write(writes):
    async def body():
        for event in ("user_provisioned", "user_skipped"):
            get_logger().info(event)
        assert writes() == []
        await asyncio.sleep(0)
        assert writes() == [["user_provisioned", "user_skipped"]]
        get_logger().info("user_held")

    asyncio.run(body())
    assert writes() == [["user_provisioned", "user_skipped"], ["user_held"]]


def test_a_line_from_elsewhere_waits_for_no_loop_and_takes_along_what_waits(writes):
    async def body():
        get_logger().info("user_provisioned")
        thread = threading.Thread(target=lambda: get_logger().info("worker_stopped"))
        thread.start()
        thread.join()
        assert writes() == [["user_provisioned", "worker_stopped"]]
        get_logger().info("user_skipped")
        await asyncio.sleep(0)
        assert writes()[-1] == ["user_skipped"]

    asyncio.run(body())


def test_a_loop_that_was_stopped_holds_nobodys_lines(writes):
    loop = asyncio.new_event_loop()

    loop.call_soon(get_logger().info, "user_provisioned")
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert writes() == []

    async def later():
        get_logger().info("user_skipped")
        await asyncio.sleep(0)

    asyncio.run(later())
    assert writes() == [["user_provisioned", "user_skipped"]]
