"""The command line of `lamas-local serve`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

KEY_VARIABLE = "LAMAS_API_KEY"


def add_serve_parser(commands: Any) -> None:
    """Add the command to argparse's `commands`."""
    from serving.http.settings import ServerSettings

    default = ServerSettings()
    serve = commands.add_parser("serve", add_help=False, help="serve a trained run behind OpenAI's API")
    serve.add_argument("-h", "--help", action="store_true", help="every option")
    serve.add_argument("--run", dest="folder", type=Path, metavar="RUN", help="run folder")
    serve.add_argument(
        "--api-key", dest="api_keys", action="append", metavar="KEY", help=f"repeatable; {KEY_VARIABLE} works too"
    )
    serve.add_argument("--log-content", action="store_true", help="log the text of prompts and answers")

    def add(name: str, kind: Callable[[str], Any], metavar: str, text: str) -> None:
        flag = "--" + name.replace("_", "-")
        serve.add_argument(
            flag, dest=name, type=kind, metavar=metavar, default=getattr(default, name), help=f"{text} (%(default)s)"
        )

    add("host", str, "ADDRESS", "address to listen on")
    add("port", _port, "PORT", "port to listen on; 0 takes a free one")
    add("max_in_flight", _count, "N", "most queries being answered at once")
    add("max_queued", _count_or_none, "N", "most queries waiting; the next one gets 429")
    add("queries_per_s", _seconds, "RATE", "most queries that begin in a second")
    add("query_timeout_s", _seconds, "S", "longest time of a query, queue included")
    add("header_timeout_s", _seconds, "S", "longest time for a request's headers")
    add("body_timeout_s", _seconds, "S", "longest time for a request's body")
    add("write_timeout_s", _seconds, "S", "how long a client may leave its answer unread")
    add("keep_alive_s", _seconds, "S", "how long an idle connection is kept after an answer")
    add("max_body_bytes", _count, "BYTES", "largest body")
    add("max_header_bytes", _count, "BYTES", "most bytes before a body begins")
    add("max_connections", _count, "N", "beyond it the connection idle for longest is closed")
    serve.add_argument(
        "--shutdown-timeout",
        dest="shutdown_timeout_s",
        type=_seconds,
        metavar="S",
        default=default.shutdown_timeout_s,
        help="how long accepted queries may go on after SIGTERM (%(default)s)",
    )
    serve.set_defaults(run=_serve, parser=serve)


def _serve(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    from lamas_local.config import ConfigError
    from lamas_local.config_loader import load_config
    from serving.http.settings import ServerSettings

    if args.help:
        print(args.parser.format_help())
        load_config(None, ["--help"], args.parser.prog)
        return 0
    if args.folder is None or not (args.folder / "config.yaml").is_file():
        raise ConfigError(f"--run {args.folder}: not a run folder (no config.yaml there)")
    config = load_config(args.folder / "config.yaml", overrides, "lamas-local serve")
    settings = {field.name: getattr(args, field.name) for field in fields(ServerSettings)}
    settings["api_keys"] = api_keys(args.api_keys or ())
    from lamas_local.serve_command import run_serve

    return run_serve(args.folder, config, ServerSettings(**settings))


def api_keys(given: Sequence[str]) -> tuple[str, ...]:
    """The keys of the command line and of the environment.

    Raises:
        ConfigError: one is empty or has characters that no header can carry.
    """
    from lamas_local.config import ConfigError

    keys = (*given, *([os.environ[KEY_VARIABLE]] if KEY_VARIABLE in os.environ else []))
    for key in keys:
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError("--api-key: a key is at least one printable ASCII character, without spaces")
    return tuple(keys)


def _count(text: str) -> int:
    return _at_least(1, int(text))


def _count_or_none(text: str) -> int:
    return _at_least(0, int(text))


def _port(text: str) -> int:
    value = _at_least(0, int(text))
    if value > 65535:
        raise argparse.ArgumentTypeError(f"{value} is more than 65535")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def _at_least(least: int, value: int) -> int:
    if value < least:
        raise argparse.ArgumentTypeError(f"{value} is not at least {least}")
    return value
