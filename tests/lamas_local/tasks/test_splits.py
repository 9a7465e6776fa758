"""Splits: seeded, the same on every machine, and no problem in both."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.config import ConfigError, SplitPaths
from lamas_local.tasks import Example, Query, Split
from lamas_local.tasks.rows import Row
from lamas_local.tasks.splits import load_splits
from tests.lamas_local.tasks.benchmark_data import benchmark_file

SPLITS: tuple[Split, Split] = ("train", "test")


def to_example(row: Row, split: Split) -> Example:
    return Example(Query(f"{split}-{row.number}", row.text("q")), "gold")


def write(file: Path, problems: list[str]) -> Path:
    file.write_text("".join(json.dumps({"q": problem}) + "\n" for problem in problems))
    return file


def problems(path: Path | SplitPaths, seed: int) -> dict[Split, list[str]]:
    found = load_splits(path, {}, seed, to_example)
    return {split: [example.query.problem for example in found[split]] for split in SPLITS}


def test_one_file_is_cut_one_to_four(tmp_path: Path) -> None:
    found = problems(write(tmp_path / "f", [f"p{i}" for i in range(164)]), seed=0)
    assert {split: len(found[split]) for split in SPLITS} == {"train": 33, "test": 131}
    assert sorted(found["train"] + found["test"]) == sorted(f"p{i}" for i in range(164))


def test_the_order_is_the_seeds_and_not_the_files(tmp_path: Path) -> None:
    names = [f"p{i}" for i in range(20)]
    forwards = problems(write(tmp_path / "a", names), seed=0)
    assert problems(write(tmp_path / "b", names[::-1]), seed=0) == forwards
    assert problems(tmp_path / "a", seed=1) != forwards
    assert forwards["test"] != [name for name in names if name in forwards["test"]]


def test_the_same_on_every_machine(tmp_path: Path) -> None:
    assert problems(write(tmp_path / "f", list("abcdefghij")), seed=7) == {
        "train": ["h", "b"],
        "test": ["e", "d", "a", "f", "c", "g", "i", "j"],
    }


@given(
    st.lists(st.sampled_from("abcdefgh "), min_size=1),
    st.lists(st.sampled_from("abcdefgh "), min_size=1),
    st.integers(0, 9),
)
def test_no_problem_is_in_both(train: list[str], test: list[str], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first = write(Path(folder, "train"), [f"p  {name}" for name in train])
        second = write(Path(folder, "test"), [f"p {name}\n" for name in test])
        for path in (SplitPaths(train=first, test=second), first):
            try:
                found = problems(path, seed)
            except ConfigError:  # nothing is left for one of them
                assert len(set(train)) == 1 if path == first else set(train) <= set(test)
                continue
            keys = [{" ".join(problem.split()) for problem in found[split]} for split in SPLITS]
            assert not keys[0] & keys[1]
            assert all(keys)


def test_an_empty_split_names_the_files(tmp_path: Path) -> None:
    first, second = write(tmp_path / "one", ["a"]), write(tmp_path / "two", ["a"])
    with pytest.raises(ConfigError, match=r"one and .*two: the train split is empty"):
        problems(SplitPaths(train=first, test=second), seed=0)
    with pytest.raises(ConfigError, match="the test split is empty"):
        problems(first, seed=0)


def test_the_published_files(tmp_path: Path) -> None:
    def example(row: Row, split: Split) -> Example:
        return Example(Query(str(row.number), row.text("question")), "gold")

    paths = SplitPaths(train=benchmark_file("gsm8k_train.jsonl"), test=benchmark_file("gsm8k_test.jsonl"))
    found = load_splits(paths, {}, 0, example)
    assert {split: len(found[split]) for split in SPLITS} == {"train": 7473, "test": 1319}
