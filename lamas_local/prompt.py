"""Prompts as data, and the rule that cuts one that is too long for the model. Braces in them mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from serving.types import Engine, Message

TEMPLATE_ALLOWANCE = 256
"""More tokens than any chat template adds; only decides whether a prompt's tokens need counting at all."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an operator asks: a fixed instruction, the problem, and the solutions it reads.

    The instruction comes first and is the same for every query, so that the engine's prefix cache can serve it.
    """

    instruction: str
    problem: str
    solutions: tuple[tuple[str, str], ...] = ()
    """(label, text) of each solution the operator reads, in order."""
    question: str = ""
    """What is asked of the solutions; stands last."""
    context: tuple[Message, ...] = ()
    """Earlier turns of the conversation, oldest first. They stay turns of their own, which no text in them can end."""


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """A prompt that fits the model."""

    messages: tuple[Message, ...]
    num_cut_tokens: int
    """Tokens left out; 0 where nothing was."""


def fit_prompt(prompt: Prompt, engine: Engine, max_prompt_tokens: int) -> FittedPrompt:
    """Cut a prompt to `max_prompt_tokens` by one rule.

    Earlier turns go first, the oldest before the others. Then solutions are cut: they share what is left by the fixed
    text equally, a short one leaving its share to the others, and each keeps its end, where the answer is. When they
    are gone, the problem is cut and keeps its start.
    """
    messages = _messages(prompt.problem, [text for _, text in prompt.solutions], prompt)
    if sum(len(message.content.encode()) for message in messages) + TEMPLATE_ALLOWANCE <= max_prompt_tokens:
        return FittedPrompt(messages, 0)  # a token is at least one byte
    whole = engine.count_chat_tokens(messages)
    num_tokens, budget = whole, max_prompt_tokens
    while num_tokens > max_prompt_tokens and prompt.context:
        prompt = replace(prompt, context=prompt.context[1:])
        messages = _messages(prompt.problem, [text for _, text in prompt.solutions], prompt)
        num_tokens = engine.count_chat_tokens(messages)
    while num_tokens > max_prompt_tokens and budget >= 0:
        messages = _cut(prompt, engine, budget)
        num_tokens = engine.count_chat_tokens(messages)
        budget -= max(num_tokens - max_prompt_tokens, 1)  # tokens of parts do not add up exactly
    return FittedPrompt(messages, whole - num_tokens)


def _cut(prompt: Prompt, engine: Engine, budget: int) -> tuple[Message, ...]:
    tokenizer = engine.tokenizer
    empty = engine.count_chat_tokens(_messages("", ["" for _ in prompt.solutions], prompt))
    num_problem = tokenizer.count(prompt.problem)
    lengths = [tokenizer.count(text) for _, text in prompt.solutions]
    shares = fair_shares(lengths, max(budget - empty - num_problem, 0))
    solutions = [tokenizer.keep_end(text, share) for (_, text), share in zip(prompt.solutions, shares, strict=True)]
    problem = (
        tokenizer.keep_start(prompt.problem, max(budget - empty, 0)) if empty + num_problem > budget else prompt.problem
    )
    return _messages(problem, solutions, prompt)


def fair_shares(lengths: Sequence[int], budget: int) -> list[int]:
    """Split `budget` so that nobody gets more than asked and what one leaves goes to the others."""
    shares = [0] * len(lengths)
    waiting = sorted(range(len(lengths)), key=lambda i: lengths[i])
    for position, i in enumerate(waiting):
        shares[i] = min(lengths[i], budget // (len(waiting) - position))
        budget -= shares[i]
    return shares


def _messages(problem: str, solutions: Sequence[str], prompt: Prompt) -> tuple[Message, ...]:
    parts = [problem]
    parts += [f"{label}: {text}" for (label, _), text in zip(prompt.solutions, solutions, strict=True)]
    if prompt.question:
        parts.append(prompt.question)
    # One system turn: many chat templates allow no second one.
    instructions = [prompt.instruction, *(turn.content for turn in prompt.context if turn.role == "system")]
    turns = (turn for turn in prompt.context if turn.role != "system")
    return (Message("system", "\n\n".join(instructions)), *turns, Message("user", "\n\n".join(parts)))
