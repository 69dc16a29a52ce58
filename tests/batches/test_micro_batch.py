"""Passes of bounded size hold every question once, and those that belong together together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Encoder, micro_batches, share_prefixes

EVERYTHING = [*examples(), *examples(images=False)]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(llava(VOCABULARY))


def filled(encoder: Encoder, chosen, tokens: int):
    return list(micro_batches(encoder.rows(chosen), [e.entity for e in chosen], encoder, tokens))


@given(st.lists(st.sampled_from(EVERYTHING), min_size=1, max_size=30, unique_by=id), st.integers(1, 400))
def test_every_question_is_in_one_pass_and_no_pass_is_too_large(encoder, chosen, tokens):
    pieces = filled(encoder, chosen, tokens)
    assert sorted(i for piece in pieces for i in piece.numbers) == list(range(len(chosen)))
    for piece in pieces:
        sequences = sum(len(each.keep) for each in piece.batch.passes)
        assert piece.batch.size <= tokens or sequences == 1
        assert piece.batch.count == len(piece.numbers)
    images = [bool(piece.batch.images) for piece in pieces]
    assert images == sorted(images)
    shown = [key for piece in pieces for key in piece.batch.images]
    assert len(shown) == len(set(shown))  # the questions about an image stay together


def test_without_a_budget_all_is_one_batch(encoder):
    (piece,) = filled(encoder, EVERYTHING, 0)
    whole = share_prefixes(encoder.rows(EVERYTHING), encoder)
    assert piece.numbers == tuple(range(len(EVERYTHING)))
    assert (piece.batch.size, piece.batch.images) == (whole.size, whole.images)


def test_texts_of_an_entity_share_a_sequence_while_they_fit(encoder):
    texts = examples(3, 2, images=False)
    (large,) = filled(encoder, texts, 10_000)
    assert [len(each.keep) for each in large.batch.passes] == [3]
    assert large.batch.size < share_prefixes(encoder.rows(texts), encoder, [[i] for i in range(len(texts))]).size
    longest = max(len(row.input_ids) for row in encoder.rows(texts))
    assert all(len(piece.numbers) < 6 for piece in filled(encoder, texts, 2 * longest))


def test_like_lengths_go_together(encoder):
    """Less padding than in the order of the questions."""
    mixed = [e for pair in zip(examples(), examples(images=False), strict=True) for e in pair]
    pieces = filled(encoder, mixed, 120)
    assert sum(piece.batch.size for piece in pieces) < share_prefixes(encoder.rows(mixed), encoder).size
