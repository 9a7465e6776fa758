"""What Prometheus reads of every query; names are vLLM's own where they mean the same, with our prefix."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from serving.http.door import Door

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class QueryMetrics:
    """Counted by the server itself, whichever model answers."""

    def __init__(self, registry: CollectorRegistry, door: Door) -> None:
        """Register everything; the two gauges read `door`."""
        by_model = ("model_name",)
        running = Gauge("lamas_num_requests_running", "Queries being answered.", registry=registry)
        running.set_function(lambda: door.num_in_flight)
        waiting = Gauge("lamas_num_requests_waiting", "Queries waiting for a place.", registry=registry)
        waiting.set_function(lambda: door.num_queued)
        self.unfinished = Gauge(
            "lamas_num_engine_requests_unfinished",
            "Requests in the engine, as the engine says: 0 where no query runs.",
            registry=registry,
        )
        self.is_ready = Gauge("lamas_ready", "1 where an engine answers, else 0.", registry=registry)
        self.finished = Counter(
            "lamas_request_success",
            "Queries by how they ended: stop, length, abort (client gone), timeout, error, unavailable.",
            (*by_model, "finished_reason"),
            registry=registry,
        )
        self.rejected = Counter(
            "lamas_request_rejected", "Queries refused with 429 because too many waited.", by_model, registry=registry
        )
        self.e2e_s = Histogram(
            "lamas_e2e_request_latency_seconds",
            "From the request's arrival to the last byte handed over, queue included.",
            by_model,
            buckets=SECONDS,
            registry=registry,
        )
        self.first_token_s = Histogram(
            "lamas_time_to_first_token_seconds",
            "From the request's arrival to the answer's first text; of a query that is not streamed, the whole.",
            by_model,
            buckets=SECONDS,
            registry=registry,
        )
        self.queue_s = Histogram(
            "lamas_request_queue_time_seconds",
            "From the request's arrival to a place among those in flight.",
            by_model,
            buckets=SECONDS,
            registry=registry,
        )
        self.prompt_tokens = Counter(
            "lamas_prompt_tokens", "Prompt tokens, all operators.", by_model, registry=registry
        )
        self.output_tokens = Counter(
            "lamas_generation_tokens", "Output tokens, all operators.", by_model, registry=registry
        )
        self.engine_restarts = Counter(
            "lamas_engine_restarts", "Engines started after one had died.", registry=registry
        )
        self.lost_log_lines = Counter("lamas_log_lines_lost", "Log lines that could not be written.", registry=registry)


def exposition(registry: CollectorRegistry) -> bytes:
    """The body of `/metrics`."""
    return generate_latest(registry)
