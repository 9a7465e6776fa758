"""What a policy names, and that it names the same again."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamas_local.config import ConfigError
from lamas_local.operators.generate_cot import GenerateCoT
from lamas_local.policy import LEARNED, OURS, FixedPolicy, LearnedPolicy, check_policies, parse_fixed
from lamas_local.tasks import Query
from tests.lamas_local.builders import make_config, make_trainer


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("fixed:Generate", (("Generate",),)),
        ("fixed:MultiGenerateCoT+ScEnsemble", (("MultiGenerateCoT",), ("ScEnsemble",))),
        ("fixed:GenerateCoT*3+ScEnsemble", (("GenerateCoT",) * 3, ("ScEnsemble",))),
        ("fixed:Generate*1,GenerateCoT*2", (("Generate", "GenerateCoT", "GenerateCoT"),)),
        ("fixed:Programmer+Programmer", (("Programmer",), ("Programmer",))),
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
        ("fixed:Test", "starts with an operator that needs a solution to read"),
        ("fixed:Generate*", "has '' after a *"),
        ("fixed:Generate*0", "has '0' after a *, where a number from 1 to 99 stands"),
        ("fixed:Generate*x", "has 'x' after a *"),
        ("fixed:Generate*1000", "has '1000' after a *"),
        ("fixed:Generat*2", "unknown operator (did you mean 'Generate'?)"),
        ("fixed:Generate,SelfRefine", "starts with an operator that needs a solution to read"),
    ],
)
def test_what_is_no_fixed_architecture(name: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_fixed(name)
    assert part in str(caught.value)
    assert repr(name) in str(caught.value)


def test_a_users_operator_by_its_name() -> None:
    class Debate(GenerateCoT):
        name = "Debate"

    assert parse_fixed("fixed:Debate*2", {"Debate": Debate()}).layers == (("Debate", "Debate"),)
    with pytest.raises(ConfigError, match="unknown operator"):
        parse_fixed("fixed:Debate")


def test_known_policies_and_what_the_fixed_ones_use() -> None:
    assert check_policies(LEARNED, OURS) == set()
    assert {"trained", "initial", "initial-sequential", "maas", "maas-parallel", "lamas"} == set(LEARNED)
    assert check_policies(("lamas", "fixed:Generate+Test"), OURS) == {"Generate", "Test"}


@pytest.mark.parametrize("name", ["trainde", "maas-sequential", ""])
def test_an_unknown_policy(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is unknown; known: trained, .*lamas"):
        check_policies((name,), OURS)


def test_a_learned_policy_names_the_same_architecture_in_any_order(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path))
    policy = LearnedPolicy(trainer.controller, trainer.embedder, 3, "layered", 1)
    queries = [Query(f"q{i}", f"{i} + {i}?") for i in range(12)]
    forwards = {query.id: policy.architecture(query) for query in queries}
    assert {query.id: policy.architecture(query) for query in reversed(queries)} == forwards
    assert len(set(forwards.values())) > 1
    other = LearnedPolicy(trainer.controller, trainer.embedder, 4, "layered", 1)
    assert {query.id: other.architecture(query) for query in queries} != forwards
