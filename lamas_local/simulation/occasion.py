"""What a request is for, read back from its id."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Occasion:
    """The parts of a request's id that `operator_call` puts into it."""

    query_id: str
    epoch: int
    operator: str
    """Its name, without the number of a further copy."""


def occasion_of(request_id: str) -> Occasion:
    """`run/query@epoch/rollout/layer/operator#copy/step/sample`; a query's id may hold slashes."""
    parts = request_id.split("/")
    query = "/".join(parts[1:-5])
    query_id, at, epoch = query.rpartition("@")
    if at and epoch.isdecimal():
        return Occasion(query_id, int(epoch), parts[-3].split("#")[0])
    return Occasion(query, 0, parts[-3].split("#")[0])
