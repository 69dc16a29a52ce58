"""Configuration of a run: frozen dataclasses that are recipe (YAML), command line flags and Python API at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from mmunlearner.option_types import (
    SPLIT_AT_COMMAS,
    AtLeastOne,
    Count,
    Flag,
    FolderName,
    Fraction,
    Layers,
    LearningRate,
    NotNegative,
    PartOf,
    PartRate,
    Percent,
    Seed,
    check_distinct,
    check_folder_names,
    check_names,
    flatten_trial,
)  # fmt: skip

DENSITY = 0.5
"""Share of the candidates that a mask selects where neither `density` nor `beta` says it."""
Augment = Literal["auto", "none", "forget", "all"]
Goal = Literal["visual", "full"]
Part = Literal["vision", "projector", "language"]
if TYPE_CHECKING:
    PartName = Part
else:
    PartName = str  # the command line takes no other names of values; `check_parts` checks them
check_parts = partial(check_names, names=get_args(Part))
DType = Literal["float32", "bfloat16"]
Quantize = Literal["none", "int8", "nf4"]
Scoring = Literal["package", "released"]
ChoosingRule = Literal["distortion", "distance"]
DataOfStage = Literal["both", "texts", "images"]
Attention = Literal["auto", "sdpa", "eager", "flex_attention"]


@dataclass(frozen=True)
class DataConfig:
    """Benchmark of a run, and the entities to forget."""

    format: str = "people"
    """A benchmark that `mmunlearner list` shows, or `package.module:function` of your own loader."""
    root: str = ""
    """Folder of the data set (empty for `people`, which makes its own)."""
    forget: Annotated[int, Field(ge=1, le=100)] = 15
    """Per cent of the entities to forget, in formats with such splits: mostly 5, 10 or 15."""
    forget_entities: Annotated[tuple[str, ...], SPLIT_AT_COMMAS] = ()
    """Names of the entities to forget, in place of a share; all others are retained."""
    fold: str = ""
    """Named set of entities to forget, in formats that have such sets: in `people` 12 (the share of 15 %), 12a to 12d,
    24, 4 and 1."""
    general: str = ""
    """Folder of a general-ability set in the rows format; empty: the benchmark's own, if it has one."""


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters instead of full fine-tuning."""

    rank: Annotated[int, Field(ge=0, le=2**16)] = 0
    """Rank r of the adapters; 0 trains the weights themselves."""
    alpha: NotNegative = 32.0
    """Scale: the update is alpha / rank * B A."""


@dataclass(frozen=True)
class LoadConfig:
    """Number formats, devices and adapters of a model."""

    dtype: DType = "float32"
    """Number format of computation in training and saliency."""
    weights: DType = "float32"
    """Number format of the weights in memory: `bfloat16` takes half the memory, but a small learning rate moves few
    such weights (training warns, with their share); adapters are in float32 either way."""
    quantize: Quantize = "none"
    """Number format of linear weights under adapters (bitsandbytes): `int8`, or 4 bits as `nf4` (QLoRA). Only adapters
    train then (`lora.rank`); they are merged into the unquantised weights, from which masks are computed too."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`..."""
    device_map: Literal["", "auto", "balanced", "sequential"] = ""
    """Way in which accelerate spreads a model that is larger than one card over all cards and the host's memory; empty:
    the whole model is on `device`."""
    attention: Attention = "auto"
    """Attention of the language model. `auto` is transformers' choice, with SDPA in blocks that leave out the keys
    behind a query. `flex_attention` (for a GPU, and compiled there) leaves out all pairs that do not see each other."""
    trust_remote_code: Flag = False
    """Run code that comes with the model."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    adapter: str = "lora"
    """Adapter that unlearning trains in place of the weights: `lora` (of a rank above 0), `sine` (W + sin(dW) of the
    projector), or `package.module:Name` of your own."""


@dataclass(frozen=True)
class ModelConfig(LoadConfig):
    """The model to unlearn, and the retain oracle, which never saw the images to forget."""

    vanilla: str = ""
    """Directory or hub id of the model to unlearn; empty: it is trained from `base` (`people` ships its own)."""
    oracle: str = ""
    """Directory or hub id of the retain oracle; empty: trained from `base` too, or none where there is no `base`."""
    base: str = ""
    """Directory or hub id of the model that `finetune` starts from, or `tiny`: a LLaVA of two million weights that has
    seen the invented people."""

    @property
    def needs_finetuning(self) -> bool:
        """True if the vanilla model or the oracle is trained from the base."""
        return bool(self.base) and not (self.vanilla and self.oracle)


@dataclass(frozen=True)
class MaskConfig:
    """Choice of the weights that the forget term may move (method step 2)."""

    parts: Annotated[tuple[Part, ...], SPLIT_AT_COMMAS, AfterValidator(check_distinct)] = ("vision", "projector")
    """Parts whose linear weights are candidates; no other weight obeys the forget term."""
    beta: NotNegative | None = None
    """Threshold of (S_forget + eps) / (S_preserve + eps), in place of a density; 1 is the paper's."""
    density: Fraction | None = None
    """Share of the candidates to select, from which beta follows; left out: 0.5, or as many as `beta` selects."""
    per_layer: Flag = False
    """Select the density in each layer, by a beta of its own, instead of in all layers together; has no effect where
    beta is set."""
    unit: Literal["question", "image", "batch"] = "image"
    """Questions whose mean gradient is squared: one question, all questions about one image, or `batch` questions."""
    batch: AtLeastOne = 4
    """Questions of a batch, consecutive in their set, about any entity; for `unit: batch` only."""
    limit: Count = 512
    """At most so many units per data set, spread over the entities; 0: all."""
    random: Flag = False
    """Control: a random mask of the same density in each layer."""

    def __post_init__(self) -> None:
        # Both are numbers in every mask, so that its options are recorded in full: with a density, beta is not used.
        if self.density is None:
            object.__setattr__(self, "density", DENSITY if self.beta is None else 0.0)
        if self.beta is None:
            object.__setattr__(self, "beta", 1.0)


@dataclass(frozen=True)
class TrainConfig:
    """Budget of one training loop, equal for all methods that are compared."""

    learning_rate: LearningRate = 0.0
    """Peak learning rate; 0: the method's own (`mmunlearner list`)."""
    steps: Count = 0
    """Steps that contain the forget term (optimizer steps, in fine-tuning); 0: the method's own number, which
    may follow the number of entities to forget."""
    parts: Annotated[tuple[Part, ...], SPLIT_AT_COMMAS] = ()
    """Parts whose weights train, those of the mask's parts where there is a mask; empty: the method's own."""
    layers: Annotated[dict[PartName, Layers], AfterValidator(check_parts)] = field(default_factory=dict)
    """Layers that train of a part, in place of the whole part: `{language: last 10}`, `first 4`, `20-29` (the first is
    0), or by depth `last 33%`, `50%-100%`. What lies in no layer (embeddings, last norm, output head) stays then."""
    learning_rates: Annotated[dict[PartName, PartRate], AfterValidator(check_parts)] = field(default_factory=dict)
    """Peak learning rates of parts that differ from `learning_rate`: `{projector: 1e-3, language: 1e-5}`."""
    retain_per_forget: AtLeastOne = 3
    """Retain batches for every forget batch: one in the same step, the others in steps of their own."""
    retain_fraction: Fraction = 1.0
    """Share of the retain images (and texts) that a run may draw, spread over the entities; at least one of each."""
    batch_size: AtLeastOne = 16
    """Images (or texts) in a batch, each with `questions` questions."""
    texts: Count = 0
    """Entities whose texts alone are drawn, in addition to a retain batch's images; 0: texts are drawn like images."""
    texts_by: Literal["entity", "question"] = "entity"
    """Unit by which texts are drawn: each entity's as often as an image (`entity`), or every question in words equally
    often (`question`), so that an entity with one fact is not drawn as often as one with ten."""
    questions: AtLeastOne = 2
    """Questions drawn per image and step."""
    augment: Augment = "auto"
    """Images to turn, shift, zoom and light a little differently each time: `forget`, those of the forget term, so that
    other views are forgotten too; `all`, for fine-tuning on few views. `auto`: the method's own choice, where the
    model's images can be changed. References are of unchanged images."""
    tokens_per_batch: Count = 0
    """Tokens (padding included) in a forward and backward pass; a batch that has more is run in several, whose
    gradients add up to the whole batch's. One image's questions stay together. 0: the batch in one pass."""
    accumulation: AtLeastOne = 1
    """Batches per optimizer step."""
    clip: NotNegative = 1.0
    """Largest gradient norm, after masking; 0: no clipping."""
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    """Optimizer; `muon` is for matrices, all other weights get AdamW."""
    weight_decay: NotNegative = 0.0
    """Decay of trained weights towards zero."""
    warmup: Fraction = 0.1
    """Fraction of the steps in which the learning rate rises."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Learning rate after the warm-up: constant, or falling to zero."""
    keep_text: Flag = False
    """Draw the text-only QA in retain batches too; as published it only shapes the mask."""
    checkpointing: Flag = False
    """Compute activations again in the backward pass instead of keeping them: less memory, more time."""
    keep_features: NotNegative = 0.0
    """GiB of host memory for the image features of a vision part that does not train, instead of computing them at
    every step; images that are changed (`augment`) are computed each time. 0: no cache."""
    free: Literal["all", "parts", "mask"] = "parts"
    """Weights that the retain term may move: every weight, the mask's parts, or the masked weights only."""
    stop_every: Count = 0
    """Forget steps between checks of how much of the validation half's forget VQA is still known; training ends where
    it is no more than the oracle knows (without an oracle: than guessing gives). 0: no checks, all steps are made."""
    save_every: AtLeastOne = 50
    """Optimizer steps between checkpoints."""
    report_to: Annotated[tuple[str, ...], SPLIT_AT_COMMAS] = ()
    """Trackers of transformers' Trainer: `wandb`, `tensorboard`..."""


@dataclass(frozen=True)
class StageConfig(TrainConfig):
    """One training of several that follow each other."""

    data: DataOfStage = "both"
    """Training questions of the stage: those in words, those about images, or both."""


@dataclass(frozen=True)
class FinetuneConfig(TrainConfig):
    """Training of the vanilla model and the oracle."""

    lora: LoraConfig | None = None
    """Adapters in fine-tuning alone, of rank 0: none; left out: those of `model.lora`."""
    stages: tuple[Annotated[Mapping[str, object], PartOf(StageConfig)], ...] = ()
    """Trainings in place of one, each from the model of the one before, with the options that differ from those of
    `finetune`: `[{data: texts, parts: language, steps: 45}, {data: images, parts: "vision,projector", steps: 600}]`."""


@dataclass(frozen=True)
class MethodConfig:
    """One model to make: a method, its hyper-parameters, its mask and its budget."""

    method: str = "mmunlearner"
    """A name that `mmunlearner list` shows, or `package.module:name`."""
    title: str = ""
    """Name in tables; empty: the key under which the recipe lists it."""
    role: Literal["method", "baseline", "control"] = "method"
    options: Mapping[str, float] = field(default_factory=dict)
    """The method's hyper-parameters, by keyword."""
    mask: MaskConfig | None = None
    """None: every trainable weight obeys the forget term."""
    train: Annotated[Mapping[str, object], PartOf(TrainConfig)] = field(default_factory=dict)
    """Options that differ from the recipe's `train` (e.g. learning_rate)."""
    trials: tuple[Annotated[Mapping[str, float], BeforeValidator(flatten_trial)], ...] = ()
    """Settings to try on the choosing folds, or else on the validation half; training options and the method's:
    `{learning_rate: 1e-4, bound: 2}`, or `{train: {...}, options: {...}}` where both have an option of the same name;
    empty: no tuning."""
    family: str = ""
    """Rows of one family are variants: the best of them, by the same rule as for trials, stands for the family."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Questions and answers of an evaluation."""

    batch_size: AtLeastOne = 128
    """Questions in a batch."""
    max_new_tokens: AtLeastOne = 50
    """Most tokens of a generated answer."""
    limit: Count = 0
    """At most so many items per column, spread over the entities; 0: all."""
    candidates: Flag = True
    """Compute the likelihoods of the options, the truth, its paraphrase and wrong answers too; `false`: only generated
    answers are scored, as published, and likelihoods, truth ratios and forget quality are absent."""
    scoring: Scoring = "package"
    """Rules by which answers are scored (docs/scoring.md): `package`, for options and whole words in any script, or
    `released`, those of the released benchmarks' code: the first letter is the option, any part of a word counts."""
    shots: Count = 0
    """Solved questions about other entities that are shown (in words) before each question; 0: zero-shot."""


@dataclass(frozen=True)
class JudgeConfig:
    """A language model that judges answers to open questions."""

    endpoint: str = ""
    """Address of an OpenAI-compatible API, e.g. `https://api.openai.com/v1`; empty: no judge."""
    model: str = ""
    """The judge's name at the endpoint."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable with the key; where it is unset, none is sent."""
    timeout: AtLeastOne = 60
    """Seconds to wait for a reply."""
    attempts: AtLeastOne = 4
    """Requests per judgement before giving up."""


@dataclass(frozen=True)
class RunConfig:
    """A run from the data to the report."""

    name: FolderName = "run"
    """Name of the run and of its folder: letters, digits, `_`, `-` and `.` inside."""
    out: str = "runs"
    """The run is written to OUT/NAME."""
    goal: Goal = "visual"
    """`visual`: forget VQA down, forget QA stays; `full`: both down. Decides which direction is good."""
    seed: Seed = 0
    """Seed of everything that is drawn: batches, random masks, the weights of new models."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    """Budget of the vanilla model and the oracle, where the recipe trains them (`model.base`)."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Budget of the unlearning methods."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    trial_limit: Count = 0
    """At most so many items of each column judge a trial, spread over the entities; 0: all of the validation half, or
    of a choosing fold."""
    methods: Annotated[dict[str, MethodConfig], AfterValidator(check_folder_names)] = field(default_factory=dict)
    """Models to make and compare: name -> method; the name is that of a folder."""
    bounds: dict[str, Percent] = field(default_factory=dict)
    """Points that a column may lose against vanilla, or end away from the oracle, e.g. `{neighbour_vqa: 3}`; without a
    bound here 2 and 5. Bounds decide the words of the report, and nothing that is computed."""
    grid: dict[str, Annotated[tuple[float, ...], SPLIT_AT_COMMAS]] = field(default_factory=dict)
    """Values that `mmunlearner sweep` tries: option -> values, of training or of methods; `run` tries none."""
    folds: Annotated[tuple[str, ...], SPLIT_AT_COMMAS] = ()
    """Folds (`data.fold`) to repeat the run for, each in OUT/NAME/FOLD; `{fold}` in `model.oracle` stands for its name.
    The report is over the items of all folds."""
    choosing_folds: Annotated[tuple[str, ...], SPLIT_AT_COMMAS] = ()
    """Folds on which the methods' trials are made, in OUT/NAME/choosing/FOLD, with the first of the seeds: one setting
    of each method is chosen over all of them, and it alone runs on `folds`, where every item is scored. Empty: trials
    are judged on a validation half of each run."""
    choosing_rule: ChoosingRule = "distortion"
    """Choice among trials. `distortion`: of those whose forgetting is within a standard error of the oracle's (without
    an oracle: of guessing), the one that changes least of what the model computes for retained questions; where none
    is, by `distance`. `distance`: the smallest sum of missed forgetting and lost accuracy."""
    seeds: Annotated[tuple[Seed, ...], SPLIT_AT_COMMAS] = ()
    """Seeds to repeat the run with, in place of `seed`; each in a folder of its own, with one report over all."""
    jobs: Count = 0
    """Models made at the same time, each in a process of its own; 0: on a CPU one per core, as far as all of them fit
    in the machine's memory, and one on an accelerator."""

    @property
    def only_chooses(self) -> bool:
        """True for the run of one choosing fold: it makes trials, all its items judge, and it reports nothing."""
        return not self.folds and not self.seeds and self.data.fold in self.choosing_folds

    @property
    def finetune_lora(self) -> LoraConfig:
        """The adapters of fine-tuning: its own, or those of unlearning."""
        # Not `or`: an own rank of 0 means no adapters.
        return self.model.lora if self.finetune.lora is None else self.finetune.lora
