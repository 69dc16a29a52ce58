"""The training loop: what each term may move, and runs that are interrupted (method.md, section 3)."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from support.progress import Listener
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Answers, Encoder, answers, pad, share_prefixes
from mmunlearner.config import MaskConfig, MethodConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.errors import ConfigError, DataError, MaskError, TrainingError
from mmunlearner.methods import METHODS, Method, Needs
from mmunlearner.models import candidates, parts
from mmunlearner.unlearn import unlearn
from mmunlearner.unlearn.job import Job
from mmunlearner.unlearn.reference import VanillaNeeds, cache_reference
from mmunlearner.unlearn.sampler import StepSampler
from mmunlearner.unlearn.trainer import training_arguments
from mmunlearner.unlearn.unlearn import run_job

IMAGES, TEXTS = examples(), examples(images=False)
SPLITS = Splits(
    tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), tuple(TEXTS), {}
)
FEATURES = VanillaNeeds(features=True)
ALL = ("vision", "projector", "language")
TRAIN = TrainConfig(steps=4, retain_per_forget=2, batch_size=4, learning_rate=1e-3)


def mask(parts=ALL, **options):
    return saliency.compute(Encoder(llava(VOCABULARY)), SPLITS, MaskConfig(parts=parts, **options))


def weights(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def run(tmp_path, method="mmunlearner", train=TRAIN, *, name="work", splits=SPLITS, options=None, **kwargs):
    config = MethodConfig(method, options=options or {})
    return unlearn(llava(VOCABULARY), splits, config, train, tmp_path / name, **kwargs)


def log(tmp_path, name="work") -> list[dict]:
    return [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]


START = weights(llava(VOCABULARY).model)


def moved(model, name: str) -> torch.Tensor:
    return dict(model.named_parameters())[name].detach() != START[name]


def test_only_masked_weights_move_where_nothing_else_is_free(tmp_path):
    """Defects 2 and 7: no weight outside moves, by either term, by momentum or by its absence from the mask."""
    chosen = mask(("language",))
    done = run(tmp_path, train=replace(TRAIN, free="mask"), mask=chosen)
    for name in START:
        allowed = chosen.of(name) if name in chosen else torch.zeros_like(START[name], dtype=torch.bool)
        assert not (moved(done.loaded.model, name) & ~allowed).any(), name
    assert done.weight_changes.inside > 0
    assert (done.weight_changes.outside, done.weight_changes.forget_outside) == (0, 0)


def test_parts_not_chosen_are_frozen(tmp_path):
    chosen = mask(("vision",))
    done = run(tmp_path, mask=chosen)
    frozen = [n for part in ("projector", "language") for n in parts(llava(VOCABULARY).model)[part]]
    assert not any(moved(done.loaded.model, name).any() for name in frozen)
    assert done.weight_changes.forget_outside == 0
    assert done.weight_changes.outside > 0  # by the retain term, which the table states


def test_the_optimizer_keeps_moments_of_what_trains_alone(tmp_path):
    run(tmp_path, mask=mask(("vision",)))
    state = torch.load(tmp_path / "work" / "checkpoint-8" / "optimizer.pt", weights_only=True)["state"]
    kept = sum(moments["exp_avg"].numel() for moments in state.values())
    reached = [n for n in parts(llava(VOCABULARY).model)["vision"] if "post_layernorm" not in n]  # LLaVA skips it
    assert kept == sum(START[name].numel() for name in reached)


def test_mask_of_ones_is_no_mask(tmp_path):
    """Every candidate selected and all else free: the masked run and GA_Diff differ only where no candidate is."""
    ones = mask(beta=0.0)
    assert ones.density == 1.0
    masked = run(tmp_path, mask=ones, train=replace(TRAIN, steps=1, retain_per_forget=1, optimizer="sgd", clip=0))
    plain = run(
        tmp_path, "ga_diff", name="plain", train=replace(TRAIN, steps=1, retain_per_forget=1, optimizer="sgd", clip=0)
    )
    for name in candidates(masked.loaded.model):
        left, right = (dict(done.loaded.model.named_parameters())[name] for done in (masked, plain))
        torch.testing.assert_close(left, right, rtol=0, atol=1e-7)


def test_step_is_minus_eta_times_the_two_gradients(tmp_path):
    """theta <- theta - eta (-m grad CE(forget) + grad CE(retain)): one SGD step, by hand (step 4)."""
    chosen, train = mask(), replace(TRAIN, steps=1, retain_per_forget=1, optimizer="sgd", clip=0, warmup=0)
    done = run(tmp_path, train=train, mask=chosen)
    loaded = llava(VOCABULARY)
    encoder = Encoder(loaded)
    step = StepSampler.of(SPLITS.forget, SPLITS.retain, train, 0)[0]
    gradients = []
    for some in (step.forget, step.retain):
        loaded.model.zero_grad()
        answers(loaded.model, pad(encoder.rows(some), encoder)).nll.mean().backward()
        gradients.append({n: p.grad.clone() for n, p in loaded.model.named_parameters() if p.grad is not None})
    for name in chosen.bits:
        expected = START[name] - train.learning_rate * (gradients[1][name] - gradients[0][name] * chosen.of(name))
        torch.testing.assert_close(dict(done.loaded.model.named_parameters())[name], expected, rtol=0, atol=1e-7)


def test_visible_gpus_do_not_split_a_batch(tmp_path, monkeypatch):
    """Without a launcher the Trainer would run its own copies of the model, which no mask reaches."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    arguments = training_arguments(TRAIN, tmp_path, steps=1, seed=0, dtype="float32", device=torch.device("cuda"))
    assert arguments.train_batch_size == 1


def softmax_of_sets(forget: torch.Tensor, retain: torch.Tensor) -> torch.Tensor:
    """log(exp(-CE(forget)) + exp(CE(retain))): a loss of both sets that is no sum."""
    return torch.logaddexp(-forget, retain)


BOTH_SETS = Method(
    "both_sets",
    "",
    forget=lambda answers, _: softmax_of_sets(answers.nll.mean(), answers.other.nll.mean()),
    retain=lambda answers, _: softmax_of_sets(answers.other.nll.mean(), answers.nll.mean()),
    needs=lambda _: {"forget": Needs(other_set=True), "retain": Needs(other_set=True)},
)


def test_a_loss_of_both_sets_is_masked_for_the_forget_set_alone(tmp_path):
    """One SGD step, by hand: the gradient through the forget questions is masked, that through the others is not."""
    chosen, train = mask(), replace(TRAIN, steps=1, retain_per_forget=1, optimizer="sgd", clip=0, warmup=0)
    job = Job(llava(VOCABULARY), SPLITS, BOTH_SETS, {}, train, tmp_path / "work", mask=chosen)
    done = run_job(job)
    loaded = llava(VOCABULARY)
    encoder = Encoder(loaded)
    step = StepSampler.of(SPLITS.forget, SPLITS.retain, train, 0)[0]
    losses = [answers(loaded.model, pad(encoder.rows(e), encoder)).nll.mean() for e in (step.forget, step.retain)]
    named = {name: p for name, p in loaded.model.named_parameters() if name in chosen.bits}
    forget, retain = (
        torch.autograd.grad(softmax_of_sets(*pair), list(named.values()), retain_graph=True, allow_unused=True)
        for pair in ((losses[0], losses[1].detach()), (losses[0].detach(), losses[1]))
    )
    after = dict(done.loaded.model.named_parameters())
    for name, g_forget, g_retain in zip(named, forget, retain, strict=True):
        if g_forget is not None:  # the vision encoder's last layer is not used
            expected = START[name] - train.learning_rate * (g_forget * chosen.of(name) + g_retain)
            torch.testing.assert_close(after[name], expected, rtol=0, atol=1e-7)
    assert done.weight_changes.forget_outside == 0
    with pytest.raises(ConfigError, match="both_sets: a term that reads the other set takes two terms"):
        run_job(replace(job, train=replace(train, tokens_per_batch=50)))


def test_clipping_comes_after_masking(tmp_path):
    """Defect 8: the norm that is clipped is that of what is applied."""
    chosen = mask(("vision",))
    train = replace(TRAIN, steps=1, retain_per_forget=1, free="mask")
    run(tmp_path, train=train, mask=chosen)
    loaded = llava(VOCABULARY)
    encoder = Encoder(loaded)
    step = StepSampler.of(SPLITS.forget, SPLITS.retain, train, 0)[0]
    loss = answers(loaded.model, pad(encoder.rows(step.retain), encoder)).nll.mean()
    loss = loss - answers(loaded.model, pad(encoder.rows(step.forget), encoder)).nll.mean()
    loss.backward()
    masked = [dict(loaded.model.named_parameters())[n].grad * chosen.of(n) for n in chosen.bits]
    norm = torch.cat([g.flatten() for g in masked]).norm().item()
    assert log(tmp_path)[0]["grad_norm"] == pytest.approx(norm, rel=1e-4)


def test_learning_rate_changes_every_step_and_data_outlast_an_epoch(tmp_path):
    """Defect 8: a scheduler stepped per epoch, iterators that run out in epoch 2."""
    run(tmp_path, "ga_diff", train=replace(TRAIN, steps=12, batch_size=6))
    rates = [line["learning_rate"] for line in log(tmp_path)]
    assert len(rates) == 24
    assert len(set(rates)) > 20


def test_both_terms_are_logged_apart(tmp_path):
    run(tmp_path, "ga_diff")
    lines = log(tmp_path)
    assert [line["forget"] is not None for line in lines] == [True, False] * 4
    assert all(line["retain"] > 0 for line in lines)
    assert all(line["forget"] < 0 for line in lines[::2])


def test_failing_forget_step_leaks_nothing(tmp_path):
    """Defect 6: an error in the forget term ends the run; its gradient never reaches a retain step."""

    def broken(answers: Answers, reference):
        return answers.nll.mean() * math.inf

    METHODS["broken"] = Method("broken", forget=broken, retain=METHODS["ga_diff"].retain, paper="")
    try:
        with pytest.raises(TrainingError, match=r"step 1: the forget loss is inf .*ann/"):
            run(tmp_path, "broken")
    finally:
        del METHODS["broken"]


def test_accumulation_is_the_mean_of_its_batches(tmp_path):
    """Two batches of one optimizer step move the weights by the mean of their gradients."""
    train = replace(TRAIN, steps=1, accumulation=2, optimizer="sgd", clip=0, warmup=0, batch_size=2)
    done = run(tmp_path, "ga", train=train)
    loaded = llava(VOCABULARY)
    encoder, steps = Encoder(loaded), StepSampler.of(SPLITS.forget, (), train, 0)
    for i in range(2):
        (answers(loaded.model, pad(encoder.rows(steps[i].forget), encoder)).nll.mean() / 2).backward()
    name = next(iter(candidates(loaded.model)))
    expected = START[name] + train.learning_rate * dict(loaded.model.named_parameters())[name].grad
    torch.testing.assert_close(dict(done.loaded.model.named_parameters())[name], expected, rtol=0, atol=1e-7)


def test_bf16_keeps_fp32_masters(tmp_path):
    """Defect 11: at lr 1e-5 bf16 weights would hardly move."""
    done = run(tmp_path, "ga", train=replace(TRAIN, learning_rate=1e-5, warmup=0), dtype="bfloat16")
    assert {p.dtype for p in done.loaded.model.parameters()} == {torch.float32}
    assert done.weight_changes.inside > 0.9 * done.weight_changes.total


@pytest.mark.parametrize("method", ["ga_diff", "kl_min", "npo", "mmunlearner"])
def test_interrupted_run_ends_with_the_same_weights(tmp_path, method):
    """Bit for bit, wherever it was stopped."""
    train = replace(TRAIN, steps=4, save_every=3)
    chosen = mask() if method == "mmunlearner" else None
    whole = run(tmp_path, method, train, mask=chosen)

    def stop(title, step, steps):
        if step == min(5, steps):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, method, train, name="cut", mask=chosen, progress=Listener(stop))
    resumed = run(tmp_path, method, train, name="cut", mask=chosen)
    for (name, left), (_, right) in zip(
        whole.loaded.model.named_parameters(), resumed.loaded.model.named_parameters(), strict=True
    ):
        assert torch.equal(left, right), name
    assert resumed.tokens == whole.tokens
    keys = ("step", "forget", "retain", "learning_rate", "grad_norm")
    assert [[line[k] for k in keys] for line in log(tmp_path, "cut")] == [
        [line[k] for k in keys] for line in log(tmp_path)
    ]


def test_half_written_checkpoint_is_passed_over(tmp_path):
    train = replace(TRAIN, steps=4, save_every=2)
    whole = run(tmp_path, "ga_diff", train)
    newest = max((tmp_path / "work").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    (newest / "trainer_state.json").write_text('{"global_')
    again = run(tmp_path, "ga_diff", train)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.loaded.model.parameters(), again.loaded.model.parameters(), strict=True)
    )


def test_reference_is_the_model_before_training():
    loaded = llava(VOCABULARY)
    encoder = Encoder(loaded)
    rows = encoder.rows([*IMAGES, *examples(2, 1, images=2)])
    packed = share_prefixes(rows[::-1], encoder)
    reference = cache_reference(encoder, rows, VanillaNeeds(answers=True, features=True)).of(
        rows[::-1], (), packed.images
    )
    said = answers(loaded.model, pad(rows[::-1], encoder))
    torch.testing.assert_close(reference.logp_sum, said.logp_sum.detach(), rtol=1e-5, atol=1e-5)
    full = said.logits.detach().log_softmax(-1)
    torch.testing.assert_close(reference.topk_logps, full.gather(-1, reference.topk_ids), rtol=1e-5, atol=1e-5)
    shown = answers(loaded.model, packed).features  # once per image or images shown together, in the batch's order
    assert shown is not None
    torch.testing.assert_close(reference.features, shown.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"anchor": 1.0}])
def test_questions_about_several_images_are_unlearned(tmp_path, options):
    """Among others about one: masked, with the image features held or not, and with images changed a little."""
    several = examples(3, 1, images=2, seed=5)
    splits = replace(
        SPLITS,
        forget=(*SPLITS.forget, *(e for e in several if e.entity == "ann")),
        retain=(*SPLITS.retain, *(e for e in several if e.entity != "ann")),
    )
    chosen = saliency.compute(Encoder(llava(VOCABULARY)), splits, MaskConfig(parts=ALL))
    train = replace(TRAIN, free="mask", augment="forget")
    done = run(tmp_path, train=train, splits=splits, options=options, mask=chosen)
    assert done.weight_changes.inside > 0
    assert done.weight_changes.outside == done.weight_changes.forget_outside == 0


def test_an_anchor_holds_the_image_features(tmp_path):
    """The same run with a strong anchor ends with features nearer to the vanilla model's."""
    far = []
    for anchor in (0.0, 100.0):
        made = run(tmp_path, name=f"anchor{anchor}", mask=mask(("vision", "projector")), options={"anchor": anchor})
        encoder = Encoder(made.loaded)
        rows = encoder.rows(SPLITS.retain[:4])
        packed = share_prefixes(rows, encoder)
        now = answers(made.loaded.model, packed).features
        was = cache_reference(Encoder(llava(VOCABULARY)), rows, FEATURES).of(rows, (), packed.images).features
        assert now is not None
        assert was is not None
        far.append((now - was).pow(2).sum().item())
    assert far[1] < 0.5 * far[0]


@pytest.mark.parametrize("keep_text", [False, True])
def test_an_anchor_alone_goes_as_with_the_language_model_run_for_nothing(tmp_path, monkeypatch, keep_text):
    """Cross-entropy weighted by nothing: the same weights, fewer tokens."""
    train = replace(TRAIN, keep_text=keep_text, batch_size=3)
    options = {"anchor": 10.0, "retain_weight": 0.0}
    parts = mask(("vision", "projector"))
    alone = run(tmp_path, name="alone", train=train, mask=parts, options=options)

    def needs(options):
        return {"retain": Needs(vanilla=("features",))}

    monkeypatch.setitem(METHODS, "mmunlearner", replace(METHODS["mmunlearner"], needs=needs))
    whole = run(tmp_path, name="whole", train=train, mask=parts, options=options)
    for (name, one), other in zip(alone.loaded.model.named_parameters(), whole.loaded.model.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert alone.weight_changes.inside > 0
    assert alone.tokens < whole.tokens


def test_texts_alone_have_nothing_to_anchor(tmp_path):
    """With `keep_text`, a batch may hold no image."""
    train = replace(TRAIN, keep_text=True, batch_size=1)
    run(tmp_path, train=train, mask=mask(("vision", "projector")), options={"anchor": 1.0})
    assert all(math.isfinite(line["retain"]) for line in log(tmp_path))


class TestMistakes:
    def test_method_without_its_mask(self, tmp_path):
        with pytest.raises(ConfigError, match="needs a mask"):
            run(tmp_path)

    def test_mask_of_another_model(self, tmp_path):
        other = saliency.compute(Encoder(llava(VOCABULARY, seed=1)), SPLITS, MaskConfig())
        with pytest.raises(MaskError, match="other weights"):
            run(tmp_path, mask=other)

    def test_mask_on_a_method_that_forgets_nothing(self, tmp_path):
        with pytest.raises(MaskError, match="act on nothing"):
            run(tmp_path, "finetune", mask=mask())

    @pytest.mark.parametrize("empty", ["forget", "retain"])
    def test_empty_set(self, tmp_path, empty):
        with pytest.raises(DataError, match=f"needs a {empty} set"):
            run(tmp_path, "ga_diff", splits=replace(SPLITS, **{empty: ()}))

    def test_decay_outside_the_mask(self, tmp_path):
        with pytest.raises(ConfigError, match="weight_decay"):
            run(tmp_path, train=replace(TRAIN, free="mask", weight_decay=0.1), mask=mask())

    def test_muon_cannot_keep_a_mask(self, tmp_path):
        with pytest.raises(ConfigError, match="muon"):
            run(tmp_path, train=replace(TRAIN, optimizer="muon"), mask=mask())

    def test_exploding_loss_is_named_and_checkpoints_kept(self, tmp_path):
        train = replace(TRAIN, weight_decay=1e30, steps=6, save_every=1, warmup=0, optimizer="sgd")
        with pytest.raises(TrainingError, match=r"step \d+: the .* lower train.learning_rate"):
            run(tmp_path, "ga_diff", train=train)
        assert list((tmp_path / "work").glob("checkpoint-*"))
