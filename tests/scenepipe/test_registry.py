"""Names to classes: tables, plug-ins, quarantine, versions, options and what is missing."""

from __future__ import annotations

import dataclasses
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError

from scenepipe.errors import ConfigError
from scenepipe.registry import ADDED, BUILT_IN, KINDS, Registry, default_registry, options_model
from scenepipe.scene import STAGE_FIELDS

HERE = __name__


class Shout:
    """Write the text in capitals.

    Longer words about it.

    Args:
        strength: how loud, from 1
            to 9.
        first, second: two of a kind.
        mode (str): how.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"text"})
    writes: ClassVar[frozenset[str]] = frozenset({"outputs"})

    def __init__(
        self,
        *,
        strength: Annotated[int, Field(ge=1, le=9)] = 3,
        first: bool = False,
        second: bool = False,
        mode: Literal["loud", "louder"] = "loud",
        json: str = "x",
        key: SecretStr | None = None,
    ) -> None:
        self.strength = strength

    async def run(self, scene: Any, ctx: Any) -> Any:
        return scene


class Whisper(Shout):
    """Version 2 of a stage."""


class NeedsMuch(Shout):
    requires: ClassVar[dict[str, str]] = {
        "json": "local",
        "no_such_package_anywhere": "vllm",
        "json.no_such_part": "train",
        "importlib.metadata": "local",
    }


class NoWrites:
    reads: ClassVar[frozenset[str]] = frozenset()

    async def run(self, scene: Any, ctx: Any) -> Any:
        return scene


class InstanceFields:
    """Annotated only; the constructor fills the values."""

    reads: frozenset[str]
    writes: frozenset[str]

    def run_batch(self, scenes: Any, ctx: Any) -> Any:
        return scenes


TABLES: dict[Any, Any] = {
    "stage": {
        "shout": f"{HERE}:Shout",
        "shout@2": f"{HERE}:Whisper",
        "needs-much": f"{HERE}:NeedsMuch",
        "fields": f"{HERE}:InstanceFields",
        "gone": "scenepipe.no_such_module:Gone",
    }
}


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest's importlib mode does not always leave the test module where an import finds it."""
    monkeypatch.setitem(sys.modules, HERE, sys.modules.get(HERE) or sys.modules[Shout.__module__])


def registry(**options: Any) -> Registry:
    return Registry(TABLES, **({"plugins": ()} | options))


def message(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    return str(caught.value)


# Names


def test_a_name_becomes_its_class() -> None:
    assert registry().load("stage", "shout").__name__ == "Shout"


def test_versions() -> None:
    found = registry()
    assert found.load("stage", "shout@1") is found.load("stage", "shout")
    assert found.load("stage", "shout@2").__name__ == "Whisper"
    assert "unknown stage 'shout@3'" in message(lambda: found.load("stage", "shout@3"))
    assert "unknown stage 'needs-much@2'" in message(lambda: found.load("stage", "needs-much@2"))


def test_unknown_names_are_told_the_nearest() -> None:
    text = message(lambda: registry().load("stage", "shuot"))
    assert "did you mean 'shout'?" in text
    assert "needs-much" in text


def test_an_import_path_is_not_a_name() -> None:
    assert "unknown stage 'os:system'" in message(lambda: registry().load("stage", "os:system"))
    assert "subprocess" not in registry().names("stage")


def test_a_control_character_in_a_name_is_escaped() -> None:
    assert "\x1b" not in message(lambda: registry().load("stage", "\x1b[31m"))


def test_kinds_are_apart() -> None:
    assert "unknown backend 'shout'" in message(lambda: registry().load("backend", "shout"))
    assert registry().names("backend") == []


def test_a_broken_built_in_is_named_and_others_work() -> None:
    found = registry()
    assert "built-in stage 'gone' cannot be loaded" in message(lambda: found.load("stage", "gone"))
    assert found.load("stage", "shout")
    assert "gone" not in found.names("stage")


def test_names_import_nothing() -> None:
    found = Registry({"stage": {"x": "no_such_module_at_all:X"}}, plugins=())
    assert found.names("stage") == ["x"]
    assert "no_such_module_at_all" not in sys.modules


# Python's own


def test_an_added_class_is_in_that_registry_only() -> None:
    one, two = registry(), registry()
    one.add("stage", "mine", Whisper)
    assert one.load("stage", "mine") is Whisper
    assert "mine" not in two.names("stage")
    assert [e.origin for e in one.entries("stage") if e.name == "mine"] == [ADDED]


def test_adding_again_replaces_the_same_class_only() -> None:
    found = registry()
    found.add("stage", "mine", Whisper)
    edited = type("Whisper", (Whisper,), {"__module__": Whisper.__module__, "__qualname__": Whisper.__qualname__})
    found.add("stage", "mine", edited)
    assert found.load("stage", "mine") is edited
    assert "'mine' belongs to this program" in message(lambda: found.add("stage", "mine", InstanceFields))


@pytest.mark.parametrize("name", ["shout", "shout@1", "shout@2"])
def test_a_built_in_name_cannot_be_taken(name: str) -> None:
    assert f"'{name}' belongs to {BUILT_IN}" in message(lambda: registry().add("stage", name, InstanceFields))


@pytest.mark.parametrize("name", ["", "Loud", "a b", "a.b", "a:b", "a@0", "a@x", "9a", "a" * 65, "./a", "лай"])
def test_names_have_a_form(name: str) -> None:
    assert "must match" in message(lambda: registry().add("stage", name, Shout))


def test_a_class_without_the_members_is_refused() -> None:
    assert "it lacks writes of the contract Stage" in message(lambda: registry().add("stage", "x", NoWrites))
    lacking = message(lambda: registry().add("archive", "x", Shout))
    assert "it lacks open, append, get, find" in lacking
    assert "it is a function" in message(lambda: registry().add("stage", "x", message))  # type: ignore[arg-type]


@pytest.mark.parametrize("requires", [["torch"], {"torch": None}, {1: "x"}, "torch"])
def test_requires_is_a_table_of_names(requires: Any) -> None:
    stage = type("Wrong", (Shout,), {"requires": requires})
    assert "its 'requires' must be a dict" in message(lambda: registry().add("stage", "x", stage))


# Options


def test_options_come_from_the_constructor() -> None:
    model = registry().options("stage", "shout")
    assert model(strength="4").model_dump(by_alias=True) == {
        "strength": 4,
        "first": False,
        "second": False,
        "mode": "loud",
        "json": "x",
        "key": None,
    }
    with pytest.raises(ValidationError):
        model(strenght=4)
    with pytest.raises(ValidationError):
        model(strength=10)


def test_options_are_described() -> None:
    schema = registry().options("stage", "shout").model_json_schema()
    described = {name: about.get("description") for name, about in schema["properties"].items()}
    assert described["strength"] == "how loud, from 1 to 9."
    assert described["first"] == described["second"] == "two of a kind."
    assert described["mode"] == "how."
    assert described["json"] is None
    assert schema["description"] == "Write the text in capitals."
    assert schema["properties"]["strength"]["maximum"] == 9


def test_a_class_without_a_constructor_has_no_options() -> None:
    assert options_model(NoWrites).model_fields == {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frozen:
    names: list[str] = dataclasses.field(default_factory=lambda: ["a"])
    size: int = 2


def test_a_dataclass_keeps_its_factories() -> None:
    assert options_model(Frozen)().model_dump() == {"names": ["a"], "size": 2}


class Positional:
    def __init__(self, size: int) -> None: ...


class Untyped:
    def __init__(self, *, size=3) -> None: ...  # type: ignore[no-untyped-def]


class Unresolved:
    def __init__(self, *, size: NoSuchType = 3) -> None: ...  # type: ignore[name-defined]  # noqa: F821


class TakesUse:
    def __init__(self, *, use: str = "x") -> None: ...


class Opaque:
    def __init__(self, *, stage: Shout | None = None) -> None: ...


@pytest.mark.parametrize(
    ("cls", "part"),
    [
        (Positional, "argument 'size' must be keyword-only"),
        (Untyped, "option 'size' has no type hint"),
        (Unresolved, "NoSuchType"),
        (TakesUse, "option 'use' cannot be named so"),
        (Opaque, "Shout"),
    ],
)
def test_options_that_yaml_cannot_fill_are_named(cls: type[Any], part: str) -> None:
    stage = type(cls.__name__, (cls, Shout), {})
    text = message(lambda: registry().add("stage", "x", stage))
    assert "its options cannot be read" in text
    assert part in text


# Missing packages


def test_missing_packages_are_found_without_import() -> None:
    found = registry()
    assert found.missing("stage", "needs-much") == [
        ("no_such_package_anywhere", "vllm"),
        ("json.no_such_part", "train"),
    ]
    assert found.missing("stage", "shout") == []
    assert found.missing_messages("stage", "needs-much")[0] == (
        "stage 'needs-much' needs the Python package 'no_such_package_anywhere': pip install \"scenepipe[vllm]\""
    )


def test_looking_for_a_package_runs_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud_package").mkdir()
    (tmp_path / "loud_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "loud_package" / "part.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    found = registry()
    cls = type("Loud", (Shout,), {"requires": {"loud_package.part": "x", "loud_package.other": "y"}})
    found.add("stage", "loud", cls)
    assert found.missing("stage", "loud") == [("loud_package.other", "y")]
    assert "loud_package" not in sys.modules


# Plug-ins


def install(folder: Path, name: str, points: str, code: str) -> None:
    """A distribution as pip leaves it: a module and its metadata."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(textwrap.dedent(code))
    info = folder / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(textwrap.dedent(points))


GOOD = """
class Haiku:
    '''Count to seventeen.'''
    reads = frozenset({"text"})
    writes = frozenset({"outputs"})
    requires = {"no_such_package_anywhere": "sound"}
    def __init__(self, *, lines: int = 3) -> None: ...
    async def run(self, scene, ctx): return scene
class Half:
    reads = frozenset()
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_installed_plugins_are_found_and_imported_only_when_used(site: Path) -> None:
    install(site, "lazy-haiku", "[scenepipe.stages]\nhaiku = lazy_haiku:Haiku\n", GOOD)
    found = Registry(TABLES)
    assert "haiku" in found.names("stage")
    assert "lazy_haiku" not in sys.modules
    assert found.options("stage", "haiku")(lines=5).model_dump() == {"lines": 5}
    assert [e.origin for e in found.entries("stage") if e.name == "haiku"] == ["lazy-haiku 1.2"]


def test_a_plugins_extra_is_its_own(site: Path) -> None:
    install(site, "extra-haiku", "[scenepipe.stages]\nhaiku = extra_haiku:Haiku\n", GOOD)
    (text,) = Registry(TABLES).missing_messages("stage", "haiku")
    assert text.endswith('pip install "extra-haiku[sound]"')


@pytest.mark.parametrize(
    ("target", "code", "reason"),
    [
        ("{module}:Haiku", "import no_such_package_anywhere", "No module named 'no_such_package_anywhere'"),
        ("{module}:Haiku", "def broken(:", "SyntaxError"),
        ("{module}:Haiku", "import sys; sys.exit(3)", "SystemExit: 3"),
        ("{module}:Haiku", "raise RuntimeError('kaputt')", "RuntimeError: kaputt"),
        ("{module}:Nothing", GOOD, "has no attribute 'Nothing'"),
        ("{module}:Half", GOOD, "it lacks writes, run or run_batch of the contract Stage"),
        ("{module}", GOOD, "AttributeError"),
    ],
)
def test_a_broken_plugin_is_quarantined(site: Path, target: str, code: str, reason: str) -> None:
    name = f"broken-{abs(hash((target, code)))}"
    module = name.replace("-", "_")
    points = f"[scenepipe.stages]\nbad = {target.format(module=module)}\nfine = {module}_other:Haiku\n"
    install(site, name, points, code)
    (site / f"{module}_other.py").write_text(GOOD)
    found = Registry(TABLES)
    text = message(lambda: found.load("stage", "bad"))
    assert f"plug-in '{name} 1.2' is quarantined" in text
    assert reason in text
    assert f"pip uninstall {name}" in text
    assert "bad" not in found.names("stage")
    assert found.load("stage", "fine").__name__ == "Haiku"
    assert found.load("stage", "shout").__name__ == "Shout"


def test_listing_with_probe_names_every_fault(site: Path) -> None:
    install(site, "probed-haiku", "[scenepipe.stages]\nbad = probed_haiku:Nothing\nok = probed_haiku:Haiku\n", GOOD)
    found = Registry({"stage": {"shout": f"{HERE}:Shout"}})
    before = {e.name: e.fault for e in found.entries("stage")}
    after = {e.name: e.fault for e in found.entries("stage", probe=True)}
    assert before == {"shout": None, "bad": None, "ok": None}
    assert "Nothing" in (after.pop("bad") or "")
    assert after == {"shout": None, "ok": None}


@pytest.mark.parametrize("name", ["shout", "shout@1", "shout@7"])
def test_a_plugin_may_not_shadow_a_built_in(site: Path, name: str) -> None:
    module = f"shadow_{name.replace('@', '_')}"
    install(site, module, f"[scenepipe.stages]\n{name} = {module}:Haiku\n", GOOD)
    found = Registry(TABLES)
    assert found.load("stage", "shout").__name__ == "Shout"
    faults = [e.fault for e in found.entries("stage") if e.origin == f"{module} 1.2"]
    assert faults == ["its name is built in and no plug-in may shadow it"]


def test_an_unknown_name_says_when_a_plugin_was_refused(site: Path) -> None:
    install(site, "late-shout", "[scenepipe.stages]\nshout@7 = late_shout:Haiku\n", GOOD)
    text = message(lambda: Registry(TABLES).load("stage", "shout@7"))
    assert "unknown stage 'shout@7'" in text
    assert "'late-shout 1.2' is quarantined" in text


def test_two_plugins_with_one_name_are_both_refused(site: Path) -> None:
    install(site, "twin-a", "[scenepipe.stages]\nhaiku = twin_a:Haiku\n", GOOD)
    install(site, "twin-b", "[scenepipe.stages]\nhaiku = twin_b:Haiku\n", GOOD)
    text = message(lambda: Registry(TABLES).load("stage", "haiku"))
    assert "claimed by twin-a 1.2 and twin-b 1.2" in text


def test_a_malformed_plugin_name_is_refused() -> None:
    points = [EntryPoint("Bad Name", "x:Y", "scenepipe.stages")]
    entries = registry(plugins=points).entries("stage")
    assert ["its name must match" in (e.fault or "") for e in entries if e.name == "Bad Name"] == [True]


# The shipped tables


@pytest.mark.parametrize("kind", KINDS)
def test_every_shipped_name_loads_and_its_options_are_typed(kind: Any) -> None:
    shipped = [entry for entry in Registry(plugins=()).entries(kind, probe=True) if entry.origin == BUILT_IN]
    assert shipped
    assert {entry.name: entry.fault for entry in shipped if entry.fault} == {}


def test_shipped_stages_declare_fields_that_scenes_have() -> None:
    found = Registry(plugins=())
    for name in found.names("stage"):
        cls = found.load("stage", name)
        assert isinstance(cls.reads, frozenset)
        assert isinstance(cls.writes, frozenset)
        assert cls.writes <= set(STAGE_FIELDS), name


def test_the_default_registry_is_one() -> None:
    assert default_registry() is default_registry()
    assert issubclass(default_registry().options("backend", "fake"), BaseModel)
