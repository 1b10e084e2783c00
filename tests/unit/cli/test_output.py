"""Tables as a person's terminal shows them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from cli.output import Output

COLUMNS = ("user", "outcome", "changes", "detail")
ROW = (
    "0b000000-0000-4000-8000-000000000001",
    "failed",
    ["displayName", "enterprise:department"],
    None,
)


def printed(
    width: int, *, terminal: bool = True, columns: Sequence[str] = COLUMNS, rows: Sequence[Any] = (ROW, ROW)
) -> list[str]:
    output = Output(as_json=False)
    written = io.StringIO()
    output.console = Console(
        file=written, width=width, force_terminal=terminal, no_color=True, highlight=False
    )
    output.table(columns, rows)
    return [
        line.rstrip()
        for line in written.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    ]


@pytest.mark.parametrize(("width", "terminal"), [(100, True), (100, False), (60, False)])
def test_a_row_is_a_line_where_its_words_fit_and_wherever_nobody_reads_it(width, terminal):
    header, *rows = printed(width, terminal=terminal)
    assert header.split() == list(COLUMNS)
    assert len([row for row in rows if "failed" in row]) == 2


def test_a_row_is_several_lines_at_a_terminal_too_narrow_for_its_words():
    record = [f"user     {ROW[0]}", "outcome  failed", "changes  displayName, enterprise:department", ""]
    assert printed(60) == [*record, *record]


def test_a_word_longer_than_a_uuid_is_broken_and_costs_nobody_the_table():
    urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.displayName"
    header, *rows = printed(60, columns=("path", "type"), rows=[("userName", "string"), (urn, "reference")])
    assert (header.split(), rows[0].split()) == (["path", "type"], ["userName", "string"])
    assert "".join(rows[1:]).replace("reference", "").replace(" ", "") == urn
    assert rows[1].endswith("reference")
