"""Micro-batches of bounded size hold every question once, and keep together what shares a sequence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.tiny import examples

from mmunlearner.batches import Encoder, MicroBatch, micro_batches, share_prefixes
from mmunlearner.data import Example

EVERYTHING = [*examples(), *examples(images=False)]


def split(encoder: Encoder, chosen: list[Example], tokens: int) -> list[MicroBatch]:
    return list(micro_batches(encoder.rows(chosen), [e.entity for e in chosen], encoder, tokens))


@given(st.lists(st.sampled_from(EVERYTHING), min_size=1, max_size=30, unique_by=id), st.integers(1, 400))
def test_each_question_once_within_the_bound(encoder, chosen, tokens) -> None:
    made = split(encoder, chosen, tokens)
    assert sorted(i for one in made for i in one.numbers) == list(range(len(chosen)))
    for one in made:
        sequences = sum(len(inputs.keep) for inputs in one.batch.passes)
        assert one.batch.size <= tokens or sequences == 1
        assert one.batch.count == len(one.numbers)
    with_images = [bool(one.batch.images) for one in made]
    assert with_images == sorted(with_images)
    keys = [key for one in made for key in one.batch.images]
    assert len(keys) == len(set(keys))  # the questions about an image stay together


def test_no_bound(encoder: Encoder) -> None:
    (one,) = split(encoder, EVERYTHING, 0)
    whole = share_prefixes(encoder.rows(EVERYTHING), encoder)
    assert one.numbers == tuple(range(len(EVERYTHING)))
    assert (one.batch.size, one.batch.images) == (whole.size, whole.images)


def test_texts_of_an_entity_share_a_sequence(encoder: Encoder) -> None:
    """While they fit."""
    texts = examples(3, 2, images=False)
    (large,) = split(encoder, texts, 10_000)
    assert [len(inputs.keep) for inputs in large.batch.passes] == [3]
    assert large.batch.size < share_prefixes(encoder.rows(texts), encoder, [[i] for i in range(len(texts))]).size
    longest = max(len(row.input_ids) for row in encoder.rows(texts))
    assert all(len(small.numbers) < 6 for small in split(encoder, texts, 2 * longest))


def test_like_lengths_go_together(encoder: Encoder) -> None:
    """Less padding than in the order of the questions."""
    mixed = [e for pair in zip(examples(), examples(images=False), strict=True) for e in pair]
    padded = sum(one.batch.size for one in split(encoder, mixed, 120))
    assert padded < share_prefixes(encoder.rows(mixed), encoder).size
