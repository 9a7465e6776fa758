"""Gold answers through the shipped scorers: right ones must score 1 and corrupted ones 0.

Reads the published files of a folder (`gsm8k_test.jsonl`, `math500.jsonl`, `humaneval.jsonl.gz`); needs no model.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from bench.command import new_parser, run_command
from bench.corruptions import corrupt_math
from bench.result import open_folder, print_table, write_result
from lamas_local.cli import RUN_FAILED
from lamas_local.config import Config, ConfigError
from lamas_local.sandbox import Sandbox
from lamas_local.tasks import Example, Split, Task, competition_math, gsm8k, humaneval
from lamas_local.tasks.competition_math import MathTask
from lamas_local.tasks.gsm8k import Gsm8kTask
from lamas_local.tasks.humaneval import HumanEvalTask
from lamas_local.tasks.rows import Row, read_file

NAME = "gold_scores"
DEFAULT_DATA = Path("../shared/data")


@dataclass(frozen=True, slots=True)
class Answers:
    """One kind of answer to every row of a benchmark."""

    kind: str
    score: float
    """What they must score."""
    write: Callable[[Row, Example], str]
    num_allowed: int = 0
    """How many may score otherwise."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A published file, its scorer, and the answers to give it."""

    name: str
    file: str
    to_example: Callable[[Row, Split], Example]
    load: Callable[[Path, Sandbox], Task]
    answers: tuple[Answers, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """How one kind of answer scored."""

    benchmark: str
    answers: str
    expected: float
    num_rows: int
    num_as_expected: int
    num_needed: int
    otherwise: tuple[str, ...]
    """Ids of the queries where the score was another."""
    seconds: float


def _plus_one(row: Row, example: Example) -> str:
    reasoning, _, _ = row.text("answer").rpartition("####")
    return f"{reasoning}#### {Fraction(example.gold) + 1}"


BENCHMARKS = (
    Benchmark(
        "GSM8K test",
        "gsm8k_test.jsonl",
        gsm8k.to_example,
        lambda file, sandbox: Gsm8kTask(file, seed=0),
        (
            Answers("the row's full solution", 1, lambda row, example: row.text("answer")),
            Answers("the number alone", 1, lambda row, example: example.gold),
            Answers("corrupted: number + 1", 0, _plus_one),
        ),
    ),
    Benchmark(
        "MATH-500",
        "math500.jsonl",
        competition_math.to_example,
        lambda file, sandbox: MathTask(file, seed=0),
        (
            Answers("the row's full solution", 1, lambda row, example: row.text("solution"), num_allowed=2),
            Answers(
                "the answer written otherwise: + 1 - 1",
                1,
                lambda row, example: f"\\boxed{{{corrupt_math(example.gold, '+1-1')}}}",
                num_allowed=14,  # 8 answers are words or letters and 6 numerals with a base
            ),
            Answers("corrupted: another value", 0, lambda row, example: f"\\boxed{{{corrupt_math(example.gold)}}}"),
        ),
    ),
    Benchmark(
        "HumanEval",
        "humaneval.jsonl.gz",
        humaneval.to_example,
        lambda file, sandbox: HumanEvalTask(file, 0, sandbox),
        (
            Answers("the canonical body", 1, lambda row, example: row.text("canonical_solution")),
            Answers("corrupted: `pass` as the body", 0, lambda row, example: "    pass\n"),
        ),
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 1 where a target is missed."""
    parser = new_parser(f"python -m bench.{NAME}", "Gold and corrupted answers through the shipped scorers.")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of the published files (%(default)s)")
    return run_command(parser, run, argv)


def run(args: argparse.Namespace, config: Config) -> int:
    """Score, write, print; returns the exit status."""
    if not args.data.is_dir():
        raise ConfigError(f"--data {args.data}: no such folder; it must hold {', '.join(b.file for b in BENCHMARKS)}")
    folder = open_folder(args.output, NAME)
    load_before = os.getloadavg()
    figures = asyncio.run(measure(args.data, Sandbox(config.sandbox)))
    path = write_result(folder, config, {"scores": [asdict(figure) for figure in figures]}, {}, load_before)
    print_table(
        "Gold answers through the shipped scorers",
        ("benchmark", "answers", "must score", "do", "needed", "seconds"),
        [
            (
                figure.benchmark,
                figure.answers,
                f"{figure.expected:.0f}",
                f"{figure.num_as_expected} of {figure.num_rows}",
                str(figure.num_needed),
                f"{figure.seconds:.1f}",
            )
            for figure in figures
        ],
        [
            f"{figure.benchmark}, {figure.answers}: not {', '.join(figure.otherwise)}"
            for figure in figures
            if figure.otherwise
        ],
    )
    print(f"Written to {path}")
    return 0 if all(figure.num_as_expected >= figure.num_needed for figure in figures) else RUN_FAILED


async def measure(data: Path, sandbox: Sandbox, benchmarks: Sequence[Benchmark] = BENCHMARKS) -> list[Figure]:
    """Score every kind of answer to every row."""
    figures = []
    for benchmark in benchmarks:
        task = benchmark.load(data / benchmark.file, sandbox)
        rows = read_file(data / benchmark.file)
        try:
            for answers in benchmark.answers:
                figures.append(await _score(benchmark, answers, rows, task))
        finally:
            await task.close()
    return figures


async def _score(benchmark: Benchmark, answers: Answers, rows: Sequence[Row], task: Task) -> Figure:
    examples = [benchmark.to_example(row, "test") for row in rows]
    started = time.monotonic()
    scores = await asyncio.gather(
        *(task.score(example, answers.write(row, example)) for row, example in zip(rows, examples, strict=True))
    )
    seconds = time.monotonic() - started
    otherwise = [example.query.id for example, score in zip(examples, scores, strict=True) if score != answers.score]
    return Figure(
        benchmark.name,
        answers.kind,
        answers.score,
        len(rows),
        len(rows) - len(otherwise),
        len(rows) - answers.num_allowed,
        tuple(otherwise),
        seconds,
    )


if __name__ == "__main__":
    sys.exit(main())
