"""Pipes inside the sandbox: framed messages between the tests and the code, and the report to the owner."""

from __future__ import annotations

import os

from lamas_local.sandbox.inside.plain import decode, encode

TYPE_CHECKING = False  # typing takes longer to import than the rest together
if TYPE_CHECKING:
    from typing import Any

BEGAN = b"began;"
ENDED = b"ended;"
MAX_MESSAGE_BYTES = 16 * 2**20
_HEADER_BYTES = 16
# Taken now: the program may replace them.
_read, _write = os.read, os.write


class PeerGoneError(Exception):
    """The other end of the pipe is gone, or talks nonsense."""


def send(fd: int, value: Any) -> None:
    """Write one message, whole.

    Raises:
        NotPlainError: the value is not plain data.
        OSError: nobody reads.
    """
    content = encode(value)
    write_all(fd, b"%16d" % len(content) + content)


def receive(fd: int) -> Any:
    """Wait for one message.

    Raises:
        PeerGoneError: the pipe ended before one was whole, or it is not plain data, or longer than 16 MiB.
    """
    try:
        size = int(_read_exactly(fd, _HEADER_BYTES))
        if not 0 <= size <= MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {size} bytes")
        return decode(_read_exactly(fd, size))
    except ValueError as error:
        raise PeerGoneError(str(error)) from None


def _read_exactly(fd: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = _read(fd, min(size, 2**16))
        if not part:
            raise PeerGoneError("the pipe ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however little the pipe takes at once."""
    view = memoryview(data)
    while view:
        view = view[_write(fd, view) :]
