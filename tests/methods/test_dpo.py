"""DPO with refusals: a term that reads a second answer to the same question."""

from __future__ import annotations

import torch
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Answers, Encoder, answers, share_prefixes
from mmunlearner.config import MethodConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.methods import METHODS, Reference
from mmunlearner.methods.dpo import preference, refusal
from mmunlearner.unlearn import unlearn
from mmunlearner.unlearn.reference import second_answers

IMAGES = examples()
SPLITS = Splits(tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), (), {})


def of(logits: torch.Tensor) -> Answers:
    """Answers of one token each."""
    count = len(logits)
    return Answers(logits, torch.zeros(count, dtype=torch.long), torch.arange(count), count)


def test_the_loss_is_its_formula_and_both_answers_have_a_gradient():
    true, refused = (torch.randn(3, 5, requires_grad=True) for _ in range(2))
    vanilla = [torch.randn(3), torch.randn(3)]
    reference = Reference({"logp_sum": vanilla[0]}, Reference({"logp_sum": vanilla[1]}))
    batch = Answers(true, of(true).tokens, of(true).question, 3, second=of(refused))
    loss = preference(batch, reference, beta=0.2)
    margin = (of(refused).logp_sum - vanilla[1]) - (of(true).logp_sum - vanilla[0])
    torch.testing.assert_close(loss, -(2 / 0.2) * torch.sigmoid(0.2 * margin).log().mean())
    loss.backward()
    assert true.grad is not None
    assert refused.grad is not None
    assert true.grad[:, 0].min() > 0  # the true answer becomes less likely
    assert refused.grad[:, 0].max() < 0


def test_a_run_prefers_refusals(tmp_path):
    train = TrainConfig(steps=6, retain_per_forget=1, batch_size=4, learning_rate=3e-3, augment="forget")
    done = unlearn(llava(VOCABULARY), SPLITS, MethodConfig("dpo"), train, tmp_path)
    forget, _ = METHODS["dpo"].bind({})
    assert forget is not None

    def preferred(loaded) -> torch.Tensor:
        encoder = Encoder(loaded)
        rows = [encoder.rows(SPLITS.forget), second_answers(encoder, SPLITS.forget, forget.needs)]
        with torch.no_grad():
            true, refused = (answers(loaded.model, share_prefixes(some, encoder)).nll for some in rows)
        return (true - refused).mean()

    assert preferred(done.loaded) > preferred(llava(VOCABULARY)) + 0.1


def test_a_question_has_one_refusal():
    assert {refusal(example) for example in IMAGES} > {refusal(IMAGES[0])}
    assert refusal(IMAGES[0]) == refusal(IMAGES[0])
