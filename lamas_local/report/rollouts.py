"""What the page shows of single rollouts: the cloud of all of them, and the timeline of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lamas_local.report.figures import Dot, scatter_figure
from lamas_local.report.markup import details, escape, format_number, format_unit, shorten, table
from lamas_local.report.run_folder import RunFolder
from lamas_local.report.timeline import stage_names, timeline_svg
from lamas_local.trace import RolloutTrace, ToolSpan

TRAIN = "train"
MAX_ANSWER_CHARACTERS = 1500


def proxy_scatter(run: RunFolder) -> str:
    """Proxy against measured seconds of every rollout that ran and has an answer; empty without any."""
    # Imported here: scipy takes a second, and `lamas-local --help` should not wait for it.
    from lamas_local.config import LatencyConfig
    from lamas_local.latency import Latency, measure, proxy_agreement

    config = LatencyConfig(tokens_per_second=run.tokens_per_second)
    measured: list[tuple[RolloutTrace, Latency]] = [
        (trace, measure(trace, config)) for trace in run.traces if trace.failure is None and trace.is_live
    ]
    dots = [
        Dot(latency.proxy_s, latency.wall_s, trace.policy == TRAIN, _dot_title(trace, latency.proxy_s, latency.wall_s))
        for trace, latency in measured
    ]
    correlations = {
        is_training: proxy_agreement([lat for trace, lat in measured if (trace.policy == TRAIN) is is_training]).pearson
        for is_training in (True, False)
    }
    return scatter_figure(dots, correlations)


def _dot_title(trace: RolloutTrace, proxy_s: float, wall_s: float) -> str:
    name = shorten(f"{trace.policy}, query {trace.query_id}", 80)
    return f"{name}: proxy {format_unit(proxy_s, 's')}, measured {format_unit(wall_s, 's')}"


def timelines(run: RunFolder) -> str:
    """The median rollout of the trained policy and, on the same query and time axis, the initial policy's."""
    shown = pick_rollouts(run.traces)
    num_seconds = max((trace.ended - trace.started for trace in shown), default=0.0)
    return "".join(_timeline_block(trace, run.tokens_per_second, num_seconds) for trace in shown)


def pick_rollouts(traces: Sequence[RolloutTrace]) -> list[RolloutTrace]:
    """A rollout of median duration, and `initial`'s of the same query if there is one; none that reused anything.

    Taken from `trained`, else from any evaluated policy, else from the newest training step.
    """
    traces = [trace for trace in traces if trace.is_live]
    policies = {trace.policy for trace in traces if trace.failure is None}
    order = ["trained", *sorted(policies - {"trained", TRAIN}), TRAIN]
    policy = next((name for name in order if name in policies), None)
    if policy is None:
        return []
    rollouts = sorted(_newest(traces, policy), key=lambda trace: trace.ended - trace.started)
    median = rollouts[(len(rollouts) - 1) // 2]
    same_query = [trace for trace in _newest(traces, "initial") if trace.query_id == median.query_id]
    return [median, *(same_query[:1] if policy != "initial" else [])]


def _newest(traces: Sequence[RolloutTrace], policy: str) -> list[RolloutTrace]:
    """A policy's rollouts with an answer, of its newest step."""
    rollouts = [trace for trace in traces if trace.policy == policy and trace.failure is None]
    step = max((trace.step for trace in rollouts), default=0)
    return [trace for trace in rollouts if trace.step == step]


def _timeline_block(trace: RolloutTrace, tokens_per_second: float, num_seconds: float) -> str:
    answer = escape(shorten(trace.answer or "", MAX_ANSWER_CHARACTERS))
    header = ("request", "queue s", "prefill s", "decode s", "prompt tokens", "cached", "output tokens", "ended by")
    return (
        f'<div class="scroll timeline-box">{timeline_svg(trace, tokens_per_second, num_seconds)}</div>'
        f"<p>Query <strong>{escape(shorten(trace.query_id, 80))}</strong>, policy {escape(trace.policy)}: "
        f"score {format_number(trace.score)}, answer:</p><pre>{answer}</pre>"
        + details("Its requests as a table", table(header, _request_rows(trace)))
    )


def _request_rows(trace: RolloutTrace) -> Iterator[tuple[str, ...]]:
    for stage, layer in zip(stage_names(trace), (*trace.layers, trace.finaliser), strict=True):
        for operator in layer.operators:
            for span in (span for step in operator.steps for span in step):
                place = f"{stage}, {operator.name}"
                if isinstance(span, ToolSpan):
                    seconds = format_unit(span.ended - span.started, "s")
                    waited = format_number(span.started - span.asked)
                    yield (f"{place}, {span.name}", waited, *["–"] * 5, f"{span.status} after {seconds}")
                elif span.timing is None:
                    reason = span.failure.kind if span.failure else "aborted" if span.is_aborted else "–"
                    yield (place, *["–"] * 6, reason)
                else:
                    timing = span.timing
                    yield (
                        place,
                        format_number(timing.scheduled - timing.submitted),
                        ("≤ " if timing.is_client_side else "") + format_number(timing.first_token - timing.scheduled),
                        format_number(timing.last_token - timing.first_token),
                        f"{span.num_prompt_tokens}",
                        f"{span.num_cached_tokens}",
                        f"{span.num_output_tokens}",
                        span.finish_reason or "–",
                    )
