"""What a user types wrong gets one sentence and status 2; help comes at once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lamas_local.cli import main
from lamas_local.run_folder import RunFolder
from tests.lamas_local.builders import make_config

ROOT = Path(__file__).parents[2]


def sentence(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What bad input answers."""
    assert main([str(argument) for argument in arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lamas-local: ")
    return line.removeprefix("lamas-local: ")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(f"run_dir: {tmp_path / 'run'}\nengine: {{kind: fake}}\ncontroller: {{encoder: fake}}\n")
    return file


def test_an_unknown_key_in_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("trainer: {lerning_rate: 1}\n")
    line = sentence(capsys, "train", "--config", file)
    assert line.startswith("trainer.lerning_rate: unknown key (did you mean 'trainer.learning_rate'?)")
    assert str(file) in line


def test_an_unknown_key_on_the_command_line(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    line = sentence(capsys, "train", "--config", config, "--trainer.lerning-rate", "1")
    assert line == "--trainer.lerning-rate: unknown option (did you mean '--trainer.learning-rate'?)"


@pytest.mark.parametrize("name", ["LAMAS_TRAINR__NUM_STEPS", "LAMAS_TRAINER__NUM_STEP"])
def test_an_unknown_key_in_the_environment(
    capsys: pytest.CaptureFixture[str], config: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert "did you mean 'trainer" in sentence(capsys, "train", "--config", config)


def test_a_value_out_of_range(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    line = sentence(capsys, "train", "--config", config, "--controller.threshold", "1.5")
    assert "controller.threshold" in line
    assert "less than or equal to 1" in line
    assert "1.5" in line


def test_a_negative_value_is_a_value_and_no_option(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    assert "objective.cost_weight" in sentence(capsys, "train", "--config", config, "--objective.cost-weight", "-1")


def test_a_missing_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no.yaml: no such file" in sentence(capsys, "train", "--config", tmp_path / "no.yaml")


def test_a_file_that_is_not_yaml(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("seed: [1\n")
    assert "not a YAML mapping" in sentence(capsys, "train", "--config", tmp_path / "bad.yaml")


def test_an_unknown_operator(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    line = sentence(capsys, "train", "--config", config, "--operators", '["Generate", "SelfRefin"]')
    assert "'SelfRefin' is unknown (did you mean 'SelfRefine'?)" in line


def test_an_unknown_policy(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    line = sentence(capsys, "train", "--config", config, "--evaluation.policies", '["fixed:Generte"]')
    assert "unknown operator (did you mean 'Generate'?)" in line


def test_a_run_folder_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path, config: Path) -> None:
    assert "not a run folder" in sentence(capsys, "evaluate", "--run", tmp_path)
    assert "not a run folder" in sentence(capsys, "evaluate")
    assert "holds no run" in sentence(capsys, "train", "--config", config, "--resume")


def test_a_run_folder_without_checkpoint(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    RunFolder(tmp_path).create(make_config(tmp_path), resume=False, restart=False)
    assert "the run folder has no checkpoint" in sentence(capsys, "evaluate", "--run", tmp_path)


def test_a_run_that_is_there_already(capsys: pytest.CaptureFixture[str], tmp_path: Path, config: Path) -> None:
    RunFolder(tmp_path / "run").create(make_config(tmp_path / "run"), resume=False, restart=False)
    line = sentence(capsys, "train", "--config", config)
    assert line.endswith("holds a run already: --resume continues it, --restart replaces it")


def test_an_option_too_many(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert sentence(capsys, "report", tmp_path, "--seed", "1") == "--seed: unknown option"


@pytest.mark.parametrize("arguments", [["bogus"], ["train", "--resume", "--restart"]])
def test_no_such_command(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_no_command_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "train" in capsys.readouterr().out


def test_help_of_train_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = main(["train", "--help"])
    except SystemExit as done:
        status = done.code
    assert status == 0
    out = capsys.readouterr().out
    for option in ("--resume", "--restart", "--config", "--trainer.learning-rate", "--engine.kind"):
        assert option in out
    assert "Adam's step size" in out


def test_help_answers_at_once() -> None:
    def seconds() -> float:
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "lamas_local.cli", "--help"], cwd=ROOT, capture_output=True, check=True)
        return time.monotonic() - started

    assert min(seconds() for _ in range(3)) < 0.5


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom lamas_local.cli import main\n"
        f"try: main({arguments})\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'vllm', 'transformers', 'scipy', 'numpy') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]"
