"""What is found out before the first request: the key, the tokenizer, and what each endpoint says it serves."""

from __future__ import annotations

import asyncio
import difflib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from serving.chat_tokenizer import ChatTokenizer
from serving.clock import now
from serving.endpoint import Endpoint, EndpointError
from serving.models import PACKAGED_MODEL, resolve_model
from serving.openai_client import OpenAIClient
from serving.types import EngineError, EngineStartError

MAX_NAMED = 5
_log = logging.getLogger(__name__)


class ModelCard(BaseModel):
    """A model in an endpoint's list; OpenAI's has neither of the last two as vLLM has them."""

    id: str
    owned_by: str | None = None
    max_model_len: int | None = None


class ModelList(BaseModel):
    """The answer to `GET /v1/models`."""

    data: list[ModelCard]


@dataclass(frozen=True, slots=True)
class Served:
    """What the endpoints that answered have in common."""

    max_model_len: int | None
    """The least; None where none says."""
    is_vllm: bool
    """Whether all of them are vLLM's own server."""


def read_key(variable: str | None) -> str | None:
    """The key in an environment variable; None without a variable.

    Raises:
        EngineStartError: it is not set, or no header can carry it. The message never has the key.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise EngineStartError(f"the environment variable {variable} is to hold the endpoint's key, and is not set")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise EngineStartError(f"the key in {variable} is not printable ASCII without spaces")
    return key


def load_tokenizer(name: str) -> ChatTokenizer:
    """The tokenizer of a hub id or a folder, without its model; blocks.

    Raises:
        EngineStartError: there is none, or it has no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(resolve_model(name)) if name == PACKAGED_MODEL else name)
    except (OSError, ValueError) as error:
        raise EngineStartError(f"cannot load the tokenizer {name!r}: {str(error).splitlines()[0]}") from error
    if not tokenizer.chat_template:
        raise EngineStartError(f"the tokenizer {name!r} has no chat template: choose an instruct model's")
    return ChatTokenizer(tokenizer)


async def probe_all(client: OpenAIClient, endpoints: Sequence[Endpoint]) -> Served:
    """Ask every endpoint what it serves. Those that do not answer now are left alone for a while, if one does.

    Raises:
        EngineStartError: one refuses, or lacks the model, or none answers.
    """
    found = await asyncio.gather(*(_probe(client, endpoint) for endpoint in endpoints))
    cards = [one for one in found if isinstance(one, ModelCard)]
    silent = [str(one) for one in found if isinstance(one, EndpointError)]
    if not cards:
        raise EngineStartError(f"no endpoint can be used: {'; '.join(silent)}")
    for reason in silent:
        _log.warning("an endpoint cannot be used now, and is tried again later: %s", reason)
    lengths = [card.max_model_len for card in cards if card.max_model_len is not None]
    return Served(min(lengths, default=None), all(card.owned_by == "vllm" for card in cards))


async def _probe(client: OpenAIClient, endpoint: Endpoint) -> ModelCard | EndpointError:
    started = now()
    try:
        return find_card(await client.models(endpoint.base_url), endpoint.base_url, client.model)
    except EndpointError as error:
        endpoint.fail(started, error.retry_after_s)
        return error
    except EngineError as error:
        raise EngineStartError(f"{error} (base_url is the address up to and with /v1)") from error


def find_card(body: bytes, base_url: str, model: str) -> ModelCard:
    """The model in an endpoint's list.

    Raises:
        EngineStartError: it is not there, or the body is no such list.
    """
    try:
        cards = {card.id: card for card in ModelList.model_validate_json(body).data}
    except ValidationError as error:
        raise EngineStartError(
            f"{base_url}/models is no list of models (base_url is the address up to and with /v1)"
        ) from error
    if model not in cards:
        named = difflib.get_close_matches(model, cards, n=MAX_NAMED, cutoff=0.0)
        raise EngineStartError(f"{base_url} does not serve {model!r}; it serves {', '.join(named) or 'nothing'}")
    return cards[model]
