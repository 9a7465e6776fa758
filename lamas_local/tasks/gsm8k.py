"""GSM8K: grade-school word problems with one number as the answer (Cobbe et al. 2021)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from lamas_local.config import ConfigError, SplitPaths
from lamas_local.tasks.base import Example, Query, Split, TaskPrompts
from lamas_local.tasks.boxed import BOX, box_content
from lamas_local.tasks.number_words import word_number
from lamas_local.tasks.numbers import find_numbers, plain
from lamas_local.tasks.rows import HubSplit, Row
from lamas_local.tasks.splits import Splits, load_splits

HUB: Mapping[Split, HubSplit] = {
    "train": HubSplit("openai/gsm8k", "train", ("main",)),
    "test": HubSplit("openai/gsm8k", "test", ("main",)),
}
_GOLD = re.compile(r"####\s*(\S.*?)\s*$")
_MARKER = re.compile(r"####|\banswer\b[^\S\n]*(?::|=|\bis\b:?|\bwould\s+be\b:?)|\\f?boxed\b|\\fbox\b", re.IGNORECASE)
_MAX_MARKERS = 50
"""The last ones are looked at; a text that repeats itself has many."""
_MAX_CLAIM = 300
"""Characters after a marker that can hold its number."""
PROMPTS = TaskPrompts(
    answer_format="End with a line that holds '#### ' and the number alone.",
    direct="Reply with only the number that answers the problem.",
    answer_prefix="#### ",
)


class Gsm8kTask(Splits):
    """GSM8K. A solution is right when its number is the gold one."""

    prompts = PROMPTS

    def __init__(self, path: Path | SplitPaths | None, seed: int) -> None:
        """Load it.

        Raises:
            ConfigError: as `load_splits` does.
        """
        super().__init__(load_splits(path, HUB, seed, to_example))

    def extract_answer(self, solution: str) -> str | None:
        """The answer as an exact fraction in lowest terms, `18` or `3/4`; None without a number."""
        number = answer_number(solution)
        return None if number is None else str(number)

    async def score(self, example: Example, solution: str) -> float:
        """1 where the number equals the gold one exactly, else 0."""
        return float(answer_number(solution) == Fraction(example.gold))

    async def close(self) -> None:
        """Nothing was started."""


def to_example(row: Row, split: Split) -> Example:
    """A row `{"question", "answer"}` whose answer ends with `#### N`.

    Raises:
        ConfigError: it is not such a row.
    """
    answer = row.text("answer").rstrip()
    found = _GOLD.search(answer)
    numbers = find_numbers(plain(found[1])) if found else []
    if len(numbers) != 1:
        raise ConfigError(f"{row.place}: field 'answer' must end with '#### ' and a number, got {answer[-40:]!r}")
    return Example(Query(f"gsm8k-{split}-{row.number}", row.text("question")), str(numbers[0][0]))


def answer_number(solution: str) -> Fraction | None:
    """The number after the last marker that has one, else the text's last number.

    Markers are `####`, `\\boxed{}`, 'answer:' and 'answer is'.
    """
    text = plain(solution)
    end = len(text)
    for marker in list(_MARKER.finditer(text))[: -_MAX_MARKERS - 1 : -1]:
        if BOX.fullmatch(marker[0]):
            claim = box_content(text, marker.end())
        else:
            # The first line with something in it: reasons often follow. What a later marker says was looked at.
            claim = text[marker.end() : min(end, marker.end() + _MAX_CLAIM)].strip(" \n\t*_:`").split("\n")[0]
        number = _claimed(claim)
        if number is not None:
            return number
        end = marker.start()
    numbers = find_numbers(text)
    return numbers[-1][0] if numbers else word_number(text)


def _claimed(claim: str) -> Fraction | None:
    """The one number that a claim is about: after its last `=`, else at its start, else the last."""
    after = claim.rpartition("=")[2]
    numbers = find_numbers(after) or find_numbers(claim)
    if not numbers:
        return word_number(claim)
    starts_with_it = not re.search(r"[^\W\d_]{2,}", re.sub(r"\\[a-z]+", "", after[: numbers[0][1]]))
    return numbers[0][0] if starts_with_it else numbers[-1][0]
