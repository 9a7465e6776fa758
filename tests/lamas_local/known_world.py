"""A world whose chances and durations are stated: operators are right so often and take so long, without an engine."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from lamas_local.executor import Plan
from lamas_local.operators.base import EARLY_STOP
from lamas_local.seeds import derive_seed
from lamas_local.tasks import Example, Query, Split, TaskPrompts
from lamas_local.trace import LayerSpan, OperatorSpan, RequestSpan, RolloutTrace
from tests.lamas_local.builders import OneProblemTask

SECONDS: Mapping[str, float] = {
    "Generate": 1.0, "GenerateCoT": 2.4, "MultiGenerateCoT": 2.4, "SelfRefine": 1.6, "ScEnsemble": 0.7,
}  # fmt: skip
"""Median of one sample; they spread lognormally by 0.3."""
CHANCE: Mapping[str, float] = {"Generate": 0.36, "GenerateCoT": 0.42, "MultiGenerateCoT": 0.42}
"""Of a sample being right; a query's ease adds up to a quarter either way. The wrong ones spread over six answers."""
REFINED: Mapping[bool, float] = {True: 0.6, False: 0.3}
"""Chance of being right after SelfRefine, by whether the solution was."""
RIGHT = "right"


class ManyProblems(OneProblemTask):
    """200 problems, in turn."""

    prompts = TaskPrompts("x")

    def example(self, split: Split, index: int) -> Example:
        return Example(Query(f"{split}-{index}", f"Problem {index % 200} of {split}?"), RIGHT)


@dataclass
class KnownWorld:
    """Stands for an executor; every rollout begins at 0 s."""

    seed: int

    async def run(self, plan: Plan) -> RolloutTrace:
        """Layers with barriers, then the vote."""
        query = plan.example.query.id
        rng = random.Random(derive_seed(self.seed, plan.policy, plan.step, query, plan.rollout))
        ease = random.Random(derive_seed("ease", query)).uniform(-0.25, 0.25)
        solutions: list[str] = []
        layers: list[LayerSpan] = []
        clock = 0.0
        for drawn in plan.architecture:
            runs = [self._operate(name, solutions, ease, clock, rng) for name in drawn if name != EARLY_STOP]
            num_replaced = max((span.num_replaced for span, _ in runs), default=0)
            solutions = solutions[: len(solutions) - num_replaced] + [text for _, added in runs for text in added]
            ended = max((span.ended for span, _ in runs), default=clock)
            layers.append(LayerSpan(clock, ended, tuple(span for span, _ in runs)))
            clock = ended
        answer = vote(solutions)
        return RolloutTrace(
            query, plan.rollout, plan.policy, plan.step, plan.mode, plan.architecture, 0.0, clock, tuple(layers),
            LayerSpan(clock, clock, ()), answer, float(answer == RIGHT),
        )  # fmt: skip

    def _operate(
        self, name: str, solutions: list[str], ease: float, started: float, rng: random.Random
    ) -> tuple[OperatorSpan, list[str]]:
        def sample(chance: float) -> str:
            return RIGHT if rng.random() < chance + ease else f"wrong {rng.randrange(6)}"

        num_samples = 3 if name == "MultiGenerateCoT" else 1
        seconds = max(SECONDS[name] * math.exp(rng.gauss(0.0, 0.3)) for _ in range(num_samples))
        if name == "ScEnsemble":
            added, num_replaced = ([vote(solutions)] if solutions else []), len(solutions)
        elif name == "SelfRefine":
            added, num_replaced = [sample(REFINED[solutions[-1:] == [RIGHT]])], min(1, len(solutions))
        else:
            added, num_replaced = [sample(CHANCE[name]) for _ in range(num_samples)], 0
        request = RequestSpan("r", 0, started, started + seconds, num_output_tokens=round(50 * seconds))
        span = OperatorSpan(name, started, started + seconds, ((request,),), None, "problem", len(added), num_replaced)
        return span, added


def vote(solutions: list[str]) -> str:
    """The commonest, of equals the newest."""
    counts = Counter(solutions)
    return max(reversed(solutions), key=lambda one: counts[one]) if solutions else "none"
