"""Bad input is one sentence and status 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench import ablation, credit_signals, engine_utilisation, execution_modes

Main = Callable[[Sequence[str]], int]
REPEATING = pytest.mark.parametrize("main", [execution_modes.main, engine_utilisation.main])
PROGRAMS = pytest.mark.parametrize(
    "main", [execution_modes.main, engine_utilisation.main, ablation.main, credit_signals.main]
)


@PROGRAMS
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--sampling.max-token", "3"], "unknown option"),
        (["--sampling.max-tokens", "0"], "sampling.max_tokens"),
        (["--repeat", "2"], "unknown option"),
    ],
)
def test_bad_settings(
    main: Main, flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--output", str(tmp_path), *flags]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert error.startswith("python -m bench.")


@REPEATING
def test_bad_number(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--repeats", "0"])
    assert exit_.value.code == 2
    assert "0 is not at least 1" in capsys.readouterr().err


@PROGRAMS
def test_output_that_is_a_file(
    main: Main, config_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    flags = ["--config", config_file, "--output", str(tmp_path / "taken")]
    assert main(flags) == 2
    assert "--output" in capsys.readouterr().err


@REPEATING
def test_an_operator_that_the_fixed_architectures_need(
    main: Main, config_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(config_file).write_text(Path(config_file).read_text() + "operators: [Generate, GenerateCoT]\n")
    assert main(["--config", config_file, "--output", str(tmp_path)]) == 2
    assert "MultiGenerateCoT" in capsys.readouterr().err
