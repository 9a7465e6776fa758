"""The program in what a model wrote: one that defines the function that was asked for."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator

_FENCE = re.compile(
    r"^[ \t]*```[ \t]*(?:python|py)?\d?[ \t]*\n(.*?)(?=^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE | re.IGNORECASE
)
_CODE_START = re.compile(r"^(?:(?:async )?def |class |import |from |@)", re.MULTILINE)
Function = ast.FunctionDef | ast.AsyncFunctionDef
_MAX_TAIL = 50
"""Lines of prose after code that stands in no block."""


def answer_code(solution: str, problem: str, entry_point: str) -> str | None:
    """A complete program in normal form (no comments, one way of spacing), so that equal programs are equal texts.

    The last ```` ```python ```` block that defines `entry_point`; else the text, where it is code; else a block or
    the text as the body of the function that `problem` begins. Imports and helpers that stand before the function in
    `problem` are put in front where the program does not define them.

    Returns:
        None where nothing of this parses and defines `entry_point`.
    """
    for source in _candidates(solution, problem):
        module = parse_code(source)
        if module is not None and find_function(module, entry_point):
            module.body = _with_preamble(module.body, problem, entry_point)
            return _unparse(module)
    return None


def any_code(solution: str) -> str | None:
    """The last block that is Python and defines a function, else the text where it is such code, in normal form.

    Docstrings are left out: programs that differ in them alone are the same answer.
    """
    for source in _programs(solution):
        module = parse_code(source)
        if module is not None and any(isinstance(node, Function) for node in module.body):
            for node in ast.walk(module):
                if isinstance(node, Function) and ast.get_docstring(node, clean=False) is not None:
                    node.body = node.body[1:] or [ast.Pass()]
            return _unparse(module)
    return None


def find_function(module: ast.Module, name: str) -> Function | None:
    """The function of that name at a module's top level; the last one counts, as it does when the module runs."""
    found = [node for node in module.body if isinstance(node, Function) and node.name == name]
    return found[-1] if found else None


def parse_code(source: str) -> ast.Module | None:
    """The syntax tree, or None where the text is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def preamble(problem: str, entry_point: str) -> list[ast.stmt]:
    """What a problem's text defines before the function it asks for: imports, helper functions, constants."""
    module = parse_code(problem)
    if module is None:
        return []
    function = find_function(module, entry_point)
    return module.body[: module.body.index(function)] if function else []


def _unparse(module: ast.Module) -> str | None:
    try:
        return ast.unparse(module)
    except (RecursionError, ValueError):
        return None


def _blocks(solution: str) -> list[str]:
    """Fenced blocks, the last first; one that is never closed ends with the text."""
    blocks = [block.lstrip("\n") for block in _FENCE.findall(solution)[::-1]]
    # `dedent` also empties blank lines, inside strings too, so only what is indented as a whole goes through it.
    return [textwrap.dedent(block) if block[:1] in (" ", "\t") else block for block in blocks]


def _programs(solution: str) -> Iterator[str]:
    blocks = _blocks(solution)
    yield from blocks
    yield solution
    if not blocks and (start := _CODE_START.search(solution)):
        yield solution[start.start() :]
        yield from _without_tail(solution[start.start() :])


def _candidates(solution: str, problem: str) -> Iterator[str]:
    yield from _programs(solution)
    blocks = _blocks(solution)
    for body in [*blocks, solution]:
        yield problem.rstrip() + "\n" + textwrap.indent(textwrap.dedent(body), "    ")
        yield problem.rstrip() + "\n    " + body.strip()  # its first line continues the problem's last one


def _without_tail(text: str) -> Iterator[str]:
    """The text up to each place where prose may begin: a line that is not indented, the last first."""
    lines = text.split("\n")
    ends = [i for i, line in enumerate(lines) if i and line[:1].strip()]
    for end in ends[: -_MAX_TAIL - 1 : -1]:
        yield "\n".join(lines[:end])


def _with_preamble(body: list[ast.stmt], problem: str, entry_point: str) -> list[ast.stmt]:
    defined = {name for node in body for name in _names(node)}
    missing = [node for node in preamble(problem, entry_point) if not set(_names(node)) <= defined]
    is_first = [isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in body]
    first = [node for node, is_future in zip(body, is_first, strict=True) if is_future]
    rest = [node for node, is_future in zip(body, is_first, strict=True) if not is_future]
    return [*first, *missing, *rest]


def _names(node: ast.stmt) -> list[str]:
    """Names that a statement binds."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []
