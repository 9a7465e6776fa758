"""What the server is told on its command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Every limit and time limit of the server."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    api_keys: tuple[str, ...] = ()
    """Any of them opens every path; none leaves all paths open."""
    max_in_flight: int = 16
    """Most queries being answered at once."""
    max_queued: int = 64
    """Most queries waiting; the next one gets 429."""
    queries_per_s: float | None = None
    """Most queries that begin in a second; no limit when absent."""
    query_timeout_s: float = 600.0
    """Longest time of a query, queue included; then it is stopped and gets 504."""
    header_timeout_s: float = 10.0
    """Longest time from a connection's opening to the end of its request's headers."""
    body_timeout_s: float = 30.0
    """Longest time for a request's body."""
    write_timeout_s: float = 30.0
    """Longest time a client may leave a piece of its answer unread before it counts as gone."""
    keep_alive_s: float = 75.0
    """How long an idle connection is kept after an answer."""
    max_body_bytes: int = 4 * 2**20
    """Largest body."""
    max_header_bytes: int = 64 * 2**10
    """Most bytes before a request's body begins."""
    max_connections: int = 4096
    """Beyond it the connection that has been idle for longest is closed."""
    shutdown_timeout_s: float = 30.0
    """How long accepted queries may go on after SIGTERM."""
    log_content: bool = False
    """Whether the log holds the text of prompts and answers."""
