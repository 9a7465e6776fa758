"""MATH: competition problems with a boxed answer (Hendrycks et al. 2021), tested on MATH-500."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lamas_local.config import ConfigError, SplitPaths
from lamas_local.tasks.base import Example, Query, Split, TaskPrompts
from lamas_local.tasks.boxed import final_expression, last_boxed
from lamas_local.tasks.latex import normal_form
from lamas_local.tasks.math_verifier import MathVerifier
from lamas_local.tasks.rows import HubSplit, Row
from lamas_local.tasks.splits import Splits, load_splits

SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
HUB: Mapping[Split, HubSplit] = {
    "train": HubSplit("EleutherAI/hendrycks_math", "train", SUBJECTS),
    "test": HubSplit("HuggingFaceH4/MATH-500", "test", ("default",)),
}
PROMPTS = TaskPrompts(
    answer_format=r"Put the final answer in \boxed{}.",
    direct=r"Reply with only the final answer, in \boxed{}.",
    answer_prefix=r"\boxed{",
    answer_suffix="}",
)
_VARIABLE = re.compile(r"^[a-zA-Z](?:\([a-z]\))?=(?=.)")


class MathTask(Splits):
    """MATH. A solution is right when its final expression is mathematically the gold one."""

    prompts = PROMPTS

    def __init__(self, path: Path | SplitPaths | None, seed: int) -> None:
        """Load it; the process that compares starts with the first score.

        Raises:
            ConfigError: as `load_splits` does.
        """
        super().__init__(load_splits(path, HUB, seed, to_example))
        self._verifier = MathVerifier()

    def extract_answer(self, solution: str) -> str | None:
        """The final expression in a normal form, `\\frac{1}{2}` and `0.5` as `1/2`; None without one."""
        found = final_expression(solution)
        return None if found is None else _VARIABLE.sub("", normal_form(found)) or None

    async def score(self, example: Example, solution: str) -> float:
        """1 where the final expression equals gold, else 0; 0 too where comparing them takes too long."""
        found = final_expression(solution)
        return float(found is not None and await self._verifier.is_equal(example.gold, found))

    async def close(self) -> None:
        """End the process that compares."""
        await self._verifier.close()


def to_example(row: Row, split: Split) -> Example:
    """A row `{"problem", "solution"}`; gold is its `answer` where it has one, else its solution's last box.

    Raises:
        ConfigError: it is not such a row.
    """
    if "answer" in row.fields:
        gold = row.text("answer")
    else:
        boxed = last_boxed(row.text("solution"))
        if boxed is None:
            raise ConfigError(f"{row.place}: field 'solution' has no \\boxed{{}}, and there is no field 'answer'")
        gold = boxed
    return Example(Query(f"math-{split}-{row.number}", row.text("problem")), gold)
