"""Text that is safe to show: on a terminal, in a log line, in an error."""

from __future__ import annotations

import re

# C0 and C1 controls, marks that turn the direction of writing, line and paragraph separators,
# annotation marks, lone surrogates.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff]"
)
# Words in capitals, perhaps numbered, as environment variables are called.
_USUAL_NAME = re.compile(r"[A-Z]{0,20}[0-9]{0,4}(_[A-Z]{0,20}[0-9]{0,4})*")


def is_usual_name(name: str) -> bool:
    """Of an environment variable. A token that was put in the place of a name hardly ever looks like one."""
    return _USUAL_NAME.fullmatch(name) is not None


def printable(text: str) -> str:
    """Text with control and direction characters written out as escapes, U+000A as backslash u000a."""
    # Nothing above is printable to Python either, and nearly every text is.
    if text.isprintable():
        return text
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
