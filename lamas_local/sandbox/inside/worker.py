"""Runs one program, or one end of a check, and reports what became of it."""

from __future__ import annotations

import builtins
import os
import sys

from lamas_local.sandbox.inside.channel import (
    BEGAN,
    ENDED,
    MAX_MESSAGE_BYTES,
    PeerGoneError,
    receive,
    send,
    write_all,
)
from lamas_local.sandbox.inside.plain import encode

TYPE_CHECKING = False  # typing takes longer to import than the rest together
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PROGRAM_FILE = "<program>"
TESTS_FILE = "<tests>"
_TRACEBACK_LINES = 12
_TRACEBACK_CHARACTERS = 2000
_ONLY_AST = 0x400  # ast.PyCF_ONLY_AST, without the import
# Taken now: the program may replace them.
_getpid, _exit, _modules = os.getpid, os._exit, sys.modules

Report = tuple[str, "str | None", str]
"""Status, value, traceback."""


class CandidateError(Exception):
    """The code under test raised something that is no built-in exception, or returned what is not plain data."""


def work(request: dict[str, Any]) -> None:
    """Do what the request asks, report, and end this process. Nothing of the program runs after its report."""
    pid = _getpid()
    token, report_fd = request["token"], request["report_fd"]
    write_all(report_fd, token + BEGAN)
    stdout: Any = sys.stdout
    stdout.reconfigure(line_buffering=True)  # what was printed before a kill is worth having
    mode: Callable[[dict[str, Any]], Report] = {"program": _program, "serve": _serve, "tests": _tests}[request["mode"]]
    report = mode(request)
    if _getpid() != pid:  # a child that the program forked came back from it too
        _exit(0)
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105, contextlib takes longer to import than all this
            stream.flush()
        except BaseException:
            pass
    encoded = encode(report)
    if len(encoded) > request["max_report_bytes"]:
        encoded = encode(("output-limit", None, f"the value is longer than {request['max_report_bytes']} bytes"))
    write_all(report_fd, token + ENDED + encoded)
    _exit(0)


def _program(request: dict[str, Any]) -> Report:
    name = request["name"]
    try:
        namespace = _new_module("__main__" if name is None else "program")
        _execute(request["code"], namespace)
        if name is None:
            return "ok", None, ""
        return "ok", str(_function(namespace, name)()), ""
    except SystemExit as error:
        if name is None and error.code in (None, 0):
            return "ok", None, ""
        return "error", None, describe(error, request["code"])
    except BaseException as error:
        return _status(error), None, describe(error, request["code"])


def _serve(request: dict[str, Any]) -> Report:
    """The code's end of a check: answers calls of its entry point until the tests end."""
    calls, answers = request["calls_fd"], request["answers_fd"]
    try:
        namespace = _new_module("program")
        _execute(request["code"], namespace)
        function = _function(namespace, request["name"])
    except BaseException as error:
        raised = _raised(error, request["code"])
        send(answers, raised)
        return _status(error), None, raised[3]
    send(answers, ("ready", None))
    pid = _getpid()
    while True:
        try:
            args, kwargs = receive(calls)
        except PeerGoneError:
            return "ok", None, ""
        try:
            answer = encode(("value", function(*args, **kwargs)))
            if len(answer) > MAX_MESSAGE_BYTES:
                raise OverflowError(
                    f"the returned value takes {len(answer)} bytes; at most {MAX_MESSAGE_BYTES} can cross"
                )
        except BaseException as error:
            answer = encode(_raised(error, request["code"]))
        if _getpid() != pid:
            _exit(0)
        write_all(answers, b"%16d" % len(answer) + answer)


class _Candidate:
    """Stands for the entry point in the tests: asks the code's process."""

    def __init__(self, name: str, calls_fd: int, answers_fd: int) -> None:
        self.__name__ = name
        self._calls_fd, self._answers_fd = calls_fd, answers_fd
        self.is_gone = False
        self.raised: tuple[BaseException, str] | None = None
        """The newest exception of the code, and its traceback there."""

    def wait_until_ready(self) -> None:
        self._answer()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            send(self._calls_fd, (args, kwargs))
        except OSError as error:
            self.is_gone = True
            raise PeerGoneError("the program's process is gone") from error
        return self._answer()

    def _answer(self) -> Any:
        try:
            kind, value, *rest = receive(self._answers_fd)
            name, message, trace = (value, *map(str, rest)) if kind == "raised" else (None, "", "")
        except (PeerGoneError, TypeError, ValueError) as error:
            self.is_gone = True
            raise PeerGoneError(f"the program's process did not answer: {error}") from None
        if kind != "raised":
            return value
        exception = _exception(str(name), message)
        self.raised = exception, trace
        raise exception


def _tests(request: dict[str, Any]) -> Report:
    """The trusted end of a check."""
    name = request["name"]
    candidate = _Candidate(name, request["calls_fd"], request["answers_fd"])
    try:
        candidate.wait_until_ready()
        namespace = _new_module("tests")
        namespace[name] = candidate
        _execute(_without(request["code"], name), namespace, TESTS_FILE)
    except BaseException as error:
        text = describe(error, request["code"], TESTS_FILE)
        if candidate.raised is not None and candidate.raised[0] is error:
            text = last_lines(candidate.raised[1])
        return ("gone" if candidate.is_gone else _status(error)), None, text
    return ("gone" if candidate.is_gone else "ok"), None, ""


def _without(tests: str, name: str) -> Any:
    """The tests' syntax tree without definitions of the entry point: a prompt's stub must not hide the code's."""
    tree: Any = compile(tests, TESTS_FILE, "exec", _ONLY_AST)
    tree.body = [node for node in tree.body if getattr(node, "name", None) != name]
    return tree


def _exception(class_name: str, message: str) -> BaseException:
    kind = getattr(builtins, class_name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(message)
        except Exception:  # UnicodeDecodeError, say, takes five arguments
            pass
    return CandidateError(f"{class_name}: {message}")


def _raised(error: BaseException, source: str) -> tuple[str, str, str, str]:
    try:
        message = str(error)[:_TRACEBACK_CHARACTERS]
    except BaseException:
        message = ""
    return "raised", str(type(error).__name__), message, describe(error, source)


def _status(error: BaseException) -> str:
    return "memory" if isinstance(error, MemoryError) else "error"


def _new_module(name: str) -> dict[str, Any]:
    # Registered, because dataclasses and pickle look a class's module up.
    module = type(sys)(name)
    _modules[name] = module
    return module.__dict__


def _execute(source: Any, namespace: dict[str, Any], file: str = PROGRAM_FILE) -> None:
    exec(compile(source, file, "exec", dont_inherit=True), namespace)


def _function(namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    function: Callable[..., Any] | None = namespace.get(name)
    if function is None or not callable(function):
        raise NameError(f"the program defines no function {name!r}")
    return function


def describe(error: BaseException, source: str, file: str = PROGRAM_FILE) -> str:
    """The last lines of its traceback, without this module's own frames."""
    try:
        import linecache
        import traceback

        linecache.cache[file] = (len(source), None, source.splitlines(True), file)

        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != file:
            trace = trace.tb_next
        return last_lines("".join(traceback.format_exception(type(error), error, trace)))
    except BaseException:
        return type(error).__name__


def last_lines(text: str) -> str:
    """As much of the end as a model or a person reads."""
    return "\n".join(text.rstrip().splitlines()[-_TRACEBACK_LINES:])[-_TRACEBACK_CHARACTERS:]
