"""Gold answers through the shipped scorers, on a sample; the whole of it is `python -m bench.gold_scores`."""

from __future__ import annotations

import dataclasses
import gzip
import random
from pathlib import Path

import pytest

from bench.corruptions import corrupt_math
from bench.gold_scores import BENCHMARKS, Benchmark, main, measure
from lamas_local.config import SandboxConfig
from lamas_local.sandbox import Sandbox
from tests.lamas_local.tasks.benchmark_data import FOLDER, benchmark_file
from tests.lamas_local.tasks.fake_sandbox import FakeSandboxWithoutIsolation

GSM8K, MATH, HUMANEVAL = BENCHMARKS
SAMPLE = 60


def sample(benchmark: Benchmark, folder: Path, count: int | None = None) -> Benchmark:
    """The benchmark on `count` of its rows."""
    source = benchmark_file(benchmark.file)
    data = gzip.decompress(source.read_bytes()) if source.suffix == ".gz" else source.read_bytes()
    lines = data.splitlines(keepends=True)
    lines = lines if count is None else random.Random(0).sample(lines, count)
    (folder / "sample.jsonl").write_bytes(b"".join(lines))
    return dataclasses.replace(benchmark, file="sample.jsonl")


async def check(benchmark: Benchmark, folder: Path, sandbox: Sandbox) -> None:
    figures = await measure(folder, sandbox, [benchmark])
    assert len(figures) == len(benchmark.answers)
    for figure in figures:
        assert figure.num_as_expected >= figure.num_needed, figure


async def test_gsm8k(tmp_path: Path) -> None:
    await check(sample(GSM8K, tmp_path), tmp_path, FakeSandboxWithoutIsolation())


async def test_math(tmp_path: Path) -> None:
    await check(sample(MATH, tmp_path, 200), tmp_path, FakeSandboxWithoutIsolation())


async def test_humaneval_scorer_with_a_fake_sandbox(tmp_path: Path) -> None:
    """Says nothing about the sandbox: that code and tests are put together rightly, for all 164."""
    await check(sample(HUMANEVAL, tmp_path), tmp_path, FakeSandboxWithoutIsolation())


async def test_humaneval_in_the_real_sandbox(tmp_path: Path) -> None:
    await check(sample(HUMANEVAL, tmp_path, SAMPLE), tmp_path, Sandbox(SandboxConfig(wall_s=20, cpu_s=20)))


@pytest.mark.parametrize(
    ("gold", "corrupted"),
    [
        ("5", "(5)+1"),
        (r"\text{(C)}", "d"),
        ("52_8", "51_8"),
        ("(1,2)", "(1+1,2)"),
        (r"(-\infty, 2)", r"(-\infty,2+1)"),
        ("x=5", "x= (5)+1"),
        (r"1 \pm \sqrt{2}", r"1 +1 \pm \sqrt{2}"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1+1\\ 2 \end{pmatrix}"),
    ],
)
def test_corruptions(gold: str, corrupted: str) -> None:
    assert corrupt_math(gold) == corrupted


def test_an_absent_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path), "--data", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert "--data" in error
    assert error.count("\n") == 1


def test_the_folder_is_where_the_tests_look() -> None:
    assert FOLDER.parts[-2:] == ("shared", "data")
