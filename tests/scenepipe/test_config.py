"""The YAML of a pipeline: what is accepted, every fault at once with its place, secrets, schema, fuzzing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field, SecretStr

from scenepipe.config import Component, PipelineConfig, load_config, parse_config
from scenepipe.errors import ConfigError, Fault
from scenepipe.fingerprint import fingerprint_parts
from scenepipe.registry import Registry
from scenepipe.schema import json_schema
from scenepipe.yaml_source import read_yaml

TOKEN = "correct-horse-battery"


class Stage:
    """A stage that must never be constructed here."""

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        raise AssertionError("checking constructed a stage")

    async def run(self, scene: Any, ctx: Any) -> Any: ...


class Colour(Enum):
    RED = "red"


class Nested(BaseModel):
    depth: int = 1
    key: SecretStr | None = None


class Closed(BaseModel, extra="forbid"):
    depth: int = 1


def _refuse(value: str) -> str:
    if value.startswith("bad"):
        raise ValueError(f"{value} is refused")
    if value.startswith("crash"):
        raise KeyError(value)
    return value


def _refuse_secret(value: SecretStr) -> SecretStr:
    if value.get_secret_value() == TOKEN:
        raise ValueError(f"{value.get_secret_value()} is refused")
    return value


class Recall(Stage):
    """Look for scenes met before.

    Args:
        top_k: echoes at most.
        mode: how.
    """

    def __init__(
        self,
        *,
        top_k: Annotated[int, Field(ge=1, le=100)] = 3,
        weight: float = 0.5,
        on: bool = True,
        mode: Literal["exact", "near"] = "exact",
        forms: list[str] | None = None,
        size: int | list[int] = 1,
        colour: Colour = Colour.RED,
        tags: frozenset[str] = frozenset(),
        nested: Nested | None = None,
        closed: Closed | None = None,
        extra: dict[str, Any] | None = None,
        checked: Annotated[str, AfterValidator(_refuse)] = "",
        folder: Path | None = None,
    ) -> None:
        super().__init__()


class Needy(Stage):
    requires: ClassVar[dict[str, str]] = {"no_such_package_anywhere": "vllm"}

    def __init__(self, *, path: str, count: int) -> None:
        super().__init__()


class Keyed(Stage):
    def __init__(
        self,
        *,
        key: SecretStr | None = None,
        strict: Annotated[SecretStr, AfterValidator(_refuse_secret)] = SecretStr(""),
        name: str = "",
        other: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()


class Backend:
    """An engine."""

    def __init__(self, *, context: int = 2048) -> None:
        raise AssertionError("checking constructed a backend")

    async def open(self) -> None: ...
    def generate(self) -> None: ...
    async def score(self) -> None: ...
    async def count(self) -> None: ...
    async def aclose(self) -> None: ...


class Archive(Backend):
    """An archive."""

    append = get = find = encounters = chat = hypertokens = neighbours = forget = rebuild = export = verify = (
        Backend.open
    )

    def __init__(self, *, path: str) -> None:
        raise AssertionError("checking constructed an archive")


class Encoder:
    """An encoder."""

    def encode(self, texts: Any) -> Any: ...


def make_registry() -> Registry:
    registry = Registry({}, plugins=())
    for name, cls in {"plain": type("Plain", (Stage,), {"__init__": lambda self: None}), "recall": Recall}.items():
        registry.add("stage", name, cls)
    registry.add("stage", "needy", Needy)
    registry.add("stage", "keyed", Keyed)
    registry.add("stage", "recall@2", type("Recall2", (Recall,), {}))
    registry.add("backend", "fake", Backend)
    registry.add("archive", "sqlite", Archive)
    registry.add("encoder", "usem3", Encoder)
    registry.add("encoder", "hash", type("Hash", (Encoder,), {}))
    return registry


REGISTRY = make_registry()
HEAD = "scenepipe: 1\nname: test\n"


def parse(text: str, **env: str) -> PipelineConfig:
    return parse_config(text, registry=REGISTRY, env=env)


def faults(text: str | bytes, **env: str) -> list[Fault]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, registry=REGISTRY, env=env)
    return list(caught.value.faults)


def only(text: str | bytes, **env: str) -> tuple[str, str, tuple[int | None, int | None]]:
    found = faults(text, **env)
    assert len(found) == 1, found
    return found[0].where, found[0].message, (found[0].line, found[0].column)


def option(line: str, **env: str) -> Any:
    """The value of one option of `recall`, written as one YAML line."""
    return parse(f"{HEAD}stages:\n  - use: recall\n    {line}\n", **env).stages[0].options[line.partition(":")[0]]


# What is accepted

FULL = """\
# yaml-language-server: $schema=./pipeline.schema.json
scenepipe: 1
name: quickstart
model: gemma-3-270m
backend:
  use: fake
  context: 4096
encoder: hash
registers: [poet, body]
register_paths: [./voices]
memory:
  use: sqlite
  path: ${SCENEPIPE_HOME:-~/.scenepipe}/archive.db
budget: {tokens: 500}
deadline_s: 2.5
stages:
  - plain
  - use: recall@2
    top_k: 7
    forms: [text, emoji]
"""


def test_the_full_form() -> None:
    config = parse(FULL)
    assert (config.name, config.model, config.deadline_s) == ("quickstart", "gemma-3-270m", 2.5)
    assert config.backend == Component(use="fake", options={"context": 4096})
    assert config.encoder == Component(use="hash")
    assert config.registers == ("poet", "body")
    assert config.register_paths == ("./voices",)
    assert config.memory == Component(use="sqlite", options={"path": "~/.scenepipe/archive.db"})
    assert config.budget is not None
    assert (config.budget.tokens, config.budget.calls) == (500, None)
    assert [stage.use for stage in config.stages] == ["plain", "recall@2"]
    assert config.stages[1].options["top_k"] == 7
    assert config.stages[1].options["forms"] == ["text", "emoji"]


def test_the_short_form_and_defaults() -> None:
    config = parse(HEAD + "stages: [plain]")
    assert config.stages == (Component(use="plain"),)
    assert config.encoder == Component(use="usem3")
    assert (config.backend, config.memory, config.model, config.registers) == (None, None, None, ())


def test_null_switches_the_encoder_off() -> None:
    assert parse(HEAD + "encoder: null\nstages: [plain]").encoder is None


def test_defaults_of_options_are_filled_in_with_their_types() -> None:
    options = parse(HEAD + "stages: [recall]").stages[0].options
    assert options["top_k"] == 3
    assert options["colour"] is Colour.RED
    assert options["nested"] is None


def test_options_have_the_constructors_types() -> None:
    assert option("nested: {depth: 4}") == Nested(depth=4)
    assert option("colour: red") is Colour.RED
    assert option("tags: [b, a]") == frozenset({"a", "b"})
    assert option("folder: ~/x") == Path("~/x")
    assert option("extra: {a: [1, {b: no}]}") == {"a": [1, {"b": "no"}]}


@pytest.mark.parametrize(("word", "expected"), [("true", True), ("no", False), ("off", False), ("yes", True)])
def test_a_boolean_option_understands_words(word: str, expected: bool) -> None:
    assert option(f"on: {word}") is expected


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse(FULL).name = "other"  # type: ignore[misc]


# Faults

MANY = """\
scenepipe: 2
nmae: test
backend:
  use: fkae
memory:
  use: sqlite
registers: [poet, Poet!, poet]
budget: {tokens: -1, calls: many}
stages:
  - use: recal
  - use: recall
    topk: 3
    top_k: many
    mode: nearly
    nested: {depth: x, dpeth: 2}
  - use: needy
    path: ${NOWHERE}
  - {}
  - 7
stages: []
"""


def test_every_fault_at_once_with_its_place() -> None:
    found = {(fault.where, fault.line, fault.column): fault.message for fault in faults(MANY)}
    expected = {
        ("scenepipe", 1, 12): "2 was given",
        ("nmae", 2, 1): "unknown key 'nmae' of a pipeline; did you mean 'name'?",
        ("name", 1, 1): "'name' of pipeline is missing",
        ("backend.use", 4, 8): "unknown backend 'fkae'; did you mean 'fake'?",
        ("memory.path", 6, 3): "'path' of archive 'sqlite' is missing; add 'path: …'",
        ("registers.1", 7, 19): "'Poet!' is neither a register's name nor a folder",
        ("registers.2", 7, 26): "register 'poet' stands twice",
        ("budget.tokens", 8, 18): "-1 was given; input should be greater than or equal to 1",
        ("budget.calls", 8, 29): "'many' was given; input should be a valid integer",
        ("stages.0.use", 10, 10): "unknown stage 'recal'; did you mean 'recall'?",
        ("stages.1.topk", 12, 5): "unknown option 'topk' of stage 'recall'; did you mean 'top_k'?",
        ("stages.1.top_k", 13, 12): "'many' was given; input should be a valid integer",
        ("stages.1.mode", 14, 11): "'nearly' was given; input should be 'exact' or 'near'",
        ("stages.1.nested.depth", 15, 21): "'x' was given; input should be a valid integer",
        ("stages.2.use", 16, 10): 'pip install "scenepipe[vllm]"',
        ("stages.2.path", 17, 11): "environment variable NOWHERE is not set",
        ("stages.2.count", 16, 5): "'count' of stage 'needy' is missing",
        ("stages.3", 18, 5): "this mapping has no name under 'use'",
        ("stages.4", 19, 5): "7 was given; write 'use: NAME'",
        ("stages", 20, 1): "key 'stages' stands here again, first in line 9",
    }
    assert set(found) == set(expected)
    for place, part in expected.items():
        assert part in found[place]


def test_the_error_is_one_line_per_fault_in_file_order() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(MANY, source="my.yaml", registry=REGISTRY, env={})
    first, *lines = str(caught.value).splitlines()
    assert first == "20 faults in my.yaml"
    assert all(line.startswith("  my.yaml:") for line in lines)
    numbers = [int(line.split(":")[1]) for line in lines]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("text", "where", "part", "place"),
    [
        ("", "", "the file is empty", (1, 1)),
        ("[]", "", "a list was given; a pipeline is a mapping", (1, 1)),
        ("text", "", "'text' was given", (1, 1)),
        ("--- ~", "", "null was given", (1, 5)),
        ("a: [\n", "", "not YAML", (2, 1)),
        (HEAD, "stages", "'stages' of pipeline is missing", (1, 1)),
        (HEAD + "stages: []", "stages", "there is no stage", (3, 9)),
        (HEAD + "stages: plain", "stages", "'plain' was given; input should be a valid tuple", (3, 9)),
        (HEAD + "stages: {use: plain}", "stages", "a mapping was given; input should be a valid tuple", (3, 9)),
        (HEAD + "stages: [plian]", "stages.0", "unknown stage 'plian'; did you mean 'plain'?", (3, 10)),
        (HEAD + "stages:\n- recall: {top_k: 1}", "stages.0", "'recall' stands as a key; write 'use: recall'", (4, 3)),
        (HEAD + "stages:\n- use: 3", "stages.0", "this mapping has no name under 'use'", (4, 3)),
        (HEAD + "stages:\n- use: os:system", "stages.0.use", "unknown stage 'os:system'", (4, 8)),
        (HEAD + "stages: [plain]\nsource: x", "source", "unknown key 'source'", (4, 1)),
        (HEAD + "stages: [plain]\nbackend: 3", "backend", "3 was given; write 'use: NAME'", (4, 10)),
        (HEAD + "stages: [plain]\nencoder: nope", "encoder", "unknown encoder 'nope'", (4, 10)),
        (HEAD + "stages: [plain]\nregisters: poet", "registers", "'poet' was given", (4, 12)),
        (HEAD + "stages: [plain]\nregisters: [1]", "registers.0", "1 was given", (4, 13)),
        (HEAD + "stages: [plain]\ndeadline_s: 0", "deadline_s", "0 was given", (4, 13)),
        (HEAD + "stages: [plain]\ndeadline_s: .nan", "deadline_s", "nan was given", (4, 13)),
        (
            HEAD + "stages: [plain]\nbudget: {token: 3}",
            "budget.token",
            "unknown key 'token' of budget; did you mean 'tokens'?",
            (4, 10),
        ),
        ("scenepipe: true\nname: x\nstages: [plain]", "scenepipe", "true was given", (1, 12)),
        ("scenepipe: '1'\nname: x\nstages: [plain]", "scenepipe", "'1' was given", (1, 12)),
        ("scenepipe: 1\nname: 3\nstages: [plain]", "name", "3 was given", (2, 7)),
        ("scenepipe: 1\nname: !!python/name:os.system x\nstages: [plain]", "name", "is refused", (2, 7)),
    ],
)
def test_one_fault(text: str, where: str, part: str, place: tuple[int, int]) -> None:
    found = only(text)
    assert found[0] == where
    assert part in found[1]
    assert found[2] == place


@pytest.mark.parametrize(
    ("line", "where", "part"),
    [
        ("top_k: 0", "top_k", "0 was given; input should be greater than or equal to 1"),
        ("top_k: 2.5", "top_k", "2.5 was given"),
        ("top_k: true", "top_k", "true was given; a number was expected"),
        ("top_k: null", "top_k", "null was given"),
        ("top_k: [1]", "top_k", "a list was given"),
        ("weight: .inf", "weight", "inf was given; input should be a finite number"),
        ("weight: 'nan'", "weight", "'nan' was given; input should be a finite number"),
        ("forms: text", "forms", "'text' was given"),
        ("forms: [a, 2]", "forms.1", "2 was given"),
        ("size: x", "size", "'x' was given; input should be a valid integer"),
        ("size: [1, x]", "size.1", "'x' was given; input should be a valid integer"),
        ("size: [1, true]", "size.1", "true was given; a number was expected"),
        ("size: {a: 1}", "size", "a mapping was given; input should be a valid integer; or a mapping was given"),
        ("closed: {depth: 1, dpeth: 2}", "closed.dpeth", "unknown key 'dpeth' in stage 'recall'; remove it"),
        ("checked: bad thing", "checked", "bad thing is refused"),
        ("checked: crash", "", "the options of stage 'recall' cannot be checked: KeyError"),
    ],
)
def test_wrong_options(line: str, where: str, part: str) -> None:
    found = only(f"{HEAD}stages:\n  - use: recall\n    {line}\n")
    assert found[0] == f"stages.0.{where}".rstrip(".")
    assert part in found[1]


def test_faults_cannot_forge_lines_or_colours() -> None:
    with pytest.raises(ConfigError) as caught:
        parse('scenepipe: 1\nname: x\nstages: [plain]\n"a\\nfake.yaml:1:1: \\e[31m": 1\n')
    text = str(caught.value)
    assert len(text.splitlines()) == 2
    assert "\x1b" not in text


def test_a_wrong_default_encoder_is_a_fault_too() -> None:
    registry = Registry({}, plugins=())
    registry.add("stage", "recall", Recall)
    with pytest.raises(ConfigError, match="unknown encoder 'usem3'"):
        parse_config(HEAD + "stages: [recall]", registry=registry, env={})
    assert parse_config(HEAD + "encoder: null\nstages: [recall]", registry=registry, env={}).encoder is None


def test_a_quarantined_name_tells_why() -> None:
    registry = Registry(
        {"stage": {"gone": "no_such_module_x:Gone"}, "encoder": {"usem3": f"{__name__}:Nope"}}, plugins=()
    )
    with pytest.raises(ConfigError, match="No module named 'no_such_module_x'"):
        parse_config(HEAD + "encoder: null\nstages: [gone]", registry=registry, env={})


# Environment


def test_variables_fill_strings() -> None:
    assert option("checked: ${A}-${B:-b}-${C:-}-$$-$5", A="a", C="") == "a-b--$-$5"
    assert option("checked: ${A:-x}", A="") == "x"
    assert option("checked: $${A}") == "${A}"


def test_a_variable_alone_is_read_as_the_options_type() -> None:
    assert option("top_k: ${K}", K="9") == 9
    assert option("on: ${K}", K="false") is False
    assert option("weight: ${K:-0.25}") == 0.25
    assert parse(HEAD + "deadline_s: ${D}\nstages: [plain]", D="3").deadline_s == 3.0
    assert parse(HEAD + "stages: ['${S}']", S="plain").stages[0].use == "plain"


def test_a_variable_never_becomes_yaml() -> None:
    text = "x\nstages: [other]\n!!python/name:os.system [&a, *a]"
    assert option("checked: ${A}", A=text) == text
    assert option("checked: ${A}", A="${B}", B="b") == "${B}"


def test_faults_show_the_variable_and_not_its_value() -> None:
    (fault,) = faults(f"{HEAD}stages:\n  - use: recall\n    top_k: ${{K}}\n", K="private-value")
    assert "'${K}' was given" in fault.message
    assert "private-value" not in fault.message


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A B}", "${A:+x}", "${A-x}", "a ${A"])
def test_malformed_variables(text: str) -> None:
    assert "'${' begins no variable" in only(f"{HEAD}stages: [plain]\nmodel: 'm{text}'", A="1")[1]


def test_every_missing_variable_is_named() -> None:
    found = faults(f"{HEAD}stages: [plain]\nmodel: ${{ONE}}/${{TWO}}\n")
    assert ["ONE" in found[0].message, "TWO" in found[1].message] == [True, True]


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCENEPIPE_TEST_MODEL", "from-outside")
    config = parse_config(HEAD + "model: ${SCENEPIPE_TEST_MODEL}\nstages: [plain]", registry=REGISTRY)
    assert config.model == "from-outside"


def test_variables_cannot_fill_the_memory() -> None:
    text = f"{HEAD}stages: [plain]\nmodel: '{'${A}' * 10_000}'\n"
    assert any("more than 1000000 characters" in fault.message for fault in faults(text, A="x" * 100_000))


def test_a_variable_that_is_not_text_is_refused() -> None:
    assert "does not hold UTF-8" in only(f"{HEAD}stages: [plain]\nmodel: 'x${{A}}'", A="\udcff")[1]


@pytest.mark.parametrize(
    "tail",
    [
        "stages: [" + "nope, " * 9_000 + "]",
        "stages: [" + "recall, " * 9_000 + "]",
        "stages: [" + "{use: recall, top_k: x, topk: 1}, " * 2_400 + "]",
        "stages: [" + "{use: keyed, key: {secret: A}, name: {secret: A}}, " * 1_400 + "]",
        "stages: [plain]\nregisters: [" + "poet, " * 9_000 + "]",
        "stages: [plain]\nregisters: [" + ", ".join(f"r{i}" for i in range(9_000)) + "]",
        "stages: [plain]\n" + "\n".join(f"k{i}: 1" for i in range(9_000)),
        "stages: [{use: recall, forms: [" + "1, " * 9_000 + "]}]",
        "stages: [{use: recall, size: [" + "x, " * 9_000 + "]}]",
        "stages: [plain]\n" + "x" * 900_000 + ": 1",
        "stages: [" + "x" * 900_000 + "]",
        "stages: [plain]\nmodel: '" + "${A}" * 200_000 + "'",
        "stages: [plain]\nmodel: '" + "${" * 200_000 + "'",
    ],
)
def test_large_files_are_checked_in_bounded_time(tail: str) -> None:
    start = time.perf_counter()
    config_or_error(HEAD + tail)
    assert time.perf_counter() - start < 10.0


def test_many_faults_say_that_there_are_more() -> None:
    found = faults(HEAD + "stages: [" + "nope, " * 500 + "]")
    assert len(found) == 101
    assert "only 100 faults are listed" in found[-1].message


# Secrets

SECRET = HEAD + "stages:\n  - use: keyed\n    key: {secret: MY_KEY}\n"


def test_a_secret_is_read_and_never_printed() -> None:
    config = parse(SECRET, MY_KEY=TOKEN)
    key = config.stages[0].options["key"]
    assert isinstance(key, SecretStr)
    assert key.get_secret_value() == TOKEN
    printed = [repr(config), str(config), config.model_dump_json(), str(config.model_dump())]
    assert not any(TOKEN in text for text in [*printed, json.dumps(fingerprint_parts(config))])


def test_secrets_leave_the_fingerprint_alone() -> None:
    assert fingerprint_parts(parse(SECRET, MY_KEY="one")) == fingerprint_parts(parse(SECRET, MY_KEY="two"))


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("name: {secret: MY_KEY}", "a secret was given to an option that is not a secret"),
        ("other: {a: {secret: MY_KEY}}", "a secret was given to an option that is not a secret"),
        ("strict: {secret: MY_KEY}", "********** is refused"),
        ("key: {secret: NOT_SET}", "environment variable NOT_SET is not set"),
        (f"key: {TOKEN}", "a secret is never written in the file"),
        ("key: ${MY_KEY}", "a secret is never written in the file"),
        (f"key: {{secret: {TOKEN}}}", "takes the NAME of an environment variable"),
        (f"key: {{secret: {TOKEN}, x: 1}}", "a mapping was given; input should be a valid string"),
    ],
)
def test_wrong_secrets_are_named_without_their_value(line: str, part: str) -> None:
    where, message, _ = only(f"{HEAD}stages:\n  - use: keyed\n    {line}\n", MY_KEY=TOKEN)
    assert where.startswith("stages.0.")
    assert part in message
    assert TOKEN not in message


def test_a_secret_elsewhere_is_refused() -> None:
    assert only(HEAD + "model: {secret: MY_KEY}\nstages: [plain]", MY_KEY=TOKEN)[0] == "model"
    assert only(HEAD + "stages: [plain, {secret: MY_KEY}]", MY_KEY=TOKEN)[0] == "stages.1"


def test_secrets_may_stand_deeper_where_the_type_has_them() -> None:
    nested = option("nested: {key: {secret: MY_KEY}}", MY_KEY=TOKEN)
    assert nested.key.get_secret_value() == TOKEN


# Fingerprint


def test_the_fingerprint_is_json_and_the_same_in_every_process() -> None:
    text = HEAD + "stages:\n  - use: recall\n    tags: [a, b, c, d, e]\n    folder: ./x\n"
    parts = fingerprint_parts(parse(text))
    assert json.loads(json.dumps(parts)) == parts
    assert parts["stages"][0]["options"]["tags"] == ["a", "b", "c", "d", "e"]
    assert parts["stages"][0]["options"]["colour"] == "red"


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("top_k: 7", "top_k: 8", False),
        ("recall@2", "recall", False),
        ("[poet, body]", "[body, poet]", False),
        ("gemma-3-270m", "other", False),
        ("encoder: hash", "encoder: null", False),
        ("context: 4096", "context: 2048", False),
        ("name: quickstart", "name: renamed", True),
        ("deadline_s: 2.5", "deadline_s: 9", True),
        ("tokens: 500", "tokens: 900", True),
        ("encoder: hash", "encoder: {use: hash}", True),
        ("    top_k: 7", "    top_k: 7\n    mode: exact", True),
    ],
)
def test_the_fingerprint_changes_with_what_changes_results(old: str, new: str, same: bool) -> None:
    assert old in FULL
    changed = parse(FULL.replace(old, new))
    assert (fingerprint_parts(changed) == fingerprint_parts(parse(FULL))) is same


# Files


def test_load_reads_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(FULL, "utf-8")
    (tmp_path / "voices").mkdir()
    config = load_config(file, registry=REGISTRY, env={})
    assert config.source == str(file)
    assert "source" not in config.model_dump()


def test_register_folders_must_exist(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    (tmp_path / "mine").mkdir()
    file.write_text(HEAD + "registers: [./mine, ./yours]\nregister_paths: [./none]\nstages: [plain]\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, registry=REGISTRY, env={})
    assert [fault.where for fault in caught.value.faults] == ["registers.1", "register_paths.0"]
    assert "there is no folder './yours' beside" in caught.value.faults[0].message


def test_a_missing_file_names_what_is_beside_it(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(FULL)
    with pytest.raises(ConfigError, match=r"there is no such file; did you mean 'quickstart.yaml'\?"):
        load_config(tmp_path / "quikstart.yaml", registry=REGISTRY)


@pytest.mark.parametrize("name", [".", "a\0b", "x" * 5000])
def test_unreadable_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(f"{tmp_path}/{name}", registry=REGISTRY)


def test_bytes_and_size_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"name: \xff\n")
    with pytest.raises(ConfigError, match="0xff is not UTF-8"):
        load_config(file, registry=REGISTRY)
    file.write_bytes(b"#" * 2_000_000)
    with pytest.raises(ConfigError, match="larger than 1000000 bytes"):
        load_config(file, registry=REGISTRY)


def test_checking_imports_only_what_is_named() -> None:
    code = (
        "import sys\n"
        "from scenepipe.config import parse_config\n"
        "from scenepipe.errors import ConfigError\n"
        "try: parse_config('scenepipe: 1\\nname: x\\nencoder: null\\nstages: [nothing]')\n"
        "except ConfigError as error: assert 'sentencepiece' in str(error)\n"
        "else: raise SystemExit('no fault')\n"
        "assert not [m for m in sys.modules if m.startswith('scenepipe.modules.')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# JSON Schema

SCHEMA = json_schema(REGISTRY)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

ACCEPTED = [
    FULL,
    HEAD + "stages: [plain]",
    HEAD + "stages: [plain@1, recall, {use: recall@2}]",
    HEAD + "encoder: null\nmemory: null\nstages: [plain]",
    HEAD + "stages:\n- use: recall\n  top_k: ${K:-3}\n  on: ${ON:-true}\n  mode: ${M:-near}\n",
    HEAD + "stages: ['${S:-plain}', {use: '${S:-recall}', top_k: 2}]",
    HEAD + "stages:\n- use: keyed\n  key: {secret: HOME}\n",
    HEAD + "stages:\n- use: recall\n  extra: {anything: [1, {b: c}]}\n  nested: {depth: 2}\n  size: [1, 2]\n",
]
REFUSED = [
    "[]",
    "name: x\nstages: [plain]",
    "scenepipe: 2\nname: x\nstages: [plain]",
    HEAD,
    HEAD + "stages: []",
    HEAD + "stages: plain",
    HEAD + "stages: [plian]",
    HEAD + "stages: [needy]",
    HEAD + "stages: [{use: needy, path: x}]",
    HEAD + "stages: [{top_k: 3}]",
    HEAD + "stages: [{use: recall, topk: 3}]",
    HEAD + "stages: [{use: recall, top_k: many}]",
    HEAD + "stages: [{use: recall, top_k: 0}]",
    HEAD + "stages: [{use: recall, mode: nearly}]",
    HEAD + "stages: [{use: recall, forms: text}]",
    HEAD + "stages: [{use: recall, nested: {depth: x}}]",
    HEAD + "stages: [{use: keyed, key: literal}]",
    HEAD + "stages: [{use: plain, top_k: 3}]",
    HEAD + "stages: [plain]\nbakend: fake",
    HEAD + "stages: [plain]\nbackend: recall",
    HEAD + "stages: [plain]\nbackend: {use: fake, context: x}",
    HEAD + "stages: [plain]\nmemory: {use: sqlite}",
    HEAD + "stages: [plain]\nbudget: {token: 1}",
    HEAD + "stages: [plain]\nbudget: {tokens: 0}",
    HEAD + "stages: [plain]\ndeadline_s: -1",
    HEAD + "stages: [plain]\nregisters: poet",
    HEAD + "stages: [plain]\nsource: x",
]


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("text", ACCEPTED)
def test_schema_and_parser_accept(text: str) -> None:
    VALIDATOR.validate(read_yaml(text).value)
    assert parse(text, HOME="x").name


@pytest.mark.parametrize("text", REFUSED)
def test_schema_and_parser_refuse(text: str) -> None:
    assert list(VALIDATOR.iter_errors(read_yaml(text).value))
    assert faults(text)


def test_the_schema_describes_what_editors_show() -> None:
    (recall,) = [each for each in SCHEMA["$defs"].values() if each.get("title") == "recall"]
    assert recall["additionalProperties"] is False
    assert recall["properties"]["use"]["enum"] == ["recall", "recall@1"]
    assert recall["description"] == "Look for scenes met before."
    assert recall["properties"]["top_k"]["description"] == "echoes at most."
    assert recall["properties"]["top_k"]["default"] == 3


def test_classes_of_one_name_keep_their_own_options() -> None:
    registry = make_registry()
    same = {"__module__": __name__, "__qualname__": "Other.Recall", "__init__": Backend.__init__}
    registry.add("backend", "recall", type("Recall", (Backend,), same))
    validator = jsonschema.Draft202012Validator(json_schema(registry))
    right = {"use": "recall", "top_k": 2}, {"use": "recall", "context": 2}
    wrong = {"use": "recall", "context": 2}, {"use": "recall", "top_k": 2}
    for (stage, backend), valid in ((right, True), (wrong, False)):
        document = {"scenepipe": 1, "name": "x", "stages": [stage], "backend": backend}
        assert validator.is_valid(document) is valid


def test_no_secret_default_is_in_the_schema() -> None:
    (keyed,) = [each for each in SCHEMA["$defs"].values() if each.get("title") == "keyed"]
    assert "default" not in keyed["properties"]["strict"]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 200)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["${A}", "$"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4) | st.sampled_from(["use", "secret"]), inner, max_size=4)
    ),
    max_leaves=12,
)
stage_names = st.sampled_from(["plain", "recall", "recall@1", "recall@2", "keyed", "needy", "nope"])
option_names = st.sampled_from(
    ["top_k", "weight", "on", "mode", "forms", "size", "nested", "extra", "key", "name", "x"]
)
components = stage_names | st.builds(
    lambda use, options: {"use": use, **options}, stage_names, st.dictionaries(option_names, values, max_size=3)
)
documents = st.fixed_dictionaries(
    {
        "scenepipe": st.just(1) | values,
        "name": st.just("x") | values,
        "stages": st.lists(components, max_size=4) | values,
    },
    optional={
        "backend": st.just("fake") | values,
        "encoder": values,
        "memory": values,
        "registers": st.lists(st.sampled_from(["poet", "./x", "Bad"])) | values,
        "budget": st.fixed_dictionaries({}, optional={"tokens": values, "calls": values}) | values,
        "deadline_s": values,
        "model": values,
        "zzz": values,
    },
)


def config_or_error(text: str | bytes) -> PipelineConfig | ConfigError:
    try:
        return parse_config(text, registry=REGISTRY, env={"A": "1", "B": "\udcff"})
    except ConfigError as error:
        assert error.faults
        assert str(error).count("\n") == len(error.faults)
        return error


@given(documents)
@settings(max_examples=200, deadline=3000, suppress_health_check=[HealthCheck.too_slow])
def test_any_document_is_a_config_or_its_faults(document: Any) -> None:
    config_or_error(yaml.safe_dump(document, allow_unicode=True, sort_keys=False))


@given(documents)
@settings(max_examples=200, deadline=3000, suppress_health_check=[HealthCheck.too_slow])
def test_what_the_schema_accepts_the_parser_accepts(document: Any) -> None:
    """JSON is YAML as it is, so both read the same values; variables and secrets depend on the environment."""
    text = json.dumps(document)
    if VALIDATOR.is_valid(document) and "$" not in text and '"secret"' not in text:
        config = config_or_error(text)
        assert isinstance(config, PipelineConfig), str(config)


@given(st.text() | st.binary() | st.text("{}[]&*!|>'\"%@`:-?#, \n\tab<~1${}").map(lambda tail: HEAD + tail))
@settings(max_examples=300, deadline=3000)
def test_any_text_is_a_config_or_its_faults(text: str | bytes) -> None:
    config_or_error(text)


@pytest.mark.parametrize(
    "text",
    [
        "scenepipe: !!python/object/apply:os.system ['x']",
        "stages:\n- use: !!python/name:os.system ''",
        "stages:\n- type: os.system\n  init_parameters: {}",
        "stages:\n- use: builtins.eval\n  args: ['1']",
        "stages:\n- _component_: os.system",
        "os.system: {command: id}",
        "stages: [scenepipe.modules.route:Route]",
        "stages: &a [*a]",
        "stages: " + "[" * 10_000,
    ],
)
def test_payloads_of_other_frameworks_fail_closed(text: str) -> None:
    assert isinstance(config_or_error(HEAD + text), ConfigError)


# What is shipped

SHIPPED = sorted((Path(__file__).parents[2] / "pipelines").glob("*.yaml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_pipelines_are_right_by_parser_and_schema(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "missing", lambda *_: [])  # a package that is not installed is no fault of the file
    text = file.read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=./pipeline.schema.json\n")
    config = load_config(file)
    assert config.name == file.stem
    jsonschema.Draft202012Validator(json_schema()).validate(read_yaml(text).value)
