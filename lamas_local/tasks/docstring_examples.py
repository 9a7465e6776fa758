"""The public examples in a problem's own docstring: the only tests that anyone but the scorer may run.

Problems note them in many ways: doctests, `f(2) == 4`, `f(2) ➞ 4`, `f(2) => 4`, `f(2) # returns 4`,
'f(2) should return 4', 'For n = 2 the output should be 4', and 'Input: 2' above 'Output: 4'.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from lamas_local.tasks.answer_code import find_function, parse_code

Pair = tuple[str, str]
_ARROW = re.compile(r"\s*(?:#\s*)?(?:={1,2}>|-+>|={1,3}|➞|→|returns?\b|(?:should|must|will)\s+(?:return|be)\b|is\b)\s*")
_HEADING = re.compile(r"^[ \t]*(?:for\s+)?examples?[ \t]*:?[ \t]*$", re.IGNORECASE | re.MULTILINE)
_FOR = re.compile(r"\bfor\s+(?=\w+\s*=)(.*?)\bshould\s+be\s+(.*)", re.IGNORECASE)
_INPUT = re.compile(r"\binput\s*:(.*?)\boutput\s*:[ \t]*(.*)", re.IGNORECASE | re.DOTALL)
_ASSIGNMENT = re.compile(r"(?:,|\n)\s*([A-Za-z_]\w*)\s*[=:]\s*")
_AFTER_VALUE = re.compile(r"\s*(?:$|[#.,(])")
_WORDS = {"true": "True", "false": "False", "null": "None"}
_WRAPPERS = {"round", "sorted", "list", "tuple", "set", "len", "abs"}
_MAX_LINES = 8
"""Longest expected value that a docstring spreads over lines."""
_VALUE_NODES = (
    ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.UnaryOp, ast.BinOp,
    ast.USub, ast.UAdd, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Load,
)  # fmt: skip


def docstring_examples(problem: str, entry_point: str) -> tuple[Pair, ...]:
    """Pairs (call, expected value) as Python expressions, in order; `eval(call) == eval(expected)` is the test.

    A call names `entry_point` and otherwise only literals (a doctest may wrap it, as in `round(f(2), 1)`), an
    expected value has only literals and arithmetic. What does not parse so is left out. Where there are doctests,
    nothing else is read.
    """
    module = parse_code(problem)
    function = find_function(module, entry_point) if module is not None else None
    if function is None:
        return ()
    text = _docstring(problem, function)
    parameters = [argument.arg for argument in function.args.args]
    found = list(_doctests(text, entry_point))
    if not found:
        *_, section = _HEADING.split(text)
        for part in (section, text):
            found = [
                *_calls(part, entry_point),
                *_named(part, entry_point, parameters),
                *_inputs(part, entry_point, parameters),
            ]
            if found:
                break
    return tuple(dict.fromkeys(found))


def _docstring(problem: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """As its source has it: a `\\n` inside an example's string must stay an escape."""
    for node in function.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            source = ast.get_source_segment(problem, node.value) or ""
            return source.lstrip("rRuU")[3:-3] if '"""' in source or "'''" in source else node.value.value
    return ""


def _doctests(text: str, entry_point: str) -> Iterator[Pair]:
    for test in re.finditer(r"^[ \t]*>>>[ \t]*(.*)\n?((?:(?![ \t]*>>>)[ \t]*\S.*\n?)*)", text, re.MULTILINE):
        tree = _expression(test[1])
        if isinstance(tree, ast.Compare) and len(tree.ops) == 1 and isinstance(tree.ops[0], ast.Eq):
            call, expected = tree.left, _value(ast.unparse(tree.comparators[0]))
        elif tree is not None:
            # A doctest without output is one whose value is None.
            call, expected = tree, _value(test[2]) if test[2].strip() else "None"
        else:
            continue
        if expected is not None and _is_call(call, entry_point):
            yield ast.unparse(call), expected


def _calls(text: str, entry_point: str) -> Iterator[Pair]:
    """`f(2) == 4` and its like."""
    for name in re.finditer(rf"(?<![\w.]){re.escape(entry_point)}\(", text):
        for close in re.finditer(r"\)", text[name.end() :]):
            end = name.end() + close.end()
            call = _expression(text[name.start() : end])
            if call is not None:
                arrow = _ARROW.match(text, end)
                expected = _value(text[arrow.end() :]) if arrow else None
                if expected is not None and _is_call(call, entry_point):
                    yield ast.unparse(call), expected
                break


def _named(text: str, entry_point: str, parameters: list[str]) -> Iterator[Pair]:
    """`For a = 1, b = 2 the output should be 3`."""
    for line in text.split("\n"):
        if found := _FOR.search(line):
            yield from _from_arguments(found[1], found[2], entry_point, parameters)


def _inputs(text: str, entry_point: str, parameters: list[str]) -> Iterator[Pair]:
    """`Input: 1` above `Output: 3`."""
    for part in re.split(r"(?=\binput\s*:)", text, flags=re.IGNORECASE):
        if found := _INPUT.search(part):
            yield from _from_arguments(found[1], found[2], entry_point, parameters)


def _from_arguments(written: str, expected: str, entry_point: str, parameters: list[str]) -> Iterator[Pair]:
    arguments, value = _arguments(written, parameters), _value(expected)
    if arguments is not None and value is not None:
        yield f"{entry_point}({', '.join(arguments[name] for name in parameters)})", value


def _arguments(written: str, parameters: list[str]) -> Mapping[str, str] | None:
    """A value for every parameter, from `a = 1, b = 2` or, where there is one parameter, from `1`."""
    if len(parameters) == 1 and (value := _value(written)) is not None:
        return {parameters[0]: value}
    parts = _ASSIGNMENT.split("," + written.strip())
    values = [_value(text) for text in parts[2::2]]
    names = parts[1::2] if set(parts[1::2]) == set(parameters) else parameters  # some docstrings name them otherwise
    found = {name: value for name, value in zip(names, values, strict=False) if value is not None}
    return found if len(values) == len(parameters) == len(found) else None


def _value(text: str) -> str | None:
    """The value that a text begins with, over several lines where a bracket is open; None without one."""
    lines = text.split("\n")
    for count in range(1, min(len(lines), _MAX_LINES) + 1):
        if (value := _literal("\n".join(lines[:count]))) is not None:
            return value
    line = lines[0]
    for end in range(len(line), 0, -1):
        if line[end - 1] not in " ,\t" and (value := _literal(line[:end])) is not None:
            rest = line[end:]
            if rest.lstrip().startswith("="):  # 1 + 2 = 3
                return _value(rest.lstrip()[1:]) or value
            return value if _AFTER_VALUE.match(rest) or re.match(r"\s+[a-z]", rest) else None
    return None


def _literal(text: str) -> str | None:
    tree = _expression(text.strip().removesuffix("."))
    if isinstance(tree, ast.Name):
        return _WORDS.get(tree.id)
    if tree is None or not all(isinstance(node, _VALUE_NODES) for node in ast.walk(tree)):
        return None
    return ast.unparse(tree)


def _is_call(tree: ast.expr, entry_point: str) -> bool:
    """Whether it calls `entry_point`, with literals, perhaps inside a call of a plain builtin."""
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        return False
    arguments = [*tree.args, *(keyword.value for keyword in tree.keywords)]
    if tree.func.id == entry_point:
        return all(isinstance(node, _VALUE_NODES) for argument in arguments for node in ast.walk(argument))
    is_wrapper = tree.func.id in _WRAPPERS and bool(arguments)
    return is_wrapper and _is_call(arguments[0], entry_point)


def _expression(text: str) -> ast.expr | None:
    module = parse_code(text.strip())
    if module is None or len(module.body) != 1 or not isinstance(module.body[0], ast.Expr):
        return None
    return module.body[0].value
