"""Train and test of a benchmark: seeded in their order, and disjoint in their problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lamas_local.config import ConfigError, SplitPaths
from lamas_local.seeds import derive_seed
from lamas_local.tasks.base import Example, Split
from lamas_local.tasks.rows import HubSplit, Row, read_file, read_hub

ToExample = Callable[[Row, Split], Example]
TEST_PARTS = 4
"""One file is cut 1 to this many, train to test, as MaAS does with HumanEval."""


class Splits:
    """The examples of both splits, each in its seeded order."""

    def __init__(self, examples: Mapping[Split, Sequence[Example]]) -> None:
        self._examples = {split: tuple(found) for split, found in examples.items()}

    def num_examples(self, split: Split) -> int:
        """Size of a split."""
        return len(self._examples[split])

    def example(self, split: Split, index: int) -> Example:
        """The example at a position; positions past the end start over."""
        return self._examples[split][index % len(self._examples[split])]


def load_splits(
    path: Path | SplitPaths | None, hub: Mapping[Split, HubSplit], seed: int, to_example: ToExample
) -> dict[Split, list[Example]]:
    """Read a benchmark.

    Args:
        path: one file, which is cut in two; a file for each split; or None for the hub.
        hub: where the splits are on the hub; a benchmark with only a test split there is cut in two.
        seed: decides the order of the rows, and who belongs to which part of a cut.
        to_example: makes an example of a row, or raises `ConfigError`.

    A problem whose text is in test is never in train, however often and in whichever file it stands.

    Raises:
        ConfigError: a file or a row is missing or malformed, or a split would be empty.
    """
    if isinstance(path, SplitPaths):
        rows: dict[Split, list[Row]] = {"train": read_file(path.train), "test": read_file(path.test)}
        source = f"task.path {path.train} and {path.test}"
    elif path is not None:
        rows, source = {"test": read_file(path)}, f"task.path {path}"
    else:
        rows = {split: read_hub(place) for split, place in hub.items()}
        source = " and ".join(sorted({place.hub_id for place in hub.values()}))
    examples = {split: [to_example(row, split) for row in found] for split, found in rows.items()}
    test = _in_order(examples["test"], seed)
    if "train" in examples:
        train = _in_order(examples["train"], seed)
    else:
        test = list({_key(example): example for example in test}.values())
        num_train = max(1, round(len(test) / (1 + TEST_PARTS)))
        train, test = test[:num_train], test[num_train:]
    tested = {_key(example) for example in test}
    train = [example for example in train if _key(example) not in tested]
    for split, found in (("train", train), ("test", test)):
        if not found:
            raise ConfigError(f"{source}: the {split} split is empty once no problem is in both; give more rows")
    return {"train": train, "test": test}


def _in_order(examples: Sequence[Example], seed: int) -> list[Example]:
    """A permutation by what the problems say, so that the order of a file's lines does not matter."""
    return sorted(examples, key=lambda example: (derive_seed(seed, "split", _key(example)), _key(example)))


def _key(example: Example) -> str:
    """Problems that differ in white space only are the same one."""
    return " ".join(example.query.problem.split())
