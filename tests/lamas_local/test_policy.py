"""What a policy names, and that it names the same again."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamas_local.config import ConfigError
from lamas_local.policy import FixedPolicy, LearnedPolicy, parse_fixed
from lamas_local.tasks import Query
from tests.lamas_local.builders import make_config, make_trainer


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("fixed:Generate", (("Generate",),)),
        ("fixed:MultiGenerateCoT+ScEnsemble", (("MultiGenerateCoT",), ("ScEnsemble",))),
        ("fixed:Generate,GenerateCoT+SelfRefine", (("Generate", "GenerateCoT"), ("SelfRefine",))),
    ],
)
def test_fixed_architectures(name: str, layers: tuple[tuple[str, ...], ...]) -> None:
    policy = parse_fixed(name)
    assert policy == FixedPolicy(layers, "layered", 0)
    assert policy.architecture(Query("q", "2 + 2?")) == layers


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("fixed:Generat", "unknown operator (did you mean 'Generate'?)"),
        ("fixed:", "unknown operator"),
        ("fixed:Generate+", "unknown operator"),
        ("fixed:Generate, GenerateCoT", "unknown operator (did you mean 'GenerateCoT'?)"),
        ("fixed:Generate+EarlyStop", "unknown operator"),
        ("fixed:ScEnsemble", "starts with an operator that needs a solution to read"),
        ("fixed:Generate,SelfRefine", "starts with an operator that needs a solution to read"),
    ],
)
def test_what_is_no_fixed_architecture(name: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_fixed(name)
    assert part in str(caught.value)
    assert repr(name) in str(caught.value)


def test_a_learned_policy_names_the_same_architecture_in_any_order(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path))
    policy = LearnedPolicy(trainer.controller, trainer.embedder, 3, "layered", 1)
    queries = [Query(f"q{i}", f"{i} + {i}?") for i in range(12)]
    forwards = {query.id: policy.architecture(query) for query in queries}
    assert {query.id: policy.architecture(query) for query in reversed(queries)} == forwards
    assert len(set(forwards.values())) > 1
    other = LearnedPolicy(trainer.controller, trainer.embedder, 4, "layered", 1)
    assert {query.id: other.architecture(query) for query in queries} != forwards
