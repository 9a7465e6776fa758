"""The command line of a benchmark that serves a run folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.command import new_parser
from lamas_local.config import ConfigError


class _Run(argparse.Action):
    """The run's configuration is that of the benchmark; dotted settings come over it, for the server too."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        assert isinstance(values, Path)
        namespace.run, namespace.config = values, values / "config.yaml"


def new_run_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with `--run` besides."""
    parser = new_parser(prog, description)
    parser.add_argument("--run", type=Path, action=_Run, metavar="RUN", help="run folder to serve")
    return parser


def check_run(args: argparse.Namespace) -> Path:
    """The run folder.

    Raises:
        ConfigError: none was given.
    """
    if args.run is None:
        raise ConfigError("--run is missing: the run folder to serve")
    run: Path = args.run
    return run


def overrides_of(argv: Sequence[str] | None, parser: argparse.ArgumentParser) -> list[str]:
    """The dotted settings of a command line, to be handed on to the server."""
    return parser.parse_known_args(argv)[1]
