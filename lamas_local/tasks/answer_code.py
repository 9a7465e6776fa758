"""The program in what a model wrote. (Minimal version; under way.)"""

from __future__ import annotations

import ast
import re

_FENCE = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)


def answer_code(solution: str, problem: str, entry_point: str) -> str | None:
    """A program that defines `entry_point`; None where there is none."""
    for source in (*_FENCE.findall(solution), solution):
        try:
            module = ast.parse(source)
        except SyntaxError:
            continue
        if any(isinstance(node, ast.FunctionDef) and node.name == entry_point for node in module.body):
            return ast.unparse(module)
    return None
