from __future__ import annotations

import pytest

from lamas_local.orchestrator.request import LamasRequest, check_length, recent_turns, split_conversation
from lamas_local.tasks import Query
from serving.fake_engine import FakeEngine
from serving.http.errors import ApiError
from serving.types import Message


def request(*turns: tuple[str, str]) -> LamasRequest:
    messages = [{"role": role, "content": content} for role, content in turns]
    return LamasRequest.model_validate({"model": "lamas", "messages": messages})


def test_the_last_user_message_is_the_query_and_the_rest_is_context() -> None:
    problem, context = split_conversation(
        request(("system", "Be brief"), ("user", "Hi"), ("assistant", "Hello"), ("user", "2 + 2?"), ("system", "Now"))
    )
    assert problem == "2 + 2?"
    assert [turn.content for turn in context] == ["Be brief", "Hi", "Hello", "Now"]


@pytest.mark.parametrize("turns", [[("system", "x")], [("user", "x"), ("assistant", "y")], [("user", " \n")]])
def test_without_a_question_at_the_end_it_is_refused(turns: list[tuple[str, str]]) -> None:
    with pytest.raises(ApiError) as caught:
        split_conversation(request(*turns))
    assert (caught.value.status, caught.value.param) == (400, "messages")


def test_the_oldest_turns_are_forgotten_and_system_turns_are_not() -> None:
    context = (Message("system", "s " * 10), *(Message("user", f"{i} " * 10) for i in range(9)))
    kept = recent_turns(context, FakeEngine(), 100)  # 50 words: the system turn and four others
    assert [turn.content.split()[0] for turn in kept] == ["s", "5", "6", "7", "8"]
    assert recent_turns(context, FakeEngine(), 1000) == context
    assert recent_turns((), FakeEngine(), 10) == ()


def test_a_query_is_never_cut() -> None:
    check_length(Query("q", "w " * 50), FakeEngine(), 100)
    with pytest.raises(ApiError) as caught:
        check_length(Query("q", "w " * 51), FakeEngine(), 100)
    assert caught.value.code == "context_length_exceeded"
