"""Test: runs the current solution's code on the examples in the problem's own text, and mends it (after MaAS)."""

from __future__ import annotations

from collections.abc import Iterable

from lamas_local.operators.base import OperatorCall, Reads, Update
from lamas_local.prompt import Prompt
from lamas_local.tasks.answer_code import answer_code
from lamas_local.tasks.docstring_examples import docstring_examples

NO_CODE = "there is no Python in it that defines the function"
EXPECT = """
def _expect(call, returned, text, expected):
    assert returned == expected, f"{call} returned {returned!r}, not {text}"
"""


class Test:
    """The current solution, replaced only by one that passes the public examples where it does not.

    It sees the query and the solutions, so neither gold answers nor hidden tests.
    """

    name = "Test"
    description = "Runs the code of the current solution on the examples in the problem and repairs it when one fails."
    reads: Reads = "solution"
    max_added = 1
    needs_sandbox = True
    max_tries = 3

    async def run(self, call: OperatorCall) -> Update:
        """Check, reflect, check again; nothing to check without examples."""
        current = solution = call.solutions[-1]
        unchanged = Update(added=(current,), num_replaced=1)
        examples = docstring_examples(call.problem, call.entry_point) if call.entry_point else ()
        if call.entry_point is None or not examples:
            return unchanged
        tests = write_tests(examples)
        for tries_left in reversed(range(self.max_tries)):
            error = await self._check(call, call.entry_point, solution, tests)
            if not error:
                return Update(added=(solution,), num_replaced=1)
            if tries_left:
                [solution] = await call.ask(self._reflect(call, solution, error))
        return unchanged

    async def _check(self, call: OperatorCall, entry_point: str, solution: str, tests: str) -> str:
        """Why a solution fails; empty where it passes."""
        code = answer_code(solution, call.problem, entry_point)
        if code is None:
            return NO_CODE
        result = await call.check_python(code, entry_point, tests)
        return "" if result.status == "ok" else result.traceback or f"the run ended with: {result.status}"

    def _reflect(self, call: OperatorCall, solution: str, error: str) -> Prompt:
        return Prompt(
            instruction=call.prompts.reasoning("Find out why the code fails, then write the whole function correctly"),
            problem=call.problem,
            solutions=(("Code", solution), ("It fails", error)),
        )


def write_tests(examples: Iterable[tuple[str, str]]) -> str:
    """An assertion for each (call, expected) pair; its message says what was called, returned and expected."""
    lines = [f"_expect({call!r}, {call}, {expected!r}, {expected})" for call, expected in examples]
    return "\n".join([EXPECT, *lines])
