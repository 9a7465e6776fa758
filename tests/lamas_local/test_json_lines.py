"""Appended lines: cut at any byte, none but the last is lost, and none is glued to what was left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamas_local import json_lines
from lamas_local.config import ConfigError
from lamas_local.json_lines import append_lines, read_lines

LINES = ['{"text": "ünï 🙂"}', '{"text": "line\u2028break"}', '{"text": "🙂🙂🙂"}']


def texts(path: Path) -> list[str]:
    return [row["text"] for row in read_lines(path, json.loads)]


@pytest.mark.parametrize("block", [1, 7, 2**16])
def test_cut_at_any_byte_only_the_last_line_is_lost_and_the_next_stands_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(json_lines, "_BLOCK", block)
    path = tmp_path / "lines.jsonl"
    append_lines(path, LINES)
    whole = path.read_bytes()
    all_texts = texts(path)
    assert len(all_texts) == 3
    for num_bytes in range(len(whole) + 1):
        path.write_bytes(whole[:num_bytes])
        left = texts(path)
        assert left == all_texts[: whole[:num_bytes].count(b"\n")]
        append_lines(path, ['{"text": "next"}'])
        assert texts(path) == [*left, "next"]
        assert path.read_bytes().count(b"\n") == len(left) + 1


def test_zeros_that_a_power_cut_left_are_no_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(LINES[0].encode() + b"\n" + bytes(100))
    assert len(texts(path)) == 1
    append_lines(path, LINES[2:])
    assert texts(path) == ["ünï 🙂", "🙂🙂🙂"]


@pytest.mark.parametrize("damaged", [b'{"text": "a', b'{"text": "\xff"}', b"\0\0"])
def test_a_damaged_line_before_the_last_is_an_error_that_names_it(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"text": "a"}\n' + damaged + b'\n{"text": "b"}\n')
    with pytest.raises(ConfigError, match=r"lines\.jsonl, line 2: damaged"):
        texts(path)


def test_blank_lines_are_none(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'\n{"text": "a"}\n  \n')
    assert texts(path) == ["a"]
