"""Rows: what is wrong is said with file and line."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lamas_local.config import ConfigError
from lamas_local.tasks import competition_math, gsm8k, humaneval, rows
from lamas_local.tasks.rows import HubSplit, read_file, read_hub


def test_plain_and_compressed_files_give_the_same_rows(tmp_path: Path) -> None:
    data = '{"a": "1"}\n{"a": "ä"}\n\n'.encode()
    (tmp_path / "rows.jsonl").write_bytes(data)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(data))
    read = [read_file(tmp_path / name) for name in ("rows.jsonl", "rows.jsonl.gz")]
    assert [[row.text("a") for row in found] for found in read] == [["1", "ä"]] * 2
    assert read[0][1].place.endswith("rows.jsonl, line 2")


def test_characters_that_end_lines_elsewhere_do_not_end_a_row(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": "x\u2028y"}\n{"a": "z"}')
    assert [row.text("a") for row in read_file(tmp_path / "rows.jsonl")] == ["x\u2028y", "z"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a": 1}\n{"a": \n', "line 2: not JSON"),
        (b'{"a": 1}\n[1]\n', "line 2: must be a JSON object, got [1]"),
        (b'{"a": 1}\n\n{"a": 2}\n', "line 2: the row is empty"),
        (b'{"a": 1}\n{"a": "\xff"}\n', "line 2: not UTF-8"),
        (b"[" * 100_000, "line 1: not JSON"),
        (b"", "the file has no rows"),
        (b"\n\n", "the file has no rows"),
    ],
)
def test_malformed_files(data: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(data)
    with pytest.raises(ConfigError) as error:
        read_file(file)
    assert said in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"plain text", gzip.compress(b'{"a": "1"}\n')[:-9]])
def test_broken_compression(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(data)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(tmp_path / "rows.jsonl.gz")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_absent_files_and_folders(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "rows.jsonl")
    with pytest.raises(ConfigError, match=r"task\.path .*rows\.jsonl: (no such file|cannot be read)"):
        read_file(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    "source", [gsm8k.HUB["train"], competition_math.HUB["train"], competition_math.HUB["test"], humaneval.HUB["test"]]
)
def test_without_network_one_sentence_names_the_hub_id_and_the_path(
    source: HubSplit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The real clients, with a hub that refuses connections and an empty cache."""
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(ConfigError) as error:
        read_hub(source)
    assert time.monotonic() - started < 10
    assert source.hub_id in str(error.value)
    assert "task.path" in str(error.value)
    assert "\n" not in str(error.value)
    assert not datasets.config.HF_HUB_OFFLINE


def test_hub_rows_say_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    published: dict[str, list[dict[str, Any]]] = {"one": [{"a": "1"}, {"a": "2"}], "two": [{"b": "3"}]}
    monkeypatch.setattr(rows, "_is_reachable", lambda hub_id: True)
    monkeypatch.setattr(rows, "_load", lambda source, config, from_cache: published[config])
    read = read_hub(HubSplit("owner/name", "train", ("one", "two")))
    assert [row.number for row in read] == [1, 2, 3]
    with pytest.raises(ConfigError, match=r"owner/name, split train, row 3: no field 'a'; there are b"):
        read[2].text("a")


def test_an_empty_split_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_is_reachable", lambda hub_id: True)
    monkeypatch.setattr(rows, "_load", lambda source, config, from_cache: [])
    with pytest.raises(ConfigError, match="has no rows in its split 'train'"):
        read_hub(HubSplit("owner/name", "train", ("main",)))


@pytest.mark.parametrize("is_reachable", [True, False])
def test_an_unreachable_hub_is_not_asked_again_and_its_cache_is(
    is_reachable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    asked: list[tuple[str, str, str, bool]] = []

    def load_dataset(path: str, name: str, *, split: str) -> list[dict[str, str]]:
        asked.append((path, name, split, datasets.config.HF_HUB_OFFLINE))
        return [{"a": name}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(rows, "_is_reachable", lambda hub_id: is_reachable)
    read = read_hub(HubSplit("owner/name", "test", ("one", "two")))
    assert [row.text("a") for row in read] == ["one", "two"]
    assert asked == [("owner/name", name, "test", not is_reachable) for name in ("one", "two")]
    assert not datasets.config.HF_HUB_OFFLINE
