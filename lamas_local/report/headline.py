"""What was trained and what came of it: sentences and tables made from the data."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from lamas_local.report.markup import escape, format_change, format_number, format_unit, format_usd, table
from lamas_local.report.run_folder import RunFolder, number, section

Row = Mapping[str, Any]

_MEANINGS = (
    (
        "pearson",
        "Pearson",
        "1 when measured seconds rise in a straight line with proxy seconds, 0 when they are unrelated",
    ),
    ("spearman", "Spearman", "1 when proxy and clock put the rollouts in the same order"),
    (
        "critical_agreement",
        "Critical agreement",
        "share of layers of two or more operators where proxy and clock name the same critical one",
    ),
    ("proxy_mape", "Proxy error", "mean absolute error of proxy seconds, relative to measured seconds"),
    ("calibrated_mape", "Calibrated error", "the same for the model fitted to this engine's own request timings"),
)


def run_sentence(run: RunFolder) -> str:
    """What was trained, on what, with which penalty."""
    trainer, engine, task = (section(run.config, key) for key in ("trainer", "engine", "task"))
    objective, latency = section(run.config, "objective"), section(run.config, "latency")
    num_steps, planned = len(run.metrics), number(trainer, "num_steps")
    steps = f"{num_steps} of {planned:g}" if planned and num_steps != planned else f"{num_steps}"
    batch = [number(trainer, key) for key in ("queries_per_step", "rollouts_per_query")]
    parts = [f"A controller, trained for {steps} steps" if num_steps else "A controller; no training step is on record"]
    if num_steps and None not in batch:
        parts[0] += f" of {batch[0]:g} × {batch[1]:g} rollouts"
    if task.get("kind"):
        parts.append(f"task {task['kind']}")
    if engine.get("kind"):
        parts.append(f"{engine['kind']} engine" + (f" with {engine['model']}" if engine.get("model") else ""))
    if latency.get("signal") and objective.get("credit"):
        parts.append(f"latency signal {latency['signal']}, credit rule {objective['credit']}, {_goal(objective)}")
    return "; ".join(parts) + "."


def _goal(objective: Row) -> str:
    """What the seconds are weighed by."""
    if objective.get("kind") == "latency_budget":
        return f"{objective.get('latency_budget_statistic')} seconds at most {objective.get('latency_budget_s')}"
    if objective.get("kind") == "score_floor":
        return f"score at least {objective.get('score_floor_share')} of the baseline's"
    return f"weight {objective.get('latency_weight', '?')} per second"


def constraint_sentence(run: RunFolder) -> str:
    """Whether the trained policy kept its budget or floor; empty where there was none."""
    return str(run.constraint.get("sentence", ""))


def clock(run: RunFolder) -> str:
    """Whose seconds these are: `measured`, or `simulated`, in virtual time or in replicas."""
    engine = section(run.config, "engine")
    return "simulated" if "simulated" in (engine.get("kind"), section(engine, "replica").get("kind")) else "measured"


def result_sentence(run: RunFolder) -> str:
    """The trained policy against the initial one; what training alone shows when they were not evaluated."""
    trained, initial = run.policies.get("trained"), run.policies.get("initial")
    if trained and initial:
        return _comparison_sentence(trained, initial)
    if trained:
        seconds, score = number(trained, "wall_latency_s_mean"), number(trained, "score")
        return (
            f"The trained policy takes {format_unit(seconds, 's')} per query and scores {format_number(score)}; "
            "no initial policy was evaluated beside it."
        )
    return _training_sentence(run)


def _comparison_sentence(trained: Row, initial: Row) -> str:
    facts = []
    for key, error_key, verb, unit in (
        ("wall_latency_s_mean", "wall_latency_s_se", "takes", " s per query"),
        ("cp_tokens_mean", "", "has a critical path of", " tokens"),
        ("score", "score_se", "scores", ""),
    ):
        new, old = number(trained, key), number(initial, key)
        if new is None or old is None:
            continue
        notes = [note for note in (format_change(new, old), _verdict(trained, initial, key, error_key)) if note]
        facts.append(
            f"{verb} {format_number(new)}{unit} against {format_number(old)}"
            + (f" ({', '.join(notes)})" if notes else "")
        )
    return (
        f"Against the initial policy, the trained one {_listed(facts)}." if facts else "The summary holds no figures."
    )


def _verdict(trained: Row, initial: Row, key: str, error_key: str) -> str:
    """Whether a difference is more than noise, by the standard errors of both means."""
    new, old = number(trained, key), number(initial, key)
    errors = number(trained, error_key), number(initial, error_key)
    if new is None or old is None or errors[0] is None or errors[1] is None:
        return ""
    is_beyond = abs(new - old) > 2 * math.hypot(errors[0], errors[1])
    return "beyond two standard errors" if is_beyond else "within two standard errors"


def _training_sentence(run: RunFolder) -> str:
    if not run.metrics:
        return "Nothing has been measured yet."
    num_steps = max(1, len(run.metrics) // 5)
    facts = []
    for key, name, unit in (
        ("wall_latency_s", "seconds", " s"),
        ("cp_tokens", "the critical path", " tokens"),
        ("score", "score", ""),
    ):
        first, last = (_mean(rows, key) for rows in (run.metrics[:num_steps], run.metrics[-num_steps:]))
        if first is not None and last is not None:
            facts.append(f"{name} went from {format_number(first)} to {format_number(last)}{unit}")
    figures = f"from the first fifth of training to the last, {_listed(facts)}" if facts else "training left no figures"
    return f"Not evaluated yet; {figures}."


def _mean(rows: tuple[dict[str, Any], ...], key: str) -> float | None:
    values = [value for row in rows if (value := number(row, key)) is not None]
    return sum(values) / len(values) if values else None


def _listed(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def tiles(run: RunFolder) -> str:
    """The three figures that matter, trained against initial; empty without both policies."""
    trained, initial = run.policies.get("trained"), run.policies.get("initial")
    if not trained or not initial:
        return ""
    parts = []
    for key, name, unit in (
        ("wall_latency_s_mean", "Seconds per query", " s"),
        ("cp_tokens_mean", "Critical path", " tokens"),
        ("score", "Score", ""),
    ):
        new, old = number(trained, key), number(initial, key)
        change = format_change(new, old) if new is not None and old is not None else ""
        if key == "wall_latency_s_mean" and clock(run) == "simulated":
            name = f"{name}, simulated"
        parts.append(
            f'<div class="tile"><div class="muted">{escape(name)}</div>'
            f'<div class="value">{format_number(new)}<small>{escape(unit)}</small></div>'
            f'<div class="muted">initial {format_number(old)}{f" · {change}" if change else ""}</div></div>'
        )
    return f'<div class="tiles">{"".join(parts)}</div>'


def policies_table(run: RunFolder) -> str:
    """A row for every evaluated policy."""
    header = (
        "policy", "queries", "failed", "score", "seconds", "p50", "p95", "CP tokens", "proxy s", "cost", "ops",
    )  # fmt: skip
    rows = (
        (
            re.sub("([+:])", "\\1\u200b", name),  # where a long policy name may break
            _count(row, "num_queries"),
            _count(row, "num_failed"),
            _with_error(row, "score", "score_se"),
            _with_error(row, "wall_latency_s_mean", "wall_latency_s_se"),
            format_number(number(row, "wall_latency_s_p50")),
            format_number(number(row, "wall_latency_s_p95")),
            format_number(number(row, "cp_tokens_mean")),
            format_number(number(row, "proxy_latency_s_mean")),
            format_usd(number(row, "cost_usd_mean")),
            format_number(number(row, "num_operators_mean")),
        )
        for name, row in run.policies.items()
    )
    note = (
        f"Means per query, ± one standard error; seconds are {clock(run)}, p50 and p95 are their quantiles; "
        "ops: operators."
    )
    return f'<div class="policies">{table(header, rows)}</div><p class="muted">{note}</p>'


def comparison_table(run: RunFolder) -> str:
    """How well the token proxy stands for the clock; rows without a value are dashes, but for what was not fitted."""
    rows = (
        (name, _percent(value) if "mape" in key or key == "critical_agreement" else format_number(value), meaning)
        for key, name, meaning in _MEANINGS
        if (value := number(run.comparison, key)) is not None or key != "calibrated_mape"
    )
    return table(("proxy against clock", "value", "what it means"), rows)


def _percent(value: float | None) -> str:
    return format_number(value) if value is None else f"{value:.0%}"


def _count(row: Row, key: str) -> str:
    value = number(row, key)
    return format_number(value) if value is None else f"{value:,.0f}"


def _with_error(row: Row, key: str, error_key: str) -> str:
    value, error = number(row, key), number(row, error_key)
    return format_number(value) if error is None else f"{format_number(value)} ± {format_number(error)}"
