"""A benchmark's command line: its own flags, then dotted settings of the configuration."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lamas_local.cli import BAD_INPUT, RUN_FAILED
from lamas_local.config import Config, ConfigError
from lamas_local.config_loader import load_config
from serving.types import EngineError, EngineStartError

DEFAULT_OUTPUT = Path("runs/bench")


def new_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with `--config` and `--output`; the benchmark adds its own."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog="Every setting is an option too, such as --sampling.max-tokens 32: see `lamas-local train --help`.",
        allow_abbrev=False,  # an abbreviation must not swallow a setting
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of settings")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", default=DEFAULT_OUTPUT, help="result.json goes to DIR/NAME (%(default)s)"
    )
    return parser


def positive(text: str) -> int:
    """An integer of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def run_command(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace, Config], int], argv: Sequence[str] | None
) -> int:
    """Parse, load the configuration, run; bad input is one sentence and status 2, as for `lamas-local`."""
    args, overrides = parser.parse_known_args(argv)
    try:
        return run(args, load_config(args.config, overrides, parser.prog))
    except (ConfigError, EngineStartError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return BAD_INPUT
    except EngineError as error:
        print(f"{parser.prog}: the engine stopped: {error}", file=sys.stderr)
        return RUN_FAILED
