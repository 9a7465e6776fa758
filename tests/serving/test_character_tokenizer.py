from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.character_tokenizer import CharacterTokenizer
from serving.types import Message

WIDTHS = st.floats(0.5, 8)


@given(st.text("ab .", max_size=60), st.integers(0, 30), WIDTHS)
def test_what_is_kept_fits_and_stands_at_its_end_of_the_text(text: str, num_tokens: int, width: float) -> None:
    tokenizer = CharacterTokenizer(width, template_tokens=3)
    start, end = tokenizer.keep_start(text, num_tokens), tokenizer.keep_end(text, num_tokens)
    assert text.startswith(start)
    assert text.endswith(end)
    assert tokenizer.count(start) <= num_tokens
    assert tokenizer.count(end) <= num_tokens
    if tokenizer.count(text) <= num_tokens:
        assert start == end == text or width * num_tokens < len(text)


def test_a_chat_counts_its_template_once_a_message() -> None:
    tokenizer = CharacterTokenizer(4.0, template_tokens=3)
    assert tokenizer.count_chat([Message("system", "12345678"), Message("user", "123456789")]) == 3 + 2 + 3 + 3


def test_equal_beginnings_have_equal_keys_and_the_last_token_is_in_none() -> None:
    tokenizer = CharacterTokenizer(1.0, template_tokens=2)
    system = Message("system", "a" * 6)
    first = tokenizer.block_keys([system, Message("user", "b" * 6)], 4)
    second = tokenizer.block_keys([system, Message("user", "b" * 3 + "c" * 3)], 4)
    other = tokenizer.block_keys([Message("system", "A" * 6), Message("user", "b" * 6)], 4)
    assert len(first) == 3, "15 of its 16 tokens"
    assert first[:3] == second[:3]
    assert not set(first) & set(other)
    assert tokenizer.block_keys([system, Message("user", "c" * 6)], 4)[:2] == first[:2]


@given(st.text("ab", max_size=40), st.text("ab", max_size=40), WIDTHS, st.integers(1, 8))
def test_keys_differ_where_the_text_before_them_does(first: str, second: str, width: float, block: int) -> None:
    tokenizer = CharacterTokenizer(width, template_tokens=0)
    keys = [tokenizer.block_keys([Message("user", text)], block) for text in (first, second)]
    for index, pair in enumerate(zip(*keys, strict=False)):
        shorter = int((index + 1) * block * width)  # what is certainly in the first blocks of both
        if pair[0] == pair[1]:
            assert first[:shorter] == second[:shorter]
