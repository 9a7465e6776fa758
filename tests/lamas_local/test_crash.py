"""Killed, out of disk, without its engine: resumed, a run is the one that it would have been."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.killed_run import differences, read_contents
from lamas_local.checkpoint import load_checkpoint
from lamas_local.cli import main
from lamas_local.run_folder import RunFolder
from serving.fake_engine import FakeEngine
from serving.types import Completion, EngineDeadError, GenerationRequest
from tests.lamas_local.builders import write_config

RUN: dict[str, Any] = {
    "trainer": {"num_steps": 6, "checkpoint_every": 2},
    "evaluation": {"policies": ["trained", "lamas", "fixed:Generate"], "num_queries": 4},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    assert main(write_config(run, **RUN)) == 0
    return run


def assert_as_if_nothing_had_been(run: Path, whole: Path) -> None:
    assert differences(read_contents(run), read_contents(whole)) == ()
    assert (run / "report.html").exists()


def test_what_differs_is_found(tmp_path: Path, whole: Path) -> None:
    run = tmp_path / "run"
    assert main(write_config(run, **RUN, seed=1)) == 0
    found = " ".join(differences(read_contents(run), read_contents(whole)))
    for name in ("checkpoints/step-000006/state.safetensors", "metrics.jsonl", "traces.jsonl"):
        assert f" {name}: is not as in the whole run" in f" {found}"
    traces = RunFolder(whole).traces.read_bytes()
    RunFolder(run).traces.write_bytes(traces + traces.splitlines(keepends=True)[0])
    (run / ".half.tmp").touch()
    found = " ".join(differences(read_contents(run), read_contents(whole)))
    assert "is there 2 times" in found
    assert ".half.tmp is left" in found


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    """The short form of `python -m bench.crash --kills 50`; in a process of its own, as that adopts orphans."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.crash", "--kills", "3", "--steps", "6", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "crash" / "result.json").read_text())["figures"]
    assert figures["num_kills"] >= 3
    assert figures["num_different"] == figures["num_left"] == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own; its size is changed by mounting it again."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or resize(place, 4096, "-t", "tmpfs", "none") != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def resize(place: Path, kib: int, *mount: str) -> int:
    return subprocess.run(["mount", "-o", f"size={kib}k{'' if mount else ',remount'}", *mount, str(place)]).returncode


@pytest.mark.parametrize("kib", [64, 500, 1000, 2000, 3000])
def test_on_a_disk_that_is_full_it_stops_with_a_sentence_and_goes_on_where_there_is_room(
    small_disk: Path, whole: Path, capsys: pytest.CaptureFixture[str], kib: int
) -> None:
    run = small_disk / "run"
    arguments = write_config(run, **RUN)
    resize(small_disk, kib)
    assert main(arguments) == 2
    *_, sentence = capsys.readouterr().err.splitlines()
    assert "No space left on device; what was saved before is intact" in sentence
    resize(small_disk, 16_384)
    assert main([*arguments, "--resume"] if RunFolder(run).holds_run else arguments) == 0
    assert_as_if_nothing_had_been(run, whole)


class DyingEngine(FakeEngine):
    """Is dead from the request on whose id begins so."""

    at = ""

    async def generate(self, request: GenerationRequest) -> Completion:
        if request.request_id.startswith(self.at):
            raise EngineDeadError("the core process died")
        return await super().generate(request)


@pytest.mark.parametrize("at", ["train-1/", "train-4/", "lamas-6/", "fixed:Generate-0/arithmetic-test-2/"])
def test_after_its_engine_died_it_goes_on(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], at: str
) -> None:
    run, arguments = tmp_path / "run", write_config(tmp_path / "run", **RUN)
    with monkeypatch.context() as patch:
        patch.setattr(DyingEngine, "at", at)
        patch.setattr("lamas_local.engines.FakeEngine", DyingEngine)
        assert main(arguments) == 1
    assert "the engine stopped: the core process died" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert_as_if_nothing_had_been(run, whole)


def test_a_damaged_checkpoint_takes_the_run_back_to_the_one_before(
    tmp_path: Path, whole: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, arguments = tmp_path / "run", write_config(tmp_path / "run", **RUN)
    assert main(arguments) == 0
    newest = run / "checkpoints" / "step-000006" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"\0")
    assert load_checkpoint(run / "checkpoints").step == 4
    assert main([*arguments, "--resume"]) == 0
    assert "step-000006: the checkpoint cannot be read" in caplog.text
    assert_as_if_nothing_had_been(run, whole)


def test_a_damaged_line_is_an_error_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, arguments = tmp_path / "run", write_config(tmp_path / "run", **RUN)
    assert main(arguments) == 0
    lines = RunFolder(run).traces.read_bytes().splitlines(keepends=True)
    RunFolder(run).traces.write_bytes(b"".join([lines[0], b"\xff" + lines[1], *lines[2:]]))
    assert main([*arguments, "--resume"]) == 2
    *_, sentence = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"lamas-local: {RunFolder(run).traces}, line 2: damaged (")
