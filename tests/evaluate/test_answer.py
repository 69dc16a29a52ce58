"""A model's answers: as plain generation at batch 1 gives them, whole, resumable, the same by every way."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from support.progress import Listener
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Encoder, answers, pad, share_prefixes
from mmunlearner.config import EvaluateConfig
from mmunlearner.core.files import read_json
from mmunlearner.data import prompt
from mmunlearner.data.prompts import answer_pools, candidate_answers, open_question, option_letters
from mmunlearner.errors import DataError, ModelError
from mmunlearner.evaluate import evaluate_model, quick_scores, read_columns, rescore
from mmunlearner.evaluate import likelihood as likelihood_module
from mmunlearner.evaluate.answer import weights_fingerprint

CONFIG = EvaluateConfig(batch_size=7, max_new_tokens=6)


def columns():
    forget = [replace(item, paraphrase=f"it is {item.answer}") for item in examples(3, 2)]
    return {
        "forget_vqa": forget,
        "forget_qa": examples(4, 1, images=False),
        "general": examples(2, 1, images=2, seed=3),
    }


@pytest.fixture(scope="module")
def untrained():
    """Says what is no candidate, and goes on until it is stopped."""
    return llava(VOCABULARY)


@pytest.fixture(scope="module")
def trained(untrained):
    """Answers with candidates mostly, right and wrong, and ends its answers."""
    loaded = replace(untrained, model=copy.deepcopy(untrained.model))
    encoder = Encoder(loaded)
    rows = [encoder.row(item) for item in examples(4, 2) + examples(4, 1, images=False)]
    optimizer = torch.optim.AdamW(loaded.model.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        answers(loaded.model, share_prefixes(rows, encoder)).nll.mean().backward()
        optimizer.step()
    return replace(loaded, source="trained")


@pytest.fixture(scope="module", params=["trained", "untrained"])
def loaded(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def evaluated(loaded, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation")
    return evaluate_model(loaded, columns(), out, config=CONFIG), out


def items():
    return {(name, item.id): item for name, column in columns().items() for item in column}


def lines(out):
    return [line for column in read_columns(out).values() for line in column]


def alone(loaded, item):
    """The published way: one question at a time, by the processor itself and `generate`."""
    processor = loaded.processor
    content = [{"type": "image"}] * len(item.images) + [{"type": "text", "text": prompt(item)}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [image.open() for image in item.images] or None
    inputs = processor(text=[text], images=images, return_tensors="pt", add_special_tokens=False)
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        ids = loaded.model.generate(**inputs, do_sample=False, max_new_tokens=CONFIG.max_new_tokens)
    return processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def test_outputs_are_those_of_plain_generation_one_at_a_time(loaded, evaluated):
    asked = items()
    for line in lines(evaluated[1]):
        assert line["output"] == alone(loaded, asked[line["column"], line["id"]])


def test_the_two_models_go_both_ways(trained, untrained, tmp_path):
    """The trained model's answers are followed among candidates; the untrained one's must be generated."""
    outputs = {}
    for model in (trained, untrained):
        evaluate_model(model, columns(), tmp_path / model.source, config=CONFIG)
        outputs[model.source] = [line["output"] for line in lines(tmp_path / model.source)]
    assert max(len(text.split()) for text in outputs["trained"]) < CONFIG.max_new_tokens
    assert max(len(text.split()) for text in outputs["tiny llava"]) == CONFIG.max_new_tokens


def test_log_probabilities_are_those_of_plain_batches_of_one(loaded, evaluated):
    encoder, asked, pools = Encoder(loaded), items(), answer_pools(columns().values())

    def weigh(question, text, images):
        with torch.inference_mode():
            predicted = answers(loaded.model, pad([encoder.conversation(question, text, images)], encoder))
        return predicted.logps

    for line in lines(evaluated[1]):
        item = asked[line["column"], line["id"]]
        truth = weigh(open_question(item), item.answer, item.images)
        assert line["answer_logp"] == pytest.approx(float(truth.sum()), abs=1e-4)
        assert line["answer_tokens"] == len(truth)
        wrong = [
            weigh(open_question(item), text, item.images)
            for text in candidate_answers(replace(item, paraphrase=""), pools)[1:]
        ]
        assert line.get("perturbed_logps", []) == pytest.approx([float(w.sum()) for w in wrong], abs=1e-4)
        options = [weigh(prompt(item), letter, item.images)[0] for letter in option_letters(item)]
        assert line.get("option_logps", []) == pytest.approx([float(o) for o in options], abs=1e-4)
        if item.paraphrase:
            words = weigh(open_question(item), item.paraphrase, item.images)
            assert (line["paraphrase_logp"], line["paraphrase_tokens"]) == (
                pytest.approx(float(words.sum())),
                len(words),
            )


def test_scores_come_from_the_files_alone(evaluated):
    scores, out = evaluated
    written = (out / "scores.json").read_bytes()
    assert rescore(out) == scores
    assert (out / "scores.json").read_bytes() == written
    assert set(scores.columns) == {"forget_vqa", "forget_qa", "general"}


def test_quick_scores_are_the_accuracies_of_the_full_evaluation(loaded, evaluated):
    quick = quick_scores(loaded, columns(), config=CONFIG)
    assert quick == {column: scores["accuracy"] for column, scores in evaluated[0].columns.items()}


def test_the_batch_size_changes_no_answer(loaded, evaluated, tmp_path):
    evaluate_model(loaded, columns(), tmp_path, config=replace(CONFIG, batch_size=1))
    for line, other in zip(lines(evaluated[1]), lines(tmp_path), strict=True):
        assert line["output"] == other["output"]
        assert line["answer_logp"] == pytest.approx(other["answer_logp"], abs=1e-4)


class Killed(Exception):
    pass


def test_an_interrupted_evaluation_ends_with_the_same_files(loaded, evaluated, tmp_path):
    def die(column, done, of):
        if column == "forget_qa":
            raise Killed

    with pytest.raises(Killed):
        evaluate_model(loaded, columns(), tmp_path, config=CONFIG, progress=Listener(die))
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["forget_vqa.jsonl"]
    assert not (tmp_path / "scores.json").exists()
    seen = set()
    evaluate_model(loaded, columns(), tmp_path, config=CONFIG, progress=Listener(lambda column, *_: seen.add(column)))
    assert seen == {"forget_qa", "general"}
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert files == {path.name: path.read_bytes() for path in evaluated[1].iterdir()}


def test_progress_ends_where_it_said_it_would(loaded, tmp_path):
    listener = Listener(lambda *_: None)
    evaluate_model(loaded, {"forget_vqa": columns()["forget_vqa"]}, tmp_path, config=CONFIG, progress=listener)
    assert listener.shares == sorted(listener.shares)
    assert listener.shares[-1] == 1


@pytest.mark.parametrize("change", ["weights", "settings", "items"])
def test_a_folder_of_another_evaluation_is_left_alone(trained, untrained, evaluated, tmp_path, change):
    evaluate_model(trained, columns(), tmp_path, config=CONFIG)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = {column: [replace(item, question=f"{item.question} ?") for item in of] for column, of in columns().items()}
    with pytest.raises(DataError, match="remove it or name another folder"):
        evaluate_model(
            untrained if change == "weights" else trained,
            other if change == "items" else columns(),
            tmp_path,
            config=replace(CONFIG, max_new_tokens=5) if change == "settings" else CONFIG,
        )
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_other_rules_score_the_answers_that_are_there(trained, evaluated, tmp_path):
    evaluate_model(trained, columns(), tmp_path, config=CONFIG)
    answers = {path.name: path.read_bytes() for path in tmp_path.glob("*.jsonl")}
    inputs = (tmp_path / "inputs.json").read_bytes()
    evaluate_model(trained, columns(), tmp_path, config=replace(CONFIG, scoring="released"))
    assert read_json(tmp_path / "scores.json")["scoring"] == "released"
    assert answers == {path.name: path.read_bytes() for path in tmp_path.glob("*.jsonl")}
    assert inputs == (tmp_path / "inputs.json").read_bytes()


def test_lines_know_the_longer_answers(trained, tmp_path):
    [item, *_] = columns()["forget_qa"]
    evaluate_model(trained, {"forget_qa": [replace(item, longer=("south sudan",))]}, tmp_path / "some", config=CONFIG)
    evaluate_model(trained, {"forget_qa": [item]}, tmp_path / "none", config=CONFIG)
    assert read_columns(tmp_path / "some")["forget_qa"][0]["longer"] == ["south sudan"]
    assert "longer" not in read_columns(tmp_path / "none")["forget_qa"][0]


def test_the_fingerprint_sees_one_bit(trained):
    model = copy.deepcopy(trained.model)
    same = weights_fingerprint(replace(trained, model=model))
    assert same == weights_fingerprint(trained)
    with torch.no_grad():
        weight = next(model.parameters())
        weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(9.0))
    assert same != weights_fingerprint(replace(trained, model=model))


def test_a_checkpoints_own_generation_defaults_do_not_change_its_answers(trained, evaluated, tmp_path):
    model = copy.deepcopy(trained.model)
    model.generation_config.update(repetition_penalty=5.0, no_repeat_ngram_size=1, max_new_tokens=1)
    changed = replace(trained, model=model)
    evaluate_model(changed, columns(), tmp_path / "a", config=CONFIG)
    evaluate_model(trained, columns(), tmp_path / "b", config=CONFIG)
    assert (tmp_path / "a/forget_vqa.jsonl").read_bytes() == (tmp_path / "b/forget_vqa.jsonl").read_bytes()
    assert model.generation_config.repetition_penalty == 5.0


def test_a_model_whose_rows_cannot_share_is_asked_plainly(loaded, evaluated, tmp_path, monkeypatch):
    """By its configuration: layers of a kind that a shared row's mask knows nothing of."""
    model = copy.deepcopy(loaded.model)
    text = model.config.get_text_config()
    text.layer_types = ["linear_attention"] * text.num_hidden_layers
    masks = []
    tree = likelihood_module.tree

    def seen(groups, encoder):
        batch = tree(groups, encoder)
        masks.extend(part.inputs["attention_mask"].dim() for part in batch.passes)
        return batch

    monkeypatch.setattr(likelihood_module, "tree", seen)
    monkeypatch.setattr("mmunlearner.evaluate.ask.generate", lambda rows, *_: [()] * len(rows))
    evaluate_model(replace(loaded, model=model), columns(), tmp_path, config=CONFIG)
    assert set(masks) == {2}  # of plain rows
    for line, other in zip(lines(evaluated[1]), lines(tmp_path), strict=True):
        assert line["answer_logp"] == pytest.approx(other["answer_logp"], abs=1e-4)


def test_without_candidates_the_same_is_said_and_scored_and_no_more(loaded, evaluated, tmp_path):
    scores = evaluate_model(loaded, columns(), tmp_path, config=replace(CONFIG, candidates=False))
    for line, other in zip(lines(evaluated[1]), lines(tmp_path), strict=True):
        assert other.items() <= line.items()
        assert not any(name.endswith(("logp", "logps")) for name in other)
    for column, by_metric in scores.columns.items():
        assert by_metric == {name: evaluated[0].columns[column][name] for name in by_metric}
        assert "accuracy" in by_metric
        assert not {"truth_ratio", "probability", "multiple_choice_agreement"} & set(by_metric)


def test_a_model_of_nan_is_an_error(trained, tmp_path):
    model = copy.deepcopy(trained.model)
    with torch.no_grad():
        next(model.get_decoder().parameters()).fill_(torch.nan)
    with pytest.raises(ModelError, match="not finite"):
        evaluate_model(replace(trained, model=model), columns(), tmp_path, config=CONFIG)


def test_training_mode_is_given_back_and_not_used(trained, tmp_path):
    trained.model.train()
    try:
        evaluate_model(trained, columns(), tmp_path, config=CONFIG)
        assert trained.model.training
    finally:
        trained.model.eval()
