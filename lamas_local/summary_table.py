"""`summary.json` as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def print_summary(summary: Mapping[str, Any]) -> None:
    """Policies, how well the token proxy stands for the clock, and whether the constraint was kept, if there was one."""
    clock = "simulated" if summary.get("clock") == "simulated" else "measured wall-clock"
    table = Table(title=f"seconds are {clock}; ± is one standard error")
    columns = ("policy", "score", "seconds", "p50", "p95", "CP tokens", "proxy s", "operators", "failed")
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    for name, row in summary["policies"].items():
        table.add_row(
            name,
            with_error(row["score"], row["score_se"], 3),
            with_error(row["wall_latency_s_mean"], row["wall_latency_s_se"], 2),
            number(row["wall_latency_s_p50"], 2),
            number(row["wall_latency_s_p95"], 2),
            number(row["cp_tokens_mean"], 1),
            number(row["proxy_latency_s_mean"], 2),
            number(row["num_operators_mean"], 1),
            f"{row['num_failed']}/{row['num_queries']}",
        )
    console = Console(width=110)
    console.print(table)
    comparison = summary["comparison"]
    console.print(
        "token proxy against the clock: "
        f"Pearson {number(comparison['pearson'], 2)}, Spearman {number(comparison['spearman'], 2)}, "
        f"same critical operator in {number(comparison['critical_agreement'], 2)} of layers, "
        f"mean error {number(comparison['proxy_mape'], 2)} (calibrated {number(comparison['calibrated_mape'], 2)})"
    )
    if constraint := summary.get("constraint"):
        console.print(constraint["sentence"], markup=False, highlight=False)


def number(value: float | None, digits: int) -> str:
    """A figure, or a dash where it is undefined; 0 is a figure."""
    return "–" if value is None else f"{value:.{digits}f}"


def with_error(value: float | None, error: float | None, digits: int) -> str:
    """`value ± standard error`."""
    return number(value, digits) if error is None else f"{number(value, digits)} ± {number(error, digits)}"
