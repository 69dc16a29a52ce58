"""The commands of single steps: `finetune`, `mask`, `unlearn`, `evaluate`, `ask`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from mmunlearner.cli.options import LOADING, Load
from mmunlearner.config import (
    DataConfig,
    EvaluateConfig,
    JudgeConfig,
    LoadConfig,
    MaskConfig,
    MethodConfig,
    TrainConfig,
)
from mmunlearner.core import recipes
from mmunlearner.core.progress import ProgressBar, waiting
from mmunlearner.core.time_left import Stage


def finetune(
    *,
    model: str,
    out: Path,
    oracle: bool = False,
    data: DataConfig = DataConfig(),
    train: TrainConfig = TrainConfig(),
    load: Load = LoadConfig(),
    seed: int = 0,
) -> None:
    """Fine-tune a model on a benchmark: the vanilla model of a run, or its retain oracle.

    Args:
        model: Directory or hub id to start from, or `tiny`: a LLaVA of two million weights that has seen the
            invented people.
        out: Directory for the trained model.
        oracle: Leave out the images of the entities to forget.
    """
    with waiting(LOADING):
        from mmunlearner.run import single
    single.finetune(model, out, data=data, train=train, load=load, oracle=oracle, seed=seed)
    print(f"model: {out}")


def mask(
    *,
    model: str,
    out: Path,
    data: DataConfig = DataConfig(),
    mask: Annotated[MaskConfig, Parameter(name="*")] = MaskConfig(),
    load: Load = LoadConfig(),
    seed: int = 0,
) -> None:
    """Compute the saliency mask, the weights that the forget term may move.

    Args:
        model: Directory or hub id of the model to unlearn, or `people:vanilla`.
        out: File for the mask (.safetensors); its statistics are written beside it (.json, .svg).
    """
    from mmunlearner.cli import tables as show

    with waiting(LOADING):
        from mmunlearner.run import single
    show.mask(single.mask(model, out, data=data, mask=mask, load=load, seed=seed))


def unlearn(
    *,
    model: str,
    out: Path,
    method: str = "",
    mask: Path | None = None,
    options: dict[str, float] | None = None,
    data: DataConfig = DataConfig(),
    train: TrainConfig = TrainConfig(),
    load: Load = LoadConfig(),
    seed: int = 0,
) -> None:
    """Unlearn with one method.

    Args:
        model: Directory or hub id of the model to unlearn, or `people:vanilla`.
        out: Directory for the unlearned model.
        method: A name that `mmunlearner list` shows, or `package.module:name`; if left out, `unlikelihood`, or
            `mmunlearner` with a mask.
        mask: File that `mmunlearner mask` wrote: outside it, the forget term moves nothing.
        options: The method's hyper-parameters, e.g. `--options.beta 0.4`.
    """
    from mmunlearner.cli import tables as show

    with waiting(LOADING):
        from mmunlearner.run import single
    config = MethodConfig(method=method or ("mmunlearner" if mask else "unlikelihood"), options=options or {})
    single.unlearn(model, out, method=config, data=data, train=train, load=load, mask=mask, seed=seed)
    show.weight_changes(out, masked=mask is not None)


def evaluate(
    *,
    out: Path,
    model: str = "",
    against: str = "",
    oracle: Path | None = None,
    lmms: tuple[str, ...] = (),
    lmms_python: str = "",
    lmms_model: str = "",
    data: DataConfig = DataConfig(),
    evaluate: Annotated[EvaluateConfig, Parameter(name="*")] = EvaluateConfig(),
    judge: JudgeConfig = JudgeConfig(),
    load: Load = LoadConfig(),
    seed: int = 0,
) -> None:
    """Evaluate a model: save and score its answers; without --model, score again the answers that OUT holds.

    Args:
        out: Directory for the answers (a line of JSON per item) and scores.json.
        model: Directory or hub id of the model to evaluate, or `people:vanilla`.
        against: Model before unlearning, or directory of its answers: its accuracy is shown beside this one's, and what
            was forgotten and lost. A model is asked the same questions; its answers are kept in OUT/against-NAME.
        oracle: Directory of the retain oracle's answers: the distance to them is shown, by KS and JS of truth ratios.
        lmms: Tasks of lmms-eval instead, e.g. `pope,mme,mmbench_en,mmmu_val`: general ability of the saved directory
            --model, written to OUT/lmms.json.
        lmms_python: Python of the environment that has lmms-eval.
        lmms_model: The model's name in lmms-eval; if left out, it follows from the configuration's `model_type`.
    """
    from mmunlearner.cli import tables as show

    if lmms:
        from mmunlearner.evaluate.lmms import Lmms, evaluate_lmms

        with waiting(f"lmms-eval ({out / 'lmms' / 'log.txt'})"):
            scores = evaluate_lmms(model, lmms, out, Lmms(lmms_python, lmms_model, evaluate.limit))
        show.lmms(scores, out)
        return
    from mmunlearner.evaluate import judge as judging
    from mmunlearner.evaluate import read_columns, rescore

    # Before the evaluation, which takes long.
    if judge.endpoint:
        judging.check_judge(judge)
    if oracle is not None:
        read_columns(oracle)
    earlier = Path(against) if against and any(Path(against).glob("*.jsonl")) else None
    if model or (against and not earlier):
        with waiting(LOADING):
            from mmunlearner.run import single
        if against and not earlier:
            earlier = single.evaluate_against(model, against, out, data=data, config=evaluate, load=load, seed=seed)
        else:
            single.evaluate(model, out, data=data, evaluate=evaluate, load=load, seed=seed)
    if judge.endpoint:
        _judge(out, judge)
    scoring = recipes.check(evaluate).scoring
    with waiting("scoring the answers"):
        scores = rescore(out, scoring)
    comparison = None
    if earlier:
        from mmunlearner.evaluate.against import Against

        comparison = Against.of(against, earlier, out, scoring)
    show.scores(scores, out, comparison)
    if oracle is not None:
        show.distances(out, oracle)


def _judge(out: Path, judge: JudgeConfig) -> None:
    """Let a judge score the answers in a directory, and print how many it did."""
    from mmunlearner.evaluate import judge as judging

    with ProgressBar([Stage({"judge": 60.0})]) as progress:  # a guess: the endpoint alone knows its pace
        of_judge = progress.child("judge")
        sent = judging.judge(out, judge, progress=of_judge)
        of_judge.end()
    unscored = judging.unscored(out)
    print(f"judge {judge.model}: {sent} answers judged now, {len(unscored)} replies without a number from 1 to 10")


def ask(
    *questions: str,
    model: tuple[str, ...],
    image: tuple[Path, ...] = (),
    option: tuple[str, ...] = (),
    max_new_tokens: Annotated[int, Field(ge=1)] = EvaluateConfig.max_new_tokens,
    load: Load = LoadConfig(),
) -> None:
    """Ask models questions of your own, about pictures or without any, and read their answers side by side.

    `mmunlearner ask --model people:vanilla --model people:oracle --image face.png "Who is this?"`.
    The models are loaded one after the other, so that memory for one suffices.

    Args:
        questions: Questions; each is asked about each picture.
        model: Directory or hub id of a model, or `people:vanilla` or `people:oracle`.
        image: File of a picture; without one the questions are asked in words alone.
        option: Possible answer whose likelihood is shown too.
        max_new_tokens: Most tokens of an answer.
    """
    from mmunlearner.cli import tables as show

    with waiting(LOADING):
        from mmunlearner.run.side_by_side import ask, inquiries
    asked = inquiries(questions, image)
    config = EvaluateConfig(max_new_tokens=max_new_tokens)
    show.replies(asked, model, ask(model, asked, option, load=load, config=config))
