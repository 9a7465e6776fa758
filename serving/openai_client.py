"""One attempt at one endpoint: a chat over HTTP, streamed, with the times at which its parts arrived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress

import aiohttp

from serving.clock import now
from serving.endpoint import EndpointError
from serving.openai_wire import Usage, chat_body, chosen, events, failure, read_failure, retry_after_s
from serving.types import Completion, EngineError, GenerationRequest, Message, RequestTiming

CONNECT_TIMEOUT_S, PROBE_TIMEOUT_S = 10.0, 10.0
KEEP_ALIVE_S = 4.0
"""vLLM's server closes an idle connection after 5 s, and a request sent into that moment is lost."""
MAX_FAILURE_BYTES = 65_536
DRAIN_S = 0.05
"""A connection that is not done so long after `[DONE]` is closed instead."""


class OpenAIClient:
    """Asks for one model, with one key, at whatever address it is given."""

    def __init__(self, model: str, key: str | None, silence_s: float) -> None:
        """Open nothing yet.

        Args:
            model: its name at the endpoints.
            key: sent with every request, and taken out of whatever a server says.
            silence_s: longest time without a byte from the server, also before the first.
        """
        self.model = model
        self.is_vllm = False
        """Whether `choices` can be asked for in vLLM's words; else they come as JSON."""
        self._key = None if key is None else key.encode()
        self._silence_s = silence_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=silence_s),
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
        )

    async def close(self) -> None:
        """Close every connection; attempts under way fail with `EndpointError`."""
        await self._session.close()

    async def models(self, base_url: str) -> bytes:
        """The body of `GET /models`.

        Raises:
            EngineError: as `ask`.
        """
        timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
        url = f"{base_url}/models"
        try:
            async with self._session.get(url, timeout=timeout, allow_redirects=False) as response:
                await self._check_status(response, url)
                return await response.read()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise EndpointError(f"{url} {_broken(error, PROBE_TIMEOUT_S)}") from error

    async def ask(
        self, base_url: str, request: GenerationRequest, messages: Sequence[Message]
    ) -> AsyncGenerator[str | Completion, None]:
        """The pieces of the answer as they come, then the completion. Closing the generator closes the connection.

        Args:
            base_url: the endpoint's address.
            request: what is asked, but for its messages.
            messages: the request's own, as the endpoint is to see them.

        Raises:
            EndpointError: it failed in a way that may pass.
            EngineError: in one that does not.
        """
        body = chat_body(request, messages, self.model, is_vllm=self.is_vllm)
        sent = now()
        try:
            async with self._session.post(f"{base_url}/chat/completions", json=body, allow_redirects=False) as response:
                await self._check_status(response, base_url)
                if response.content_type != "text/event-stream":
                    raise EndpointError(
                        f"{base_url} answered with {response.content_type!r} where 'text/event-stream' was asked for"
                    )
                async with aclosing(self._read(response, base_url, request, sent)) as pieces:
                    async for piece in pieces:
                        yield piece
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            # ValueError: a line without an end, longer than aiohttp keeps.
            raise EndpointError(f"{base_url} {_broken(error, self._silence_s)}") from error

    async def _check_status(self, response: aiohttp.ClientResponse, who: str) -> None:
        if response.status != 200:
            said = read_failure(self._without_key(await response.content.read(MAX_FAILURE_BYTES)))
            asked = retry_after_s(response.headers.get("Retry-After"), response.headers.get("Date"))
            raise failure(who, response.status, said, asked)

    async def _read(
        self, response: aiohttp.ClientResponse, who: str, request: GenerationRequest, sent: float
    ) -> AsyncGenerator[str | Completion, None]:
        text, first, last = "", 0.0, 0.0
        finish_reason: str | None = None
        usage: Usage | None = None
        async with aclosing(events(self._lines(response), who)) as arriving:
            async for event in arriving:
                usage = event.usage or usage
                for choice in event.choices[:1]:
                    finish_reason = choice.finish_reason or finish_reason
                    piece = choice.delta.content or ""
                    if piece or choice.finish_reason:
                        last = now()
                        first = first or last
                    if piece:
                        text += piece
                        if not request.choices:  # which may come wrapped
                            yield piece
        await _drain(response.content)
        if finish_reason not in ("stop", "length"):
            raise EngineError(f"{who} ended the answer early (finish reason {finish_reason!r})")
        if usage is None:
            raise EngineError(f"{who} does not count tokens (stream_options.include_usage); nothing could be costed")
        text = chosen(request, text, is_vllm=self.is_vllm)
        if request.choices:
            yield text
        details = usage.prompt_tokens_details
        yield Completion(
            text=text,
            num_prompt_tokens=usage.prompt_tokens,
            num_cached_tokens=0 if details is None else details.cached_tokens or 0,
            num_output_tokens=usage.completion_tokens,
            finish_reason="stop" if finish_reason == "stop" else "length",
            timing=RequestTiming(sent, sent, sent, first, last, now(), is_client_side=True),
        )

    async def _lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        async for line in response.content:
            yield self._without_key(line)

    def _without_key(self, said: bytes) -> bytes:
        """What a server says, should it repeat the key."""
        return said if self._key is None else said.replace(self._key, b"[key]")


async def _drain(content: aiohttp.StreamReader) -> None:
    """Read the end of an answer that is complete: only then can its connection take the next request."""
    with suppress(aiohttp.ClientError, asyncio.TimeoutError, OSError):
        await asyncio.wait_for(content.read(), DRAIN_S)


def _broken(error: BaseException, silence_s: float) -> str:
    """What broke a connection, in words."""
    if isinstance(error, asyncio.TimeoutError):
        return f"did not connect or say anything for {silence_s:g} s"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot be reached: {error.os_error}"
    reason = str(error).splitlines()
    return f"broke the connection: {reason[0] if reason else type(error).__name__}"
