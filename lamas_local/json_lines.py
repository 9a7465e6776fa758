"""Files that get a JSON value a line, and whose writer may be killed at any byte.

A line ends with its newline. What stands after the last newline was cut short and is no line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, TypeVar

from lamas_local.config import ConfigError

T = TypeVar("T")
_BLOCK = 2**16


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Add whole lines. Half a line that a killed writer left is removed first: nothing is ever glued to it.

    Raises:
        OSError: they could not be written, such as on a full disk.
    """
    with path.open("ab+") as file:
        _cut_half_line(file)
        file.write("".join(line + "\n" for line in lines).encode())


def read_lines(path: Path, parse: Callable[[bytes], T]) -> list[T]:
    """What `parse` makes of each whole line, in file order; blank lines are passed over.

    Raises:
        ConfigError: `parse` raised a ValueError, so the file was damaged by something else than a killed writer; names
            the file and the line.
    """
    rows: list[T] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n") or not line.strip():
                continue
            try:
                rows.append(parse(line))
            except ValueError as error:
                reason = str(error).splitlines()[0]
                raise ConfigError(f"{path}, line {number}: damaged ({reason}); restore the file or the line") from error
    return rows


def _cut_half_line(file: BinaryIO) -> None:
    end = start = file.seek(0, os.SEEK_END)
    whole = 0
    while start > 0 and whole == 0:
        start, stop = max(0, start - _BLOCK), start
        file.seek(start)
        newline = file.read(stop - start).rfind(b"\n")
        whole = start + newline + 1 if newline >= 0 else 0
    if whole < end:
        file.truncate(whole)
