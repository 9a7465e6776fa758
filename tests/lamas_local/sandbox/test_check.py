"""Tests that the code under test can neither pass by cheating nor harm."""

# ruff: noqa: E501, a cheat is easier to compare with its neighbours when it stands on one line

from __future__ import annotations

import pytest

from lamas_local.sandbox import Sandbox, Status
from lamas_local.sandbox.isolation import Kind
from tests.lamas_local.sandbox.conftest import LIMITS

PROMPT = '''from typing import List


def double(x: int) -> int:
    """Helper of the problem's own."""
    return 2 * x


def doubled(numbers: List[int]) -> List[int]:
    """Double each.
    >>> doubled([1, 2])
    [2, 4]
    """
'''
TESTS = (
    PROMPT
    + """

METADATA = {"author": "us"}


def check(candidate):
    assert candidate([]) == []
    assert candidate([1, 2]) == [double(1), double(2)]
    assert candidate([10**5000]) == [2 * 10**5000], "large"
    for i in range(50):
        assert candidate([i, -i]) == [2 * i, -2 * i]

check(doubled)
"""
)
RIGHT = PROMPT + "    return [double(x) for x in numbers]\n"


async def test_right(sandbox: Sandbox) -> None:
    result = await sandbox.check(RIGHT, "doubled", TESTS)
    assert (result.status, result.value, result.traceback) == ("ok", None, "")
    assert result.asked <= result.started < result.ended


@pytest.mark.parametrize(
    ("body", "last_line"),
    [
        ("    pass", "AssertionError"),
        ("    return numbers", "AssertionError"),
        ("    return [2 * x for x in numbers if x < 10**9]", "AssertionError: large"),
        ("    return numbers[9]", "IndexError: list index out of range"),
        ("    return undefined", "NameError: name 'undefined' is not defined"),
        ("    return (double(x) for x in numbers)", "NotPlainError: a value of type generator is not plain data"),
        ("    return doubled(numbers)", "RecursionError: maximum recursion depth exceeded"),
        ("    raise AssertionError('mine')", "AssertionError: mine"),
        ("    class Mine(Exception): pass\n    raise Mine('x')", "Mine: x"),
    ],
)
async def test_wrong(sandbox: Sandbox, body: str, last_line: str) -> None:
    result = await sandbox.check(f"{PROMPT}{body}\n", "doubled", TESTS)
    assert result.status == "error"
    assert (
        result.traceback.splitlines()[-1]
        .removeprefix("plain.")
        .removeprefix("program.")
        .split("<locals>.")[-1]
        .startswith(last_line)
    )


async def test_the_failed_test_is_shown(sandbox: Sandbox) -> None:
    result = await sandbox.check(f"{PROMPT}    return numbers\n", "doubled", TESTS)
    assert "assert candidate([1, 2]) == [double(1), double(2)]" in result.traceback


async def test_the_programs_own_lines_are_shown(sandbox: Sandbox) -> None:
    result = await sandbox.check(f"{PROMPT}    return numbers[9]\n", "doubled", TESTS)
    assert "return numbers[9]" in result.traceback
    assert "<tests>" not in result.traceback


@pytest.mark.parametrize("code", ["def doubled(:", "x = 1", "raise ValueError", "import numpy_of_the_caller"])
async def test_code_that_does_not_load(sandbox: Sandbox, code: str) -> None:
    assert (await sandbox.check(code, "doubled", TESTS)).status == "error"


async def test_no_tests_pass_and_broken_tests_do_not(sandbox: Sandbox) -> None:
    assert (await sandbox.check("f = abs", "f", "")).status == "ok"
    assert (await sandbox.check("f = abs", "f", "assert (")).status == "error"


async def test_values_cross_unchanged(sandbox: Sandbox) -> None:
    tests = (
        "import math\n"
        "for x in (None, True, 1, -2.5, 'ä\\0', b'\\xff', [1, [2]], (1,), {'a': (1, 2)}, {1, 2}, frozenset(), 2**9999):\n"
        "    y = f(x)\n"
        "    assert y == x and type(y) is type(x)\n"
        "assert f(math.inf) == math.inf and math.isnan(f(math.nan))\n"
        "x = [1]\n"
        "assert f(x) is not x\n"
        "assert f(x=3) == 3\n"
    )
    result = await sandbox.check("def f(x):\n    return x", "f", tests)
    assert result.status == "ok", result


async def test_an_exception_the_tests_expect(sandbox: Sandbox) -> None:
    tests = "try:\n    f('x')\nexcept ValueError as error:\n    assert 'invalid literal' in str(error)\nelse:\n    assert False"
    assert (await sandbox.check("f = int", "f", tests)).status == "ok"
    assert (await sandbox.check("f = str", "f", tests)).status == "error"


CHEATS: list[tuple[str, str, set[Status]]] = [
    ("equal to all", "class A:\n def __eq__(self, o): return True\ndef doubled(x): return A()", {"error"}),
    ("a list equal to all", "class A(list):\n def __eq__(self, o): return True\ndef doubled(x): return A([1])", {"error"}),
    ("an int equal to all", "class A(int):\n def __eq__(self, o): return True\ndef doubled(x): return [A(1)]", {"error"}),
    ("a dict equal to all", "class A(dict):\n __eq__ = lambda *_: True\ndef doubled(x): return A()", {"error"}),
    ("exit at once", "import os\nos._exit(0)", {"killed"}),
    ("exit when called", "import os\ndef doubled(x): os._exit(0)", {"killed"}),
    ("SystemExit at once", "raise SystemExit(0)", {"error"}),
    ("SystemExit when called", "def doubled(x): raise SystemExit(0)", {"error"}),
    ("KeyboardInterrupt", "def doubled(x): raise KeyboardInterrupt", {"error"}),
    ("kills itself", "import os\ndef doubled(x): os.kill(os.getpid(), 9)", {"killed"}),
    ("kills all", "import os\ndef doubled(x): os.kill(-1, 9)", {"killed", "error"}),
    ("AssertionError replaced", "import builtins\nbuiltins.AssertionError = int\ndef doubled(x): return x", {"error"}),
    ("builtins replaced", "import builtins\nbuiltins.len = builtins.range = lambda *_: ()\ndef doubled(x): return x", {"error", "killed"}),
    ("ast and json replaced", "import ast, json\nast.literal_eval = json.loads = lambda *_: []\ndef doubled(x): return x", {"error"}),
    ("check redefined", "def check(c): pass\ndef doubled(x): return x", {"error"}),
    ("the tests' module patched", "import sys, types\nsys.modules['tests'] = types.ModuleType('tests')\ndef doubled(x): return x", {"error"}),
    ("success printed", "print('ok')\ndef doubled(x): return x", {"error"}),
    ("success written to all files", "import os\nfor fd in range(3, 64):\n try: os.write(fd, b'              27t2:s5:values2:[]')\n except OSError: pass\ndef doubled(x): return x", {"error"}),
    ("all files closed", "import os\ndef doubled(x): os.closerange(0, 64)", {"killed", "error"}),
    ("answers that are no values", "import os\ndef doubled(x):\n for fd in range(3, 64):\n  try: os.write(fd, b'junk' * 99)\n  except OSError: pass", {"error"}),
    ("answer without an end", "import os\ndef doubled(x):\n while True:\n  for fd in range(3, 64):\n   try: os.write(fd, b'9' * 9999)\n   except OSError: pass", {"error", "output-limit", "timeout"}),
    ("a huge answer", "def doubled(x): return 'x' * (20 * 2**20)", {"error"}),
    ("deep nesting", "def doubled(x):\n y = []\n for _ in range(900): y = [y]\n return y", {"error"}),
    ("contains itself", "def doubled(x):\n y = []\n y.append(y)\n return y", {"error"}),
    ("an endless generator", "def doubled(x):\n while True: yield 1", {"error"}),
    ("an endless loop", "def doubled(x):\n while True: pass", {"timeout"}),
    ("all memory", "def doubled(x): return bytearray(10**11)", {"memory"}),
    ("endless output", "def doubled(x):\n while True: print('x' * 999)", {"output-limit"}),
    ("frames", "import sys\ndef doubled(x):\n f = sys._getframe()\n while f:\n  assert 'assert candidate' not in repr(f.f_locals) + repr(f.f_globals)\n  f = f.f_back\n return x", {"error"}),
    ("garbage", "import gc\ndef doubled(x):\n if 'double(2)]' in ''.join(o for o in gc.get_objects() if type(o) is str): return [2, 4]\n return x", {"error"}),
    ("child answers too", "import os\ndef doubled(x):\n os.fork()\n return x", {"error"}),
    ("a thread that answers", "import threading, time\ndef doubled(x):\n threading.Thread(target=time.sleep, args=(99,)).start()\n return x", {"error"}),
    ("atexit", "import atexit, os\natexit.register(os._exit, 0)\ndef doubled(x): return x", {"error"}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "statuses"), [cheat[1:] for cheat in CHEATS], ids=[cheat[0] for cheat in CHEATS])
async def test_cheats(kind: Kind, code: str, statuses: set[Status]) -> None:
    # What ends by itself may take its time on a busy machine.
    wall_s = LIMITS.wall_s if "timeout" in statuses else 5 * LIMITS.wall_s
    result = await Sandbox(LIMITS.model_copy(update={"wall_s": wall_s}), kind).check(code, "doubled", TESTS)
    assert result.status in statuses, result
    assert result.ended - result.started < wall_s + 2


async def test_death_is_not_hidden_by_tests_that_catch_all(sandbox: Sandbox) -> None:
    tests = "try:\n    f()\nexcept BaseException:\n    pass"
    assert (await sandbox.check("import os\ndef f():\n    os._exit(0)", "f", tests)).status == "killed"


async def test_the_tests_are_bounded_too(kind: Kind) -> None:
    sandbox = Sandbox(LIMITS.model_copy(update={"wall_s": 1.0}), kind)
    result = await sandbox.check(
        "def f():\n    return 10**9", "f", "import time\nfor _ in range(f()):\n    time.sleep(1)"
    )
    assert result.status == "timeout"
    assert result.ended - result.started < 4.0


async def test_both_outputs_are_kept(sandbox: Sandbox) -> None:
    result = await sandbox.check("def f():\n    print('code')", "f", "f()\nprint('tests')")
    assert result.output == "code\ntests\n"
