"""Plain values as bytes and back, for pipes whose other end may lie. Reading never makes anything but plain values."""

from __future__ import annotations

TYPE_CHECKING = False  # typing takes longer to import than the rest together
if TYPE_CHECKING:
    from typing import Any


# An item is a tag, a decimal number, a colon; then that many bytes (scalars), items (containers) or pairs (dict).
_CONTAINERS: dict[bytes, type[Any]] = {b"l": list, b"t": tuple, b"S": set, b"Z": frozenset}


class NotPlainError(TypeError):
    """The value, or something in it, is not None, bool, int, float, complex, str, bytes, list, tuple, dict or set."""


def encode(value: Any) -> bytes:
    """The value's plain content: an instance of a subclass counts as the plain type, whatever its methods claim.

    Raises:
        NotPlainError: it has no plain content.
        RecursionError: it is nested too deeply, or contains itself.
    """
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def _encode(value: Any, parts: list[bytes]) -> None:
    kind = type(value)
    if value is None:
        parts.append(b"n0:")
    elif issubclass(kind, bool):
        parts.append(b"T0:" if value else b"F0:")
    elif issubclass(kind, int):  # in hexadecimal, which has no limit on digits
        _add(parts, b"i", int.__format__(value, "x").encode())
    elif issubclass(kind, float):
        _add(parts, b"f", float.hex(value).encode())
    elif issubclass(kind, complex):
        _add(parts, b"c", complex.__repr__(value).encode())
    elif issubclass(kind, str):
        _add(parts, b"s", str.encode(value, "utf-8", "surrogatepass"))
    elif issubclass(kind, bytes | bytearray):
        _add(parts, b"b", bytes(memoryview(value)))
    elif issubclass(kind, dict):
        pairs = list(dict.items(value))
        parts.append(b"d%d:" % len(pairs))
        for key, item in pairs:
            _encode(key, parts)
            _encode(item, parts)
    else:
        tag = next((tag for tag, container in _CONTAINERS.items() if issubclass(kind, container)), None)
        if tag is None:
            raise NotPlainError(f"a value of type {kind.__name__} is not plain data")
        items = list(_CONTAINERS[tag].__iter__(value))
        parts.append(b"%s%d:" % (tag, len(items)))
        for item in items:
            _encode(item, parts)


def _add(parts: list[bytes], tag: bytes, content: bytes) -> None:
    parts.append(b"%s%d:" % (tag, len(content)))
    parts.append(content)


def decode(data: bytes) -> Any:
    """The value that `encode` wrote.

    Raises:
        ValueError: these bytes are not one encoded value, or nest too deeply.
    """
    try:
        value, end = _decode(data, 0)
    except (TypeError, RecursionError, OverflowError) as error:  # an unhashable key, say
        raise ValueError(f"not an encoded value: {error}") from None
    if end != len(data):
        raise ValueError("more than one encoded value")
    return value


def _decode(data: bytes, start: int) -> tuple[Any, int]:
    colon = data.find(b":", start, start + 22)
    if colon < 0 or not data[start + 1 : colon].isdigit():
        raise ValueError("not an encoded value")
    tag, number, at = data[start : start + 1], int(data[start + 1 : colon]), colon + 1
    if tag in _CONTAINERS or tag == b"d":
        items = []
        for _ in range(number * 2 if tag == b"d" else number):  # ends at the data's end, however large the number
            item, at = _decode(data, at)
            items.append(item)
        if tag == b"d":
            return dict(zip(items[::2], items[1::2], strict=True)), at
        return _CONTAINERS[tag](items), at
    end = at + number
    if end > len(data):
        raise ValueError("an encoded value is cut short")
    return _scalar(tag, data[at:end]), end


def _scalar(tag: bytes, content: bytes) -> Any:
    if tag == b"n":
        return None
    if tag in b"TF":
        return tag == b"T"
    if tag == b"i":
        return int(content, 16)
    if tag == b"f":
        return float.fromhex(content.decode())
    if tag == b"c":
        return complex(content.decode())
    if tag == b"s":
        return content.decode("utf-8", "surrogatepass")
    if tag == b"b":
        return content
    raise ValueError(f"no such tag: {tag!r}")
