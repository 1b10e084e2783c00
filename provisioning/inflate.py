"""The body of an answer as it comes in, decompressed step by step: a small one may say it is gigabytes."""

from __future__ import annotations

import zlib

# What is asked for, and all that is understood.
ACCEPTED = "gzip"
_PLAIN = {"", "identity"}
_COMPRESSED = {"gzip", "x-gzip", "deflate"}
# Either of gzip and zlib, told by its first bytes.
_ANY_HEADER = 32 + zlib.MAX_WBITS


class BodyTooLargeError(ValueError):
    """More than `largest` bytes, counted after decompression."""


class BodyUndecodableError(ValueError):
    """Compressed in a way that was not asked for, or not compressed as it says."""


class Body:
    """Never holds more than `largest` bytes, and a byte beyond."""

    def __init__(self, encoding: str, largest: int) -> None:
        """encoding: the Content-Encoding header, "" when there is none. Raises BodyUndecodableError."""
        name = encoding.strip().lower()
        if name not in _PLAIN | _COMPRESSED:
            raise BodyUndecodableError
        self._inflate = None if name in _PLAIN else zlib.decompressobj(_ANY_HEADER)
        self._left = largest
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        """Raises BodyTooLargeError, BodyUndecodableError."""
        plain = part if self._inflate is None else self._inflated(part)
        self._left -= len(plain)
        if self._left < 0:
            raise BodyTooLargeError
        self._parts.append(plain)

    def whole(self) -> bytes:
        """All of it. Raises BodyUndecodableError when compressed data ends early."""
        if self._parts and self._inflate is not None and not self._inflate.eof:
            raise BodyUndecodableError
        return b"".join(self._parts)

    def _inflated(self, part: bytes) -> bytes:
        assert self._inflate is not None, "asked for compressed bodies only"
        try:
            return self._inflate.decompress(part, self._left + 1)
        except zlib.error:
            raise BodyUndecodableError from None
