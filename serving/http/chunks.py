"""OpenAI's response objects, as JSON: one completion, or the chunks of a stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.http.chat_model import Answered, Choice, Usage

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Chunks:
    """Makes the parts of one response."""

    request_id: str
    model: str
    created: int
    """Time of day, whole seconds."""
    wants_usage: bool = False
    """Whether every chunk has a `usage`, null but in the last."""

    def completion(self, answered: Answered) -> bytes:
        """The body of a response that is not streamed."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": choice.text, "refusal": None},
                "logprobs": None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(answered.choices)
        ]
        content = self._head("chat.completion") | {"choices": choices, "usage": usage_object(answered.usage)}
        return json.dumps(content | dict(answered.fields)).encode()

    def role(self, index: int) -> bytes:
        """The first chunk of a choice."""
        return self._chunk([_choice(index, {"role": "assistant", "content": ""})])

    def text(self, text: str, index: int) -> bytes:
        """A piece of a choice."""
        return self._chunk([_choice(index, {"content": text})])

    def note(self, fields: Mapping[str, Any]) -> bytes:
        """Fields without text; with an empty delta, so that clients find the choice they expect."""
        return self._chunk([_choice(0, {})], fields)

    def finish(self, choice: Choice, index: int, fields: Mapping[str, Any]) -> bytes:
        """The last chunk of a choice."""
        return self._chunk([_choice(index, {}, choice.finish_reason)], fields)

    def usage(self, usage: Usage) -> bytes:
        """The chunk that `stream_options.include_usage` asks for: no choices."""
        return _event(self._head("chat.completion.chunk") | {"choices": [], "usage": usage_object(usage)})

    def _chunk(self, choices: list[dict[str, Any]], fields: Mapping[str, Any] | None = None) -> bytes:
        usage = {"usage": None} if self.wants_usage else {}
        return _event(self._head("chat.completion.chunk") | {"choices": choices} | usage | dict(fields or {}))

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": f"chatcmpl-{self.request_id}", "object": kind, "created": self.created, "model": self.model}


def usage_object(usage: Usage) -> dict[str, Any]:
    """OpenAI's `usage`."""
    return {
        "prompt_tokens": usage.num_prompt_tokens,
        "completion_tokens": usage.num_output_tokens,
        "total_tokens": usage.num_prompt_tokens + usage.num_output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.num_cached_tokens},
    }


def error_event(body: Mapping[str, Any]) -> bytes:
    """An error in a stream that has begun."""
    return _event(body)


def _choice(index: int, delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _event(content: Mapping[str, Any]) -> bytes:
    # JSON has no raw line breaks, so a text cannot end its event.
    return b"data: " + json.dumps(content).encode() + b"\n\n"
