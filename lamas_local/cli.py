"""`lamas-local`: the command line. Imports nothing heavy before a command is chosen."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from pathlib import Path

from lamas_local.serve_arguments import add_serve_parser

BAD_INPUT = 2
RUN_FAILED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; bad input is one sentence and status 2, a bug is a traceback."""
    parser = build_parser()
    args, overrides = parser.parse_known_args(argv)
    if args.command is None:
        parser.print_help()
        return BAD_INPUT
    from lamas_local.config import ConfigError
    from serving.types import EngineError, EngineStartError

    try:
        return int(args.run(args, overrides))
    except (ConfigError, EngineStartError) as error:
        print(f"lamas-local: {error}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
            raise
        print(
            f"lamas-local: {error.filename or 'the run folder'}: {error.strerror}; what was saved before is intact",
            file=sys.stderr,
        )
        return BAD_INPUT
    except EngineError as error:
        print(f"lamas-local: the engine stopped: {error}", file=sys.stderr)
        return RUN_FAILED


def build_parser() -> argparse.ArgumentParser:
    """The commands; every setting of the configuration is an option of `train` and `evaluate` besides."""
    parser = argparse.ArgumentParser(
        prog="lamas-local",
        description="Train, measure and serve latency-aware teams of LLM agents on a local vLLM engine.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    train = commands.add_parser("train", add_help=False, help="train a controller, evaluate it, write the report")
    train.add_argument("-h", "--help", action="store_true", help="every option")
    train.add_argument("--config", type=Path, metavar="FILE", help="YAML file of settings")
    group = train.add_mutually_exclusive_group()
    group.add_argument("--resume", action="store_true", help="continue the run in run_dir")
    group.add_argument("--restart", action="store_true", help="replace the run in run_dir")
    train.set_defaults(run=_train, parser=train)

    evaluate = commands.add_parser("evaluate", add_help=False, help="evaluate a trained run again")
    evaluate.add_argument("-h", "--help", action="store_true", help="every option")
    evaluate.add_argument("--run", dest="folder", type=Path, metavar="RUN", help="run folder")
    evaluate.set_defaults(run=_evaluate, parser=evaluate)

    report = commands.add_parser("report", help="write RUN/report.html again")
    report.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    report.set_defaults(run=_report)

    add_serve_parser(commands)

    doctor = commands.add_parser("doctor", help="engine, device, memory, model and encoder: found or not")
    doctor.set_defaults(run=_doctor)
    return parser


def _train(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    from lamas_local.config_loader import load_config

    if args.help:
        return _help(args.parser)
    config = load_config(args.config, overrides, "lamas-local train")
    from lamas_local.commands import run_train

    return run_train(config, resume=args.resume, restart=args.restart)


def _evaluate(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    from lamas_local.config import ConfigError
    from lamas_local.config_loader import load_config

    if args.help:
        return _help(args.parser)
    if args.folder is None or not (args.folder / "config.yaml").is_file():
        raise ConfigError(f"--run {args.folder}: not a run folder (no config.yaml there)")
    config = load_config(args.folder / "config.yaml", overrides, "lamas-local evaluate")
    from lamas_local.commands import run_evaluate

    return run_evaluate(args.folder, config)


def _report(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    _no_overrides(overrides)
    from lamas_local.commands import run_report

    return run_report(args.folder)


def _doctor(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    _no_overrides(overrides)
    from serving import doctor

    text, is_ready = doctor.report()
    print(text)
    return 0 if is_ready else RUN_FAILED


def _no_overrides(overrides: Sequence[str]) -> None:
    from lamas_local.config import ConfigError

    if overrides:
        raise ConfigError(f"{overrides[0]}: unknown option")


def _help(parser: argparse.ArgumentParser) -> int:
    from lamas_local.config_loader import load_config

    print(parser.format_help())
    load_config(None, ["--help"], parser.prog)
    return 0


if __name__ == "__main__":
    sys.exit(main())
