"""An engine that answers what was answered before, at once, and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamas_local.trace import RequestSpan
from serving.character_tokenizer import CharacterTokenizer
from serving.types import Completion, EngineError, GenerationRequest, Message

TOKENIZER = CharacterTokenizer(characters_per_token=4.0, template_tokens=0)


class ReplayEngine:
    """Knows requests by their ids; prompts are cut by a tokenizer that is not the model's, so long ones may differ."""

    def __init__(self, spans: Mapping[str, RequestSpan], max_model_len: int) -> None:
        """Answer with the text of `spans`, by request id."""
        self._spans = spans
        self.max_model_len = max_model_len
        self.tokenizer = TOKENIZER
        self.requests: list[GenerationRequest] = []
        """All that were answered."""

    def count_chat_tokens(self, messages: Sequence[Message]) -> int:
        """By characters."""
        return self.tokenizer.count_chat(messages)

    async def generate(self, request: GenerationRequest) -> Completion:
        """The completion that was recorded.

        Raises:
            EngineError: there is none, as the request failed or was aborted then.
        """
        span = self._spans.get(request.request_id)
        if span is None or span.timing is None or span.finish_reason not in ("stop", "length"):
            raise EngineError(f"no answer to {request.request_id} was recorded")
        self.requests.append(request)
        return Completion(
            text=span.text or "",
            num_prompt_tokens=span.num_prompt_tokens,
            num_cached_tokens=span.num_cached_tokens,
            num_output_tokens=span.num_output_tokens,
            finish_reason="stop" if span.finish_reason == "stop" else "length",
            timing=span.timing,
        )

    async def close(self) -> None:
        """Nothing was started."""
