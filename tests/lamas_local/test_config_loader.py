"""Sources in their order, and one sentence for everything that is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lamas_local.config import (
    ArithmeticTaskConfig,
    Config,
    ConfigError,
    Gsm8kTaskConfig,
    HumanEvalTaskConfig,
    SplitPaths,
)
from lamas_local.config_loader import dump_config, field_paths, load_config
from lamas_local.engine_config import RayEngineConfig, VllmEngineConfig, answering
from tests.lamas_local.builders import make_config


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "run.yaml", "seed: 2\ntrainer: {learning_rate: 0.2, num_steps: 22}\n")


def test_defaults() -> None:
    assert load_config(None) == Config()


def test_command_line_over_environment_over_file_over_default(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def learned() -> tuple[int, float, int, int]:
        config = load_config(file, arguments)
        return config.seed, config.trainer.learning_rate, config.trainer.num_steps, config.trainer.queries_per_step

    arguments: list[str] = []
    assert learned() == (2, 0.2, 22, 4)
    monkeypatch.setenv("LAMAS_SEED", "3")
    monkeypatch.setenv("LAMAS_TRAINER__LEARNING_RATE", "0.3")
    assert learned() == (3, 0.3, 22, 4)
    arguments = ["--trainer.learning-rate", "0.4", "--trainer.queries-per-step=5"]
    assert learned() == (3, 0.4, 22, 5)


def test_what_a_run_was_started_with_heeds_no_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMAS_SEED", "3")
    assert load_config(file, environment=False).seed == 2


def test_a_constraint_on_the_command_line() -> None:
    options = {
        "kind": "score_floor", "score-floor-share": "0.9", "score-floor-baseline": "0.5", "credit": "to_go",
    }  # fmt: skip
    arguments = [word for name, value in options.items() for word in (f"--objective.{name}", value)]
    objective = load_config(None, arguments).objective
    assert (objective.kind, objective.score_floor_share, objective.score_floor_baseline) == ("score_floor", 0.9, 0.5)


def test_lists_and_maps_on_the_command_line() -> None:
    config = load_config(
        None,
        [
            "--operators", "Generate,EarlyStop",
            "--evaluation.policies", '["fixed:Generate,GenerateCoT+ScEnsemble", "trained"]',
            "--engine.kind", "vllm",
            "--engine.args", '{"enforce_eager": true}',
            "--task.levels", "[1, 4]",
        ],
    )  # fmt: skip
    assert config.operators == ("Generate", "EarlyStop")
    assert config.evaluation.policies == ("fixed:Generate,GenerateCoT+ScEnsemble", "trained")
    assert config.engine.kind == "vllm"
    assert config.engine.args["enforce_eager"] is True
    assert config.task == ArithmeticTaskConfig(levels=(1, 4))


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        make_config(),
        make_config(
            "runs/{0} ünï",
            seed=2**40,
            operators=["Generate"],
            engine={"kind": "vllm", "max_model_len": 77, "args": {"a": [1, {"b": None}]}},
            trainer={"scale_learning_rate": 1e-7},
            admission={"requests_per_s": 0.25},
        ),
    ],
)  # fmt: skip
def test_what_is_dumped_is_what_is_loaded(config: Config, tmp_path: Path) -> None:
    assert load_config(write(tmp_path / "config.yaml", dump_config(config))) == config


def test_a_dump_holds_every_key() -> None:
    tree = yaml.safe_load(dump_config(make_config()))
    assert tree.keys() == Config.model_fields.keys()
    assert tree["trainer"].keys() == Config.model_fields["trainer"].default.model_dump().keys()


@pytest.mark.parametrize("text", ["task: {kind: humaneval}", "task: {kind: humaneval, path: old.jsonl}"])
def test_a_benchmarks_file_on_the_command_line(tmp_path: Path, text: str) -> None:
    file = write(tmp_path / "run.yaml", text)
    assert load_config(file, ["--task.path", "new.jsonl"]).task == HumanEvalTaskConfig(path=Path("new.jsonl"))


def test_a_file_for_each_split_on_the_command_line() -> None:
    arguments = ["--task.kind", "gsm8k", "--task.path.train", "a.jsonl", "--task.path.test", "b.jsonl"]
    expected = Gsm8kTaskConfig(path=SplitPaths(train=Path("a.jsonl"), test=Path("b.jsonl")))
    assert load_config(None, arguments).task == expected


def test_field_paths_know_both_engines() -> None:
    assert {"seed", "trainer", "trainer.learning_rate", "engine.model", "engine.max_model_len"} <= set(field_paths())


def problem(file: Path | None, *arguments: str) -> str:
    """The sentence a user reads."""
    with pytest.raises(ConfigError) as caught:
        load_config(file, arguments)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("trainer: {lerning_rate: 1}", ["trainer.lerning_rate: unknown key", "did you mean 'trainer.learning_rate'"]),
        ("sed: 1", ["sed: unknown key", "did you mean 'seed'"]),
        ("trainr: {num_steps: 1}", ["trainr: unknown key", "did you mean 'trainer'"]),
        ("engine: {kind: fake, max_model_length: 5}", ["engine.max_model_length", "'engine.max_model_len'"]),
        ("engine: {kind: gpu}", ["engine", "'gpu'", "vllm"]),
        ("trainer: {learning_rate: -1}", ["trainer.learning_rate", "greater than 0", "got -1"]),
        ("sampling: {temperature: 0}", ["sampling.temperature", "greater than 0", "got 0"]),
        ("trainer: {num_steps: many}", ["trainer.num_steps", "integer", "got 'many'"]),
        ("task: {levels: [5]}", ["task.levels.0", "less than or equal to 4", "got 5"]),
        ("task: {kind: gsm8k, pth: x}", ["task.pth: unknown key", "did you mean 'task.path'"]),
        ("task: {kind: gsm8k, levels: [1]}", ["task.levels: not a key of task.kind 'gsm8k'"]),
        ("task: {kind: gsm}", ["task: ", "'gsm'", "'humaneval'"]),
        ("task: {kind: math, path: {trian: a, test: b}}", ["task.path.trian: unknown key", "'task.path.train'"]),
        ("task: {kind: math, path: {train: a}}", ["task.path.test: field required"]),
        ("task: {kind: math, path: 5}", ["task.path: input is not a valid path", "got 5"]),
        ("task: {kind: python}", ["task.target: field required"]),
        ("objective: {credit: all}", ["objective.credit", "'critical_path'", "got 'all'"]),
        ("operators: []", ["operators", "at least 1"]),
        ("objective: {kind: latency_budget}", ["objective: kind 'latency_budget' needs latency_budget_s"]),
        ("objective: {kind: score_floor}", ["objective: kind 'score_floor' needs score_floor_share"]),
        ("objective: {latency_budget_s: 2}", ["objective: latency_budget_s is 2.0, but kind 'penalty'"]),
        (
            "objective: {kind: score_floor, score_floor_share: 0.9, latency_budget_s: 2}",
            ["objective: latency_budget_s is 2.0, but kind 'score_floor'"],
        ),
        (
            "objective: {kind: latency_budget, latency_budget_s: 2, credit: none}",
            ["objective: credit is 'none'", "nobody would pay"],
        ),
        (
            "objective: {kind: score_floor, score_floor_share: 0.9, score_floor_baseline: maas}",
            ["objective.score_floor_baseline: 'maas' is neither a score above 0 nor 'initial' nor"],
        ),
        (
            "objective: {kind: score_floor, score_floor_share: 0.9, score_floor_baseline: 0}",
            ["objective.score_floor_baseline: 0 is neither"],
        ),
    ],
)
def test_what_is_wrong_in_a_file(tmp_path: Path, text: str, parts: list[str]) -> None:
    sentence = problem(write(tmp_path / "run.yaml", text))
    for part in parts:
        assert part in sentence


@pytest.mark.parametrize("text", ["seed: [1", "- seed\n- 1", "just words", "42", "seed: 1\n\tx: 2", "%bad"])
def test_what_is_not_a_mapping_of_settings(tmp_path: Path, text: str) -> None:
    file = write(tmp_path / "run.yaml", text)
    sentence = problem(file)
    assert f"--config {file}" in sentence
    assert "not a YAML mapping" in sentence


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00\x01seed")
    assert "not a YAML mapping" in problem(tmp_path / "run.yaml")


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path / "run.yaml", "# nothing\n")) == Config()


def test_a_missing_file(tmp_path: Path) -> None:
    assert problem(tmp_path / "no.yaml") == f"--config {tmp_path / 'no.yaml'}: no such file"


def test_an_unknown_option() -> None:
    assert problem(None, "--trainer.lerning-rate", "1") == (
        "--trainer.lerning-rate: unknown option (did you mean '--trainer.learning-rate'?)"
    )


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("LAMAS_SED", "1", ["LAMAS_SED: unknown setting", "did you mean 'seed'"]),
        ("LAMAS_TRAINER__LERNING_RATE", "1", ["trainer.lerning_rate: unknown key", "'trainer.learning_rate'"]),
        ("LAMAS_TRAINER__NUM_STEPS", "-4", ["trainer.num_steps", "greater than 0", "got '-4'"]),
    ],
)
def test_what_is_wrong_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, parts: list[str]
) -> None:
    monkeypatch.setenv(name, value)
    sentence = problem(None)
    for part in parts:
        assert part in sentence


def test_replicas_in_a_file_and_on_the_command_line(tmp_path: Path) -> None:
    file = write(tmp_path / "ray.yaml", "engine: {kind: ray, replicas: 2, replica: {kind: vllm, model: m}}")
    engine = load_config(file, ["--engine.replica.kv-cache-gib", "0.5", "--engine.address", "auto"]).engine
    replica = VllmEngineConfig(model="m", kv_cache_gib=0.5)
    assert engine == RayEngineConfig(replicas=2, replica=replica, address="auto")
    assert answering(engine) == replica


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "{kind: ray, replica: {kind: fake, args: {}}}",
            "args: not a key of engine.replica.kind 'fake'",
        ),
        ("{kind: ray, replica: {kind: fake, delay: 1}}", "engine.replica.delay: unknown key"),
        ("{kind: ray, model: m}", "engine.model: not a key of engine.kind 'ray'"),
        ("{kind: ray, replica: {kind: ray}}", "engine.replica"),
        ("{kind: ray, replicas: 0}", "engine.replicas"),
    ],
)
def test_a_wrong_key_of_a_replica_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in problem(write(tmp_path / "ray.yaml", f"engine: {text}"))


@pytest.mark.parametrize(
    ("arguments", "engine"),
    [
        (["--engine.kind", "ray"], {"kind": "ray", "replica": {"kind": "vllm", "model": "m", "kv_cache_gib": 3}}),
        (
            ["--engine.kind", "ray", "--engine.replica.kv-cache-gib", "1"],
            {"kind": "ray", "replica": {"kind": "vllm", "model": "m", "kv_cache_gib": 1}},
        ),
        (["--engine.kind", "ray", "--engine.replica.kind", "fake"], {"kind": "ray", "replica": {"kind": "fake"}}),
        (["--engine.kind", "fake"], {"kind": "fake"}),
        (["--engine.kind", "vllm"], {"kind": "vllm", "model": "m", "kv_cache_gib": 3}),
    ],
)
def test_another_kind_leaves_the_files_keys_behind_but_replicas_are_of_its_engine(
    arguments: list[str], engine: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("engine: {kind: vllm, model: m, kv_cache_gib: 3}\ntask: {kind: arithmetic, levels: [2]}\n")
    config = load_config(file, [*arguments, "--task.kind", "gsm8k"])
    assert config.engine == Config.model_validate({"engine": engine}).engine
    assert config.task.kind == "gsm8k"
