"""Values cross unchanged, and bytes that are none are refused."""

from __future__ import annotations

import contextlib
import enum
import math
import struct
from collections import Counter, OrderedDict, namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.sandbox.inside.plain import NotPlainError, decode, encode

hashable = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
)
values = st.recursive(
    hashable | st.sets(hashable, max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hashable, inner, max_size=4),
)
Point = namedtuple("Point", "x y")


class Liar(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Colour(enum.IntEnum):
    RED = 1


@given(values)
def test_round_trip(value: Any) -> None:
    back = decode(encode(value))
    # repr tells True from 1, 0.0 from -0.0, and one nan from no nan; sets may come back in another order.
    assert type(back) is type(value)
    assert back == value or repr(back) == repr(value) or "nan" in repr(value)


@pytest.mark.parametrize(
    "value",
    [
        math.inf,
        -math.inf,
        -0.0,
        5e-324,
        pytest.param(10**10_000, id="huge"),
        -(2**70),
        "\ud800",
        "",
        b"\0",
        (),
        {},
        set(),
        True,
        [[]],
    ],
)
def test_exact(value: Any) -> None:
    back = decode(encode(value))
    assert type(back) is type(value)
    assert back == value
    if isinstance(value, float):
        assert struct.pack("d", back) == struct.pack("d", value)


def test_nan() -> None:
    assert math.isnan(decode(encode(math.nan)))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Liar("a"), "a"),
        (Colour.RED, 1),
        (Point(1, 2), (1, 2)),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (bytearray(b"x"), b"x"),
    ],
)
def test_a_subclass_counts_as_its_plain_type(value: Any, plain: Any) -> None:
    back = decode(encode(value))
    assert type(back) is type(plain)
    assert plain == back


@pytest.mark.parametrize("value", [object(), len, (x for x in "a"), [object()], {1: range(3)}, map(abs, [])])
def test_not_plain(value: Any) -> None:
    with pytest.raises(NotPlainError, match="is not plain data"):
        encode(value)


def test_endless_nesting_is_an_error() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(RecursionError):
        encode(loop)
    with pytest.raises(ValueError, match="not an encoded value"):
        decode(b"l1:" * 100_000 + b"n0:")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    try:
        value = decode(data)
    except ValueError:
        return
    encode(value)


@given(values, st.data())
def test_a_changed_byte_never_does_worse(value: Any, data: st.DataObject) -> None:
    content = bytearray(encode(value))
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        decode(bytes(content))


@pytest.mark.parametrize(
    "data", [b"", b"n", b"n0", b"n0:n0:", b"i3:1", b"q0:", b"i-1:", b"l9999999999999:", b"d1:l0:n0:"]
)
def test_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011, any will do
        decode(data)
