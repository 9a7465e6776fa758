from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lamas_local.report import write_report
from lamas_local.trace import to_json
from tests.lamas_local.report.markup_check import check_html
from tests.lamas_local.report.synthetic import HOSTILE, SUMMARY, make_metrics, make_run, make_trace

TITLES = (
    "Policies",
    "Learning",
    "Can the token proxy be trusted?",
    "What the controller draws",
    "One query on the clock",
    "Setting",
)


def report_text(run_dir: Path) -> str:
    return check_html(write_report(run_dir).read_text(encoding="utf-8"))


def test_a_complete_run_has_every_section(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run", num_steps=6)
    assert write_report(run_dir) == run_dir / "report.html"
    text = report_text(run_dir)
    for title in TITLES:
        assert title in text
    assert "Incomplete run" not in text
    assert "takes 1.21 s per query against 5.41 (−78%, beyond two standard errors)" in text
    assert "scores 0.430 against 0.370 (+16%, within two standard errors)" in text
    assert "0.430 ± 0.047" in text
    assert "Calibrated error" not in text


def test_hostile_text_is_shown_and_never_markup(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "<img src=x onerror=alert(1)> {run}", num_steps=3)
    summary = {"policies": {HOSTILE: SUMMARY["policies"]["trained"]}, "comparison": {"pearson": HOSTILE}}
    (run_dir / "summary.json").write_text(json.dumps(summary))
    (run_dir / "environment.json").write_text(json.dumps({HOSTILE: HOSTILE, "half": "\ud800"}))
    row: dict[str, Any] = {"step": 9, "score": HOSTILE, "operator_probabilities": [{HOSTILE: 0.5}, HOSTILE, None]}
    with (run_dir / "metrics.jsonl").open("a") as lines:
        lines.write(json.dumps(row) + "\n")
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "\x00" not in page
    assert "<script>alert('x')</script> {braces} %s" in check_html(page)


@pytest.mark.parametrize("name", ["metrics.jsonl", "traces.jsonl", "summary.json", "config.yaml", "environment.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "garbage"])
def test_each_file_may_be_missing_or_damaged(tmp_path: Path, name: str, damage: str) -> None:
    run_dir = make_run(tmp_path / "run", num_steps=3)
    if damage == "missing":
        (run_dir / name).unlink()
    else:
        (run_dir / name).write_bytes(b"" if damage == "empty" else b'\xff{"half": [\n')
    text = report_text(run_dir)
    assert "Incomplete run: " in text
    assert name in text


def test_a_run_that_only_has_its_config(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    text = report_text(tmp_path)
    assert "Nothing has been measured yet." in text
    assert "metrics.jsonl is missing; traces.jsonl is missing; summary.json is missing" in text


def test_an_unevaluated_run_reports_what_training_shows(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run", num_steps=10)
    (run_dir / "summary.json").unlink()
    assert "Not evaluated yet; from the first fifth of training to the last, seconds went from" in report_text(run_dir)


def test_a_truncated_last_line_is_skipped(tmp_path: Path) -> None:
    rng = random.Random(0)
    (tmp_path / "metrics.jsonl").write_text(json.dumps(make_metrics(0, 5, rng)) + '\n{"step": 1, "sco')
    line = to_json(make_trace("train", (("Generate",),), rng))
    (tmp_path / "traces.jsonl").write_text(f"{line}\n{line[: len(line) // 2]}")
    text = report_text(tmp_path)
    assert "1 unreadable line of metrics.jsonl skipped" in text
    assert "1 unreadable line of traces.jsonl skipped" in text
    assert "One query on the clock" in text


def test_failures_and_nulls_everywhere(tmp_path: Path) -> None:
    rng = random.Random(0)
    trace = make_trace("trained", (("Generate",),), rng, answer=None)
    (tmp_path / "traces.jsonl").write_text(to_json(trace) + "\n")
    keys = make_metrics(0, 1, rng)
    (tmp_path / "metrics.jsonl").write_text(json.dumps({**dict.fromkeys(keys), "step": 0}) + "\n")
    policy = dict.fromkeys(SUMMARY["policies"]["trained"])
    summary = {"policies": {"trained": policy, "initial": policy}, "comparison": dict.fromkeys(SUMMARY["comparison"])}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    text = report_text(tmp_path)
    assert "Policies" in text
    assert "One query on the clock" not in text


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, exists: bool) -> None:
    run_dir = tmp_path / "other"
    if exists:
        run_dir.mkdir()
    with pytest.raises(ValueError, match="not a run folder"):
        write_report(run_dir)
