"""The fixed step after the last layer: one answer from the solutions that remain. Timed, never credited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lamas_local.operators.base import Operator, Update, max_added


def vote(solutions: Sequence[str], extract_answer: Callable[[str], str | None]) -> str:
    """The solution whose answer most of them give; the newest of equals, and of those that share the answer.

    Solutions without an answer vote only when none has one. `solutions` holds at least one.
    """
    answers = [extract_answer(solution) for solution in solutions]
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return solutions[-1]
    best = max(counts.values())
    return next(
        solution
        for solution, answer in zip(reversed(solutions), reversed(answers), strict=True)
        if answer is not None and counts[answer] == best
    )


@dataclass(slots=True)
class _Slot:
    """A place in the final list of solutions."""

    answer: str | None
    is_sure: bool = True
    """Whether it can no longer be replaced."""
    is_open: bool = False
    """Whether it is still to come, with any answer or not at all."""


def is_decided(layers: Sequence[Sequence[Update | Operator]], extract_answer: Callable[[str], str | None]) -> bool:
    """Whether the vote's answer is the same whatever the operators that have not ended will do.

    It is about the answer that `extract_answer` reads: a solution still to come may give the same one in other words,
    and would then be returned in its place. A task scores equal answers equally.

    An operator still to end adds at most `max_added` solutions and replaces at most what it reads: nothing, the current
    solution, or everything. Where it does not say how many it adds, or reads everything, nothing is decided. Where it
    reads the current solution, this errs towards not decided: it takes that solution for lost and for another's too.

    Args:
        layers: by layer and position, what an operator did, or the operator itself if it has not ended.
        extract_answer: as in `vote`.
    """
    slots: list[_Slot] = []
    for layer in layers:
        num_replaced = max((one.num_replaced for one in layer if isinstance(one, Update)), default=0)
        to_come = [one for one in layer if not isinstance(one, Update)]
        # Who replaced a solution had read it, so the newest slots are sure where they were replaced.
        slots = slots[: max(len(slots) - num_replaced, 0)]
        if any(one.reads == "solutions" or max_added(one) is None for one in to_come):
            return False
        if not num_replaced and any(one.reads != "problem" for one in to_come):
            current = next((slot for slot in reversed(slots) if slot.is_sure), None)
            if current is not None:
                current.is_sure = False
        for one in layer:
            if isinstance(one, Update):
                slots += [_Slot(extract_answer(text)) for text in one.added]
            else:
                slots += [_Slot(None, is_sure=False, is_open=True) for _ in range(max_added(one) or 0)]
    answers = {slot.answer for slot in slots if slot.is_sure and slot.answer is not None}
    return any(_wins(answer, slots) for answer in answers)


def _wins(answer: str, slots: Sequence[_Slot]) -> bool:
    """Whether an answer wins even where all that is not sure goes to one other answer."""
    own = [place for place, slot in enumerate(slots) if slot.is_sure and slot.answer == answer]
    others = {slot.answer for slot in slots if not slot.is_open} - {answer, None}
    for other in (*others, None):  # None: one that nobody has given yet
        rival = [
            place for place, slot in enumerate(slots) if slot.is_open or (other is not None and slot.answer == other)
        ]
        if rival and (len(rival), rival[-1]) > (len(own), own[-1]):
            return False
    return True
