"""GSM8K: the number a careful reader would take, and nothing else."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.config import ConfigError, Gsm8kTaskConfig
from lamas_local.tasks import Example, Query
from lamas_local.tasks.gsm8k import Gsm8kTask, answer_number, to_example
from lamas_local.tasks.rows import Row, read_file
from tests.lamas_local.tasks.benchmark_data import benchmark_file


def write(folder: Path, rows: list[dict[str, str]]) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def some_rows(count: int) -> list[dict[str, str]]:
    return [{"question": f"What is {i} + 1?", "answer": f"It is.\n#### {i + 1}"} for i in range(count)]


@pytest.fixture
def task(tmp_path: Path) -> Gsm8kTask:
    return Gsm8kTask(write(tmp_path, some_rows(10)), seed=0)


@pytest.mark.parametrize(
    ("gold", "solution", "score"),
    [
        # Markers.
        ("18", "#### 18", 1),
        ("18", "9 * 2 = 18\n#### 18\nI am sure of it.", 1),
        ("18", "Answer: 18", 1),
        ("18", "**Answer:** 18 dollars", 1),
        ("18", "Answer:\n\n**18**", 1),
        ("18", "The answer is 18, since 9 * 2 is that.", 1),
        ("18", "So the answer is: $18.", 1),
        ("18", r"\boxed{18}", 1),
        ("18", r"Therefore $\boxed{\$18}$ every day.", 1),
        ("18", r"The final answer is \boxed{18 \text{ dollars}}. There were 16 eggs.", 1),
        ("4", "Answer: 3. No, wait, 1 is missing. Answer: 4", 1),
        ("3", "Answer: 3. No, wait, 1 is missing. Answer: 4", 0),
        ("18", "The answer is the number of eggs times the price:\n#### 18", 1),
        ("8", "Answer: 5 + 3 = 8", 1),
        ("8", "Answer: There are 5 red and 3 blue ones, so 8.", 1),
        ("7", "The answer is 7 of the 12 apples.", 1),
        # No marker.
        ("18", "18", 1),
        ("18", "Janet sells 16 - 3 - 4 = 9 eggs and makes 9 * 2 = $18 a day.", 1),
        ("9", "Janet sells 16 - 3 - 4 = 9 eggs and makes 9 * 2 = $18 a day.", 0),
        ("18", "I do not know.", 0),
        ("18", "", 0),
        # Units, currency, percent, bold, full stops.
        ("18", "18 eggs.", 1),
        ("18", "**18**.", 1),
        ("18", "18.", 1),
        ("18", "$18.00", 1),
        ("18", "€18", 1),
        ("50", "50%", 1),
        ("50", r"50\%", 1),
        ("50", "0.5", 0),
        ("540", "540 meters/week", 1),
        # Thousands separators and decimals.
        ("1234", "1,234", 1),
        ("1234", "1 234 people", 1),
        ("1234", "1\u202f234", 1),
        ("1234", r"\boxed{1{,}234}", 1),
        ("1234", r"$1,\!234$", 1),
        ("1234567", "1.234.567", 1),
        ("1234", "1.234", 0),
        ("1234", "1,23", 0),
        ("70000", "$70,000.00", 1),
        ("100", "In 2020 100 people came: 100", 1),
        ("1/2", "0.5", 1),
        ("1/2", ".5", 1),
        ("5/2", "$2,50", 1),
        # Fractions.
        ("3/4", "0.75", 1),
        ("3/4", "3/4 of a cup", 1),
        ("3/4", r"\frac{3}{4}", 1),
        ("3/4", r"\boxed{\dfrac34}", 1),
        ("-3/4", r"\frac{-3}{4}", 1),
        ("-3/4", r"-\frac{3}{4}", 1),
        ("3/2", "1 1/2 hours", 1),
        ("3/2", r"1\frac{1}{2}", 1),
        ("3/2", "1½ cups", 1),
        ("1/3", "0.33", 0),
        ("3", "6/2", 1),
        # Signs, powers of ten.
        ("-5", "-5", 1),
        ("-5", "−5 degrees", 1),
        ("-5", "-$5.00", 1),
        ("5", "-5", 0),
        ("13", "16-3 is 13", 1),
        ("3", "the difference is 16-3", 1),
        ("1200", "1.2e3", 1),
        ("1200", r"1.2 \times 10^{3}", 1),
        # Words.
        ("18", "The answer is eighteen dollars.", 1),
        ("25", "Answer: twenty-five", 1),
        ("205", "two hundred and five", 1),
        ("18", "The answer is eighty.", 0),
        # Wrong ones, and ones that must not harm.
        ("18", "19", 0),
        ("18", "180", 0),
        ("18", "#### 1e999999999", 0),
        ("18", "#### 1/0", 0),
        ("18", "9" * 10_000, 0),
    ],
)
async def test_answers_as_models_write_them(task: Gsm8kTask, gold: str, solution: str, score: float) -> None:
    assert await task.score(Example(Query("q", "?"), gold), solution) == score


@given(st.fractions(max_denominator=1000).filter(lambda value: abs(value) < 10**12))
def test_a_number_is_found_as_it_was_written(value: Fraction) -> None:
    assert answer_number(f"There were 3.\n#### {value}") == value


@given(st.integers(-(10**12), 10**12))
def test_separators_do_not_change_a_number(value: int) -> None:
    assert answer_number(f"Answer: {value:,}") == value


@given(st.text(max_size=300))
def test_no_text_breaks_it(text: str) -> None:
    answer_number(text)


def test_equal_answers_are_equal_strings(task: Gsm8kTask) -> None:
    assert {task.extract_answer(text) for text in ("Answer: 0.50", "1/2", r"\frac12")} == {"1/2"}
    assert task.extract_answer("no number") is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "?", "answer": "18"}, "must end with '#### ' and a number"),
        ({"question": "?", "answer": "#### none"}, "must end with '#### ' and a number"),
        ({"question": "?", "answer": "#### 1 or 2"}, "must end with '#### ' and a number"),
        ({"question": "?"}, "no field 'answer'; there are question"),
        ({"question": "", "answer": "#### 1"}, "field 'question' must be text that is not empty"),
        ({"question": 3, "answer": "#### 1"}, "field 'question' must be text that is not empty, got 3"),
    ],
)
def test_malformed_rows(row: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        to_example(Row(row, "rows.jsonl, line 7", 7), "train")
    assert "rows.jsonl, line 7" in str(error.value)
    assert said in str(error.value)


def test_positions_past_the_end_start_over(tmp_path: Path) -> None:
    task = Gsm8kTask(Gsm8kTaskConfig(path=write(tmp_path, some_rows(10))).path, seed=0)
    assert (task.num_examples("train"), task.num_examples("test")) == (2, 8)
    assert task.example("test", 9) == task.example("test", 1)
    assert task.example("test", 0) != task.example("test", 1)


async def test_every_gold_answer_of_the_test_set_scores_and_no_other_number_does(task: Gsm8kTask) -> None:
    for row in read_file(benchmark_file("gsm8k_test.jsonl")):
        example = to_example(row, "test")
        reasoning, _, _ = row.text("answer").rpartition("####")
        assert await task.score(example, row.text("answer")) == 1
        assert await task.score(example, example.gold) == 1
        assert await task.score(example, f"{reasoning}#### {Fraction(example.gold) + 1}") == 0
