"""Programmer: writes a program that computes the answer, runs it, mends it (after PAL, Gao et al. 2023, and MaAS)."""

from __future__ import annotations

from lamas_local.operators.base import OperatorCall, OperatorError, Reads, Update
from lamas_local.operators.code_block import code_block
from lamas_local.prompt import Prompt
from lamas_local.sandbox import SandboxResult
from lamas_local.trace import Failure

FUNCTION = "solve"
INSTRUCTION = (
    f"Write a Python function `{FUNCTION}()` without arguments that computes the answer to the problem and returns it. "
    "Use only the standard library. Reply with nothing but the code."
)


class Programmer:
    """One more solution: what the program returned, written as the task writes answers."""

    name = "Programmer"
    description = "Writes and runs a Python program that computes the answer exactly, and repairs it when it fails."
    reads: Reads = "solution_if_any"
    max_added = 1
    needs_sandbox = True
    max_tries = 3

    async def run(self, call: OperatorCall) -> Update:
        """Ask, run, and ask again with the error.

        Raises:
            OperatorError: no try returned a value.
        """
        prompt = Prompt(INSTRUCTION, call.problem)
        if call.solutions:
            prompt = Prompt(
                INSTRUCTION,
                call.problem,
                solutions=(("A solution, which may be wrong", call.solutions[-1]),),
                question=f"Now the code of `{FUNCTION}()`.",
            )
        error = ""
        for _ in range(self.max_tries):
            [text] = await call.ask(prompt)
            code = code_block(text, FUNCTION)
            result = await call.run_python(code, FUNCTION)
            if not (error := _error(result)):
                return Update(added=(call.prompts.write_answer((result.value or "").strip()),))
            prompt = Prompt(
                INSTRUCTION,
                call.problem,
                solutions=(("This code fails", code), ("The error", error)),
                question="Reply with the corrected code.",
            )
        raise OperatorError(Failure("NoProgram", f"no program of {self.max_tries} returned an answer: {error}"))


def _error(result: SandboxResult) -> str:
    """What to tell the model; empty where the function returned something."""
    if result.status != "ok":
        return result.traceback or f"the run ended with: {result.status}"
    if result.value is None or result.value.strip() in ("", "None"):
        return f"{FUNCTION}() returned nothing"
    return ""
