from __future__ import annotations

import dataclasses

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.config import DataConfig, MaskConfig, MethodConfig, RunConfig, TrainConfig
from mmunlearner.core.recipes import (
    build,
    check,
    config_hash,
    find_recipe,
    load_config,
    plain,
    shipped_recipes,
    to_yaml,
)
from mmunlearner.errors import ConfigError

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12) | st.sampled_from(
    ["no", "1e-5", "null", "~", "true", "a, b", "[x", "{", "<<", "0x1f", "2024-01-01", ""]
)
NUMBER = st.floats(-1e9, 1e9)
NAME = st.from_regex(r"[\w][\w.-]{0,20}[\w-]", fullmatch=True).filter(
    lambda name: name.replace("_", "").replace("-", "").replace(".", "").isalnum() and len(name.encode()) <= 100
)


@st.composite
def configs(draw: st.DrawFn) -> RunConfig:
    train = st.fixed_dictionaries({}, optional={"learning_rate": st.floats(0, 1), "report_to": st.just(())})
    mask = st.builds(MaskConfig, parts=st.sampled_from([("vision",), ("language", "vision")]), beta=st.floats(0, 9))
    options = st.dictionaries(TEXT, NUMBER, max_size=2)
    method = st.builds(
        MethodConfig,
        title=TEXT,
        options=options,
        mask=st.none() | mask,
        train=train,
        trials=st.lists(options, max_size=2).map(tuple),
    )
    return RunConfig(
        name=draw(NAME),
        seed=draw(st.integers(0, 2**32 - 1)),
        data=DataConfig(root=draw(TEXT), forget_entities=tuple(draw(st.lists(TEXT, max_size=3)))),
        train=TrainConfig(learning_rate=draw(st.floats(0, 10)), warmup=draw(st.floats(0, 1))),
        methods=draw(st.dictionaries(NAME, method, max_size=2)),
    )


@given(configs())
def test_yaml_reads_back_equal(tmp_path_factory: pytest.TempPathFactory, config: RunConfig) -> None:
    file = tmp_path_factory.mktemp("recipe") / "r.yaml"
    file.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(file) == config == check(config)
    assert config_hash(load_config(file)) == config_hash(config)


@given(configs())
def test_plain_holds_only_what_json_holds(config: RunConfig) -> None:
    assert build(RunConfig, plain(config)) == config
    assert yaml.safe_load(to_yaml(config)) == plain(config)


def recipe(tmp_path, text: str, name: str = "r.yaml"):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def test_scalars_are_read_by_the_option_s_type(tmp_path) -> None:
    file = recipe(
        tmp_path,
        "train: {learning_rate: 1e-5, steps: 7}\ndata: {forget_entities: [no, 1e3]}\nmodel: {trust_remote_code: on}\n"
        "methods: {a: {train: {learning_rate: 2e-5, steps: 3}, trials: [{learning_rate: 1e-3}]}}\n",
    )
    config = load_config(file)
    assert config.train.learning_rate == 1e-5
    assert config.data.forget_entities == ("no", "1e3")
    assert config.model.trust_remote_code is True
    assert config.methods["a"].train == {"learning_rate": 2e-5, "steps": 3}
    assert config.methods["a"].trials == ({"learning_rate": 1e-3},)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {learning_rat: 1}", "train.learning_rat: unknown option; did you mean learning_rate?"),
        ("xyzzy: 1", "xyzzy: unknown option; known: name, out, goal, seed, data, "),
        ("train: {steps: abc}", "train.steps: expected a whole number, found 'abc'"),
        ("train: {steps: 2.5}", "train.steps: expected a whole number, found '2.5'"),
        ("train: {learning_rate: nan}", "train.learning_rate: expected a finite number, found 'nan'"),
        ("train: {learning_rate: -1}", "train.learning_rate: expected 0 or more, found '-1'"),
        ("train: {warmup: 1.5}", "train.warmup: expected 1 or less, found '1.5'"),
        ("train: {optimizer: adam}", "train.optimizer: expected one of adamw, sgd, muon, found 'adam'"),
        ("train: fast", "train: expected the options learning_rate, "),
        ("methods: {npo: {mask: {part: vision}}}", "methods.npo.mask.part: unknown option; did you mean parts?"),
        ("methods: {npo: {train: {step: 3}}}", "methods.npo.train.step: unknown option; did you mean steps?"),
        ("methods: {npo: {train: {steps: -3}}}", "methods.npo.train.steps: expected 0 or more, found '-3'"),
        ("methods: {npo: {options: {beta: x}}}", "methods.npo.options.beta: expected a number, found 'x'"),
        (
            "methods: {npo: {mask: {parts: [sound]}}}",
            "methods.npo.mask.parts[0]: expected one of vision, projector, language, found 'sound'",
        ),
        ("methods: [npo]", "methods: expected named values, found ['npo']"),
        ("name: [a]", "name: expected a text, found ['a']"),
        ("model: {trust_remote_code: maybe}", "model.trust_remote_code: expected true or false, found 'maybe'"),
        ("data: {forget_entities: {a: b}}", "data.forget_entities: expected a list, found {'a': 'b'}"),
        ("seed: 1\nseed: 2", "not valid YAML (the key seed is repeated"),
        ("a: [", "not valid YAML ("),
        ("- a", "a recipe is `option: value` lines, this is list"),
        ("extends: none.yaml", "extends: none.yaml: no such file beside it"),
        ("extends: r.yaml", "extends itself"),
    ],
)
def test_errors_name_the_file_the_option_and_the_remedy(tmp_path, text: str, message: str) -> None:
    file = recipe(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_or_not_there_is_an_error_of_one_line(tmp_path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(binary)
    with pytest.raises(ConfigError, match="absent.yaml: no such recipe; known: "):
        load_config("absent.yaml")


def test_overrides_win_and_errors_name_the_flag(tmp_path) -> None:
    file = recipe(tmp_path, "train: {steps: 5, clip: 2}\nmethods: {npo: {method: npo}}\n")
    config = load_config(
        file,
        {
            "train.steps": "9",
            "data.forget_entities": "fr, de",
            "methods.npo.train.learning_rate": "3e-4",
            "methods.npo.mask.parts": ["vision", "language"],
            "methods.npo.trials": "[{learning_rate: 1e-3}]",
        },
    )
    assert (config.train.steps, config.train.clip) == (9, 2.0)
    assert config.data.forget_entities == ("fr", "de")
    npo = config.methods["npo"]
    assert npo.method == "npo"
    assert npo.train == {"learning_rate": 3e-4}
    assert npo.mask == MaskConfig(parts=("vision", "language"))
    assert npo.trials == ({"learning_rate": 1e-3},)
    with pytest.raises(ConfigError, match=r"^--train.steps: expected a whole number, found 'many'$"):
        load_config(file, {"train.steps": "many"})
    with pytest.raises(ConfigError, match=r"^--methods.nop: no such method in the recipe; did you mean npo\?$"):
        load_config(file, {"methods.nop.train.steps": "1"})
    with pytest.raises(ConfigError, match=r"r.yaml: train.steps: "):
        load_config(recipe(tmp_path, "train: {steps: x}"), {"train.clip": "1"})


names = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1).map(str.strip).filter(bool)


@given(st.lists(names, min_size=1))
def test_a_list_in_one_text_holds_any_name(items: list[str]) -> None:
    text = ",".join(f'"{name.replace(chr(34), 2 * chr(34))}"' for name in items)
    assert build(DataConfig, {"forget_entities": text}).forget_entities == tuple(items)


def test_extends_merges_options_replaces_lists_and_null_takes_out(tmp_path) -> None:
    recipe(
        tmp_path,
        "train: {steps: 5, clip: 2}\nmethods: {a: {method: ga, mask: {beta: 2}}, b: {method: npo}}\n"
        "data: {forget_entities: [x, y]}\n",
        "base.yaml",
    )
    child = recipe(
        tmp_path,
        "extends: base.yaml\ntrain: {clip: 3}\nmethods: {a: {mask: null}, b: null}\ndata: {forget_entities: [z]}\n",
    )
    config = load_config(child)
    assert (config.train.steps, config.train.clip) == (5, 3.0)
    assert config.methods == {"a": MethodConfig(method="ga", mask=None)}
    assert config.data.forget_entities == ("z",)


def test_two_recipes_that_extend_each_other_end_in_an_error(tmp_path) -> None:
    recipe(tmp_path, "extends: b.yaml", "a.yaml")
    recipe(tmp_path, "extends: a.yaml", "b.yaml")
    with pytest.raises(ConfigError, match="extends itself"):
        load_config(tmp_path / "a.yaml")


def test_the_hash_depends_on_content_not_place() -> None:
    config = RunConfig()
    elsewhere = dataclasses.replace(config, name="other", out="elsewhere", jobs=3, bounds={"general": 1.0})
    assert config_hash(elsewhere) == config_hash(config)
    assert config_hash(dataclasses.replace(config, seed=1)) != config_hash(config)
    assert len(config_hash(config)) == 12


def test_check_validates_configurations_built_in_python() -> None:
    with pytest.raises(ConfigError, match=r"^train.warmup: expected 1 or less, found 2.0$"):
        check(RunConfig(train=TrainConfig(warmup=2.0)))


def test_defaults_lie_within_their_own_bounds() -> None:
    assert check(RunConfig()) == RunConfig()
    assert check(MethodConfig(mask=MaskConfig())) == MethodConfig(mask=MaskConfig())


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_parses(name: str) -> None:
    config = load_config(name)
    assert config.methods
    assert find_recipe(name) == shipped_recipes()[name]


@pytest.mark.parametrize(
    "name",
    ["../../evil", "a/b", "a\\b", "C:x", "", ".", "..", ".hidden", "-rf", "ends.", "two words", "con", "LPT1.txt",
     "a\nb", "x" * 101, "é" * 51, "*"],
)  # fmt: skip
@pytest.mark.parametrize("group", ["name", "methods"])
def test_a_name_that_becomes_a_folder_is_no_path(name: str, group: str) -> None:
    content = {"name": name} if group == "name" else {"methods": {name: {}}}
    with pytest.raises(ConfigError, match=rf"^{group}.*: expected .*(letters|name|printable)"):
        build(RunConfig, content)


@pytest.mark.parametrize("name", ["run", "a.b-c_1", "运行", "COM", "console", "x" * 100, "1e-4"])
def test_names_of_any_script_are_taken(name: str) -> None:
    assert build(RunConfig, {"name": name, "methods": {name: {}}}).name == name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"seed": 2**32}, "seed: expected less than 4294967296, found 4294967296"),
        ({"train": {"learning_rate": "3e5"}}, "train.learning_rate: expected 10 or less, found '3e5'"),
        ({"finetune": {"steps": 10**10}}, "finetune.steps: expected 1e+09 or less, found 10000000000"),
        ({"methods": {"a": {"mask": {"parts": []}}}}, "methods.a.mask.parts: expected one or more different items, f"),
        ({"methods": {"a": {"mask": {"parts": "vision,vision"}}}}, "methods.a.mask.parts: expected one or more differ"),
        ({"data": {"root": "a\0b"}}, r"data.root: expected a text of printable characters, found 'a\x00b'"),
        ({"model": {"vanilla": "caf\udce9"}}, r"model.vanilla: expected a text of printable characters, found 'caf\ud"),
        ({"data": {"forget_entities": ["Ada", "\x1b[2J"]}}, r"data.forget_entities[1]: expected a text of printable"),
        ({"methods": {"a": {"options": {"x\0": 1}}}}, r"methods.a.options.x\x00: expected a text of printable charac"),
    ],
)
def test_what_no_path_or_library_takes_is_refused(content: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(RunConfig, content)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["a: " + "[" * 5000, "a: " + "{a: " * 3000, "a: " + "[" * 300 + "]" * 300, "[" * 900])
def test_brackets_in_brackets_are_one_line(tmp_path, text: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "recipe.yaml")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
