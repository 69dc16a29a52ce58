"""A whole run in miniature: a tiny base model, six entities, a recipe that trains, tunes, unlearns and evaluates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.tiny import VOCABULARY, examples, llava

from mmunlearner.config import (
    DataConfig,
    EvaluateConfig,
    FinetuneConfig,
    MaskConfig,
    MethodConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
)
from mmunlearner.data import Example, Splits
from mmunlearner.models import save

FORGET, NEIGHBOURS = {"ann", "ben"}, {"eve", "fay"}
FOLDS = {"ab": ("ann", "ben"), "cd": ("cat", "dan"), "ac": ("ann", "cat")}


def load(root: str, **_: object) -> Splits:
    """Entities that differ in their pictures and colours; a benchmark's loader, as a user would write one."""
    images, unseen, texts = examples(6, 3), examples(6, 1, seed=1), examples(6, 1, images=False)
    unseen = [replace(example, id=f"test/{example.id}") for example in unseen]
    protected = [
        replace(e, id=f"text/{e.id}", question=f"a : {e.question}") for e in texts if e.entity not in NEIGHBOURS
    ]

    def of(pool: list[Example], group: str) -> tuple[Example, ...]:
        names = {"forget": FORGET, "neighbour": NEIGHBOURS}.get(group) or {"cat", "dan"}
        return tuple(example for example in pool if example.entity in names)

    columns = {}
    for group in ("forget", "retain", "neighbour"):
        columns |= {f"{group}_vqa": of(images, group), f"{group}_qa": of(texts, group)}
    columns["forget_vqa_test"] = of(unseen, "forget")
    return Splits(of(images, "forget"), of(images, "retain"), tuple(protected), columns)


def load_for_folds(root: str, **_: object) -> Splits:
    """The same without the column that has no counterpart of retained entities: any of the four may be forgotten."""
    splits = load(root)
    columns = {name: items for name, items in splits.evaluation.items() if name != "forget_vqa_test"}
    return replace(splits, evaluation=columns)


def recipe(folder: Path, *, name: str = "mini", trials: int = 2, **options: object) -> RunConfig:
    """The recipe, its base model written to `folder`."""
    base = folder / "base"
    if not base.exists():
        save(llava(VOCABULARY), base)
    rates = tuple({"learning_rate": 10.0**-i} for i in range(3, 3 + trials))
    train = TrainConfig(steps=4, batch_size=3, retain_per_forget=2, save_every=2)
    methods = {
        "npo": MethodConfig("npo", role="baseline", trials=rates),
        "vision": MethodConfig(family="mmunlearner", mask=MaskConfig(beta=1.0), trials=rates, options={"bound": 3.0}),
        "language": MethodConfig(family="mmunlearner", mask=MaskConfig(parts=("language",), beta=1.0), trials=rates),
        "random": MethodConfig(role="control", mask=MaskConfig(beta=1.0, random=True), trials=rates),
    }
    config = RunConfig(
        name=name,
        out=str(folder / "runs"),
        data=DataConfig(format="support.miniature:load"),
        model=ModelConfig(base=str(base), device="cpu"),
        finetune=FinetuneConfig(
            steps=40, optimizer="muon", learning_rate=1e-2, batch_size=8, questions=3, save_every=10
        ),
        train=train,
        evaluate=EvaluateConfig(max_new_tokens=3),
        methods=methods,
        jobs=1,
    )
    return replace(config, **options)  # pyright: ignore[reportArgumentType]
