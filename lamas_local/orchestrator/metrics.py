"""What Prometheus reads of rollouts, beside what the server counts itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from lamas_local.latency import Latency, requests
from lamas_local.orchestrator.view import operator_status, output_tokens
from lamas_local.trace import RolloutTrace
from serving.http.metrics import SECONDS


class RolloutMetrics:
    """Registered once; a restarted engine counts on."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by_operator = ("operator",)
        self._operator_s = Histogram(
            "lamas_operator_seconds",
            "An operator's run, start to end.",
            by_operator,
            buckets=SECONDS,
            registry=registry,
        )
        self._operators = Counter(
            "lamas_operator_runs", "Operators by how they ended.", (*by_operator, "status"), registry=registry
        )
        self._operator_tokens = Counter(
            "lamas_operator_tokens", "Output tokens of operators.", by_operator, registry=registry
        )
        self._proxy_s = Histogram(
            "lamas_critical_path_proxy_seconds",
            "Critical path in output tokens, at the configured tokens per second.",
            buckets=SECONDS,
            registry=registry,
        )
        self._measured_s = Histogram(
            "lamas_critical_path_seconds", "Critical path, measured.", buckets=SECONDS, registry=registry
        )
        self._budgets = Counter("lamas_budgets", "Queries with a latency budget.", registry=registry)
        self._misses = Counter("lamas_budget_misses", "Those answered later than their budget.", registry=registry)
        self._aborted = Counter(
            "lamas_aborted_requests", "Engine requests of answered queries that were stopped.", registry=registry
        )

    def count(self, trace: RolloutTrace, latency: Latency, budget_met: bool | None) -> None:
        """One rollout that has ended."""
        for layer in (*trace.layers, trace.finaliser):
            for span in layer.operators:
                self._operator_s.labels(span.name).observe(span.ended - span.started)
                self._operators.labels(span.name, operator_status(span)).inc()
                self._operator_tokens.labels(span.name).inc(output_tokens(span))
        self._proxy_s.observe(latency.proxy_s)
        self._measured_s.observe(latency.seconds.length)
        self._aborted.inc(sum(span.is_aborted for span in requests(trace)))
        if budget_met is not None:
            self._budgets.inc()
            self._misses.inc(not budget_met)
