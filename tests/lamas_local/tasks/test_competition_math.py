"""MATH: scored as a careful person would, whatever hangs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from lamas_local.config import ConfigError
from lamas_local.tasks import Example, Query
from lamas_local.tasks.competition_math import MathTask, to_example
from lamas_local.tasks.rows import Row


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def task(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MathTask]:
    file = tmp_path_factory.mktemp("math") / "rows.jsonl"
    rows = [{"problem": f"What is ${i} + 1$?", "solution": f"It is $\\boxed{{{i + 1}}}$."} for i in range(10)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = MathTask(file, seed=0)
    yield task
    await task.close()


VARIANTS = [
    # Where the answer is.
    ("5", r"\boxed{5}", 1),
    ("5", r"So $x = \boxed{5}.$", 1),
    ("5", r"First \boxed{4}, but no: \boxed{5}", 1),
    ("4", r"First \boxed{4}, but no: \boxed{5}", 0),
    ("5", r"\fbox{5}", 1),
    ("5", r"\boxed 5", 1),
    (r"\frac{1}{2}", r"\boxed{\frac{1}{2}} of all, since $\frac{2}{4}$ is that", 1),
    (r"\frac{1}{2}", r"The result is \boxed{\frac{1}{2}", 1),
    ("5", "The answer is 5.", 1),
    ("5", "The final answer is $5$. I hope it is correct.", 1),
    ("5", "Answer: **5**", 1),
    ("5", "Since $x + 1 = 6$, we find that $x$ must be 5.", 1),
    ("5", "We add $2$ and $3$.\nThis gives $5$.", 1),
    ("5", "5", 1),
    ("5", "x = 5", 1),
    ("5", "I do not know.", 0),
    ("5", "", 0),
    ("5", r"\boxed{}", 0),
    # Numbers.
    ("10080", "10,080", 1),
    (r"10,\!080", "10080", 1),
    (r"11,\! 111,\! 111,\! 100", r"\boxed{11{,}111{,}111{,}100}", 1),
    ("58500", "58,501", 0),
    (r"\frac{3}{2}", "1.5", 1),
    ("1.5", r"\frac32", 1),
    (r"\frac{3}{2}", "3/2", 1),
    (r"\frac{3}{2}", r"\dfrac{3}{2}", 1),
    (r"\frac{3}{2}", r"\tfrac 3 2", 1),
    (r"\frac{3}{2}", "2/3", 0),
    (r"\frac{1}{3}", "0.33", 0),
    (r"\frac{1}{3}", "0.333333", 0),
    (r"1\frac{4}{5}", r"\frac{9}{5}", 1),
    (r"137 \frac{1}{2}", "137.5", 1),
    (".0000672", r"6.72 \times 10^{-5}", 1),
    (".0000672", "6.72e-5", 1),
    (".0000672", "0.0000673", 0),
    ("18.90", r"\$18.9", 1),
    ("9", r"\boxed{3^2}", 1),
    ("-50", "−50", 1),
    ("-50", "50", 0),
    ("9", "9.", 1),
    # Units, degrees, percent.
    (r"90^\circ", "90", 1),
    ("90", r"\boxed{90^{\circ}}", 1),
    (r"90^\circ", "90 degrees", 1),
    (r"90^\circ", r"\boxed{90°}", 1),
    (r"15\mbox{ cm}^2", r"\boxed{15 \text{ cm}^2}", 1),
    ("864", r"\boxed{864 \text{ square inches}}", 1),
    (r"5.4 \text{ cents}", "5.4", 1),
    ("15", r"\boxed{15\%}", 1),
    ("0.15", r"\boxed{15\%}", 1),
    ("0.15", "15", 0),
    # Roots, pi, expressions.
    (r"3\sqrt{13}", r"\boxed{3 \sqrt {13}}", 1),
    (r"3\sqrt{13}", r"\sqrt{117}", 1),
    (r"3\sqrt{13}", "3sqrt(13)", 1),
    (r"3\sqrt{13}", "3√13", 1),
    (r"3\sqrt{13}", "10.8", 0),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}", 1),
    (r"18+2\pi", r"2(9 + \pi)", 1),
    (r"12\pi", "12π", 1),
    (r"\pi", "3.14", 0),
    ("p - q", "-q + p", 1),
    ("p - q", "q - p", 0),
    ("(a+5)(b+2)", r"\boxed{ab + 2a + 5b + 10}", 1),
    ("2k+2", r"\boxed{2(k+1)}", 1),
    ("2k", "2n", 0),
    (r"\cot x", r"\boxed{\frac{\cos x}{\sin x}}", 1),
    ("6 - 5i", "-5i + 6", 1),
    ("6 - 5i", "6 + 5i", 0),
    # Equations.
    ("x=5", "5", 1),
    ("5", r"\boxed{x = 5}", 1),
    ("x=5", r"\boxed{y = 5}", 0),
    ("y = 2x + 3", r"\boxed{2x + 3}", 1),
    ("y = 2x + 3", r"\boxed{2x - y + 3 = 0}", 1),
    ("y = 2x + 3", r"\boxed{y = 3x + 2}", 0),
    # Ordered pairs, sets, intervals.
    ("(1,2)", r"\boxed{(1, 2)}", 1),
    ("(1,2)", r"\boxed{(2, 1)}", 0),
    ("(1,2)", r"\boxed{[1, 2)}", 0),
    ("[1,2)", r"\boxed{(1, 2)}", 0),
    ("(1,2)", r"\boxed{\left( 1, \frac{4}{2} \right)}", 1),
    ("(1,2)", r"\boxed{\{1, 2\}}", 0),
    ("(6,31,-1)", r"\boxed{6, 31, -1}", 1),
    ("(6,31,-1)", r"\boxed{31, 6, -1}", 0),
    ("3, 5, 7", r"\boxed{7, 5, 3}", 1),
    ("3, 5, 7", r"\boxed{\{3, 5, 7\}}", 1),
    ("3, 5, 7", r"\boxed{3, 5}", 0),
    ("3, 5, 7", r"\boxed{3, 5 \text{ and } 7}", 1),
    ("-2,1", r"\boxed{x = -2 \text{ or } x = 1}", 1),
    (r"1 \pm \sqrt{19}", r"\boxed{1 + \sqrt{19}, 1 - \sqrt{19}}", 1),
    (r"1 \pm \sqrt{19}", r"\boxed{1 + \sqrt{19}}", 0),
    ("(3,4]", r"\boxed{(3,4]}", 1),
    ("(3,4]", r"\boxed{[3,4]}", 0),
    (r"(2,\infty)", r"\boxed{x > 2}", 1),
    (r"(2,\infty)", r"\boxed{x \ge 2}", 0),
    (r"x \in [-2,7]", r"\boxed{[-2, 7]}", 1),
    (r"x \in [-2,7]", r"\boxed{-2 \le x \le 7}", 1),
    (r"(0,9) \cup (9,36)", r"\boxed{(9,36) \cup (0,9)}", 1),
    (r"(0,9) \cup (9,36)", r"\boxed{(0,36)}", 0),
    # Matrices.
    (
        r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}",
        r"\boxed{\begin{bmatrix} \frac{1}{5} \\ -\frac{18}{5} \end{bmatrix}}",
        1,
    ),
    (r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}", r"\boxed{\begin{pmatrix} -18/5 \\ 1/5 \end{pmatrix}}", 0),
    # Numerals with a base.
    ("52_8", r"\boxed{52_{8}}", 1),
    ("52_8", r"\boxed{52}", 1),
    ("52_8", r"\boxed{52_9}", 0),
    ("42", r"\boxed{52_8}", 1),
    ("52", r"\boxed{52_8}", 0),
    # Words and letters.
    (r"\text{Evelyn}", r"\boxed{Evelyn}", 1),
    (r"\text{Evelyn}", "The answer is Evelyn.", 1),
    (r"\text{Evelyn}", r"\boxed{\text{Briana}}", 0),
    (r"\text{east}", r"\boxed{\text{East}}", 1),
    (r"\text{even}", r"\boxed{\text{odd}}", 0),
    (r"\text{(C)}", r"\boxed{C}", 1),
    (r"\text{(C)}", r"\boxed{\textbf{(C)}}", 1),
    (r"\text{(C)}", r"\boxed{(B)}", 0),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("gold", "solution", "score"), VARIANTS)
async def test_answers_as_models_write_them(task: MathTask, gold: str, solution: str, score: float) -> None:
    assert await task.score(Example(Query("q", "?"), gold), solution) == score


@pytest.mark.parametrize(
    ("solutions", "answer"),
    [
        ((r"\boxed{\frac12}", r"\boxed{\dfrac{1}{2}}", r"\boxed{0.5}", r"\boxed{1/2}.", r"It is $\frac 1 2$."), "1/2"),
        ((r"\boxed{90^\circ}", r"\boxed{90}", "90."), "90"),
        ((r"\boxed{x = 5}", "5", r"\boxed{5 \text{ cm}}", r"$\boxed{\$5.00}$"), "5"),
        ((r"\boxed{\left( 3, 4 \right)}", "(3,4)"), "(3,4)"),
        ((r"\boxed{\text{East}}", "East"), "East"),
        ((r"\boxed{50\%}", "50"), "50"),
        ((r"\boxed{\sqrt2}", r"\boxed{\sqrt{2}}"), r"\sqrt{2}"),
        (("I do not know what the result could be.", "", r"\boxed{}"), None),
    ],
)  # fmt: skip
def test_equal_answers_are_equal_strings(task: MathTask, solutions: tuple[str, ...], answer: str | None) -> None:
    assert [task.extract_answer(solution) for solution in solutions] == [answer] * len(solutions)


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        ({"problem": "?", "solution": r"\boxed{4}, no \boxed{\frac{1}{2}}."}, r"\frac{1}{2}"),
        ({"problem": "?", "solution": r"\boxed{4}", "answer": "5"}, "5"),
    ],
)
def test_gold_is_the_answer_field_or_the_last_box(row: dict[str, str], gold: str) -> None:
    assert to_example(Row(row, "here", 1), "test").gold == gold


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"problem": "?", "solution": "no box"}, r"no \boxed{}"),
        ({"problem": "?"}, "no field 'solution'"),
        ({"solution": r"\boxed{1}"}, "no field 'problem'"),
    ],
)
def test_malformed_rows(row: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        to_example(Row(row, "rows.jsonl, line 7", 7), "train")
    assert "rows.jsonl, line 7" in str(error.value)
    assert said in str(error.value)


def test_loading_starts_no_process(tmp_path: Path) -> None:
    """The worker takes seconds to start; a run that scores nothing should not wait for it."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"problem": "1?", "answer": "1"}\n{"problem": "2?", "answer": "2"}\n')
    assert MathTask(file, seed=0).num_examples("test") == 1
