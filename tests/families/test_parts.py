"""Vision, projector and language of every family: disjoint, complete, and each with weights to mask."""

from __future__ import annotations

from itertools import chain

from mmunlearner.models import candidates, chosen_layers, layers, outside_layers, parts

NO_LINEAR_PROJECTOR = {"Gemma 3"}
"""Whose projector is a plain matrix and a norm: no linear layer, so nothing of it is a candidate."""

UNMARKED_VISION_LAYERS = {"Mllama"}
"""Whose vision layers transformers cannot compute again: their choice is refused."""


def test_each_weight_has_one_part(family):
    found = parts(family.model)
    names = list(chain.from_iterable(found.values()))
    assert sorted(names) == sorted(name for name, _ in family.model.named_parameters())
    assert all(found.values())


def test_names_of_parts(family):
    """By what the families call them, which the code does not go by."""
    found = parts(family.model)
    assert all("vision" in name or "visual" in name for name in found["vision"])
    assert not any("projector" in n or "merger" in n or "connector" in n for n in found["vision"] + found["language"])
    assert all("language_model" in name or "text_model" in name or "lm_head" in name for name in found["language"])


def test_candidates(family, request):
    name = request.node.callspec.params["fresh"]
    owners = set(candidates(family.model).values())
    expected = {"vision", "language"} | (set() if name in NO_LINEAR_PROJECTOR else {"projector"})
    assert owners == expected
    heads = {name for name, weight in family.model.named_parameters() if weight is family.model.lm_head.weight}
    assert not heads & set(candidates(family.model))


def test_layers(family, request):
    """Those of the decoder in its order; a choice of all layers leaves what lies in none, and halves are disjoint."""
    named, owned = dict(family.model.named_modules()), parts(family.model)
    found = layers(family.model)
    assert [named[name] for name in found["language"]] == list(family.model.get_decoder().layers)
    assert bool(found["vision"]) == (request.node.callspec.params["fresh"] not in UNMARKED_VISION_LAYERS)
    for part in ("vision", "language") if found["vision"] else ("language",):
        stays = outside_layers(family.model, {part: "0%-100%"})
        assert stays < set(owned[part])
        assert not any(name.startswith(f"{layer}.") for layer in found[part] for name in stays)
        halves = [chosen_layers(family.model, {part: text})[part] for text in ("first 50%", "last 50%")]
        assert [*halves[0], *halves[1]] == found[part]
