"""Turn a name into a class: the rooms' tables, installed plug-ins, and classes that a Python user adds.

The framework imports no room by statement; a table row ``name -> "module:attribute"`` is imported when its name is
first asked for. Plug-ins are found by entry point (`GROUPS`) and are metadata until then. One that cannot be imported
or lacks a member of its contract is quarantined: asking for it or listing it says which distribution it came from and
why, and all others go on working. No plug-in may take a built-in name.

A name may carry a version: ``rule-scene@2`` is its own row, ``rule-scene@1`` is the row without a version.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import re
import sys
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, create_model

from scenepipe.errors import ConfigError, Fault, MissingExtraError, did_you_mean

Kind = Literal["stage", "archive", "backend", "encoder"]
KINDS: tuple[Kind, ...] = ("stage", "archive", "backend", "encoder")

TABLES: Mapping[Kind, str] = {
    "stage": "scenepipe.modules:STAGES",
    "archive": "scenepipe.memory:ARCHIVES",
    "backend": "scenepipe.backends:BACKENDS",
    "encoder": "scenepipe.encoders:ENCODERS",
}
GROUPS: Mapping[Kind, str] = {
    "stage": "scenepipe.stages",
    "archive": "scenepipe.archives",
    "backend": "scenepipe.backends",
    "encoder": "scenepipe.encoders",
}
# Each row: names of which a class must have one. Values that a constructor or open() may set are not listed.
MEMBERS: Mapping[Kind, tuple[tuple[str, ...], ...]] = {
    "stage": (("reads",), ("writes",), ("run", "run_batch")),
    "archive": tuple(
        (name,)
        for name in (
            "open",
            "append",
            "get",
            "find",
            "encounters",
            "chat",
            "hypertokens",
            "neighbours",
            "forget",
            "rebuild",
            "export",
            "verify",
            "aclose",
        )
    ),
    "backend": (("open",), ("generate",), ("score",), ("count",), ("aclose",)),
    "encoder": (("encode",),),
}

NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}(@[1-9][0-9]{0,3})?")
BUILT_IN = "scenepipe"
ADDED = "this program"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One name and where it comes from.

    Args:
        origin: ``scenepipe`` for built-ins, ``this program`` for added classes, else the plug-in's distribution.
        target: ``module:attribute``.
        fault: why it is quarantined, as far as is known without importing it; None when nothing is wrong.
    """

    kind: Kind
    name: str
    origin: str
    target: str
    fault: str | None = None


class Registry:
    """Names of stages, archives, backends and encoders. What is added to one registry is in no other.

    Args:
        tables: per kind, rows ``name -> "module:attribute"`` or the place of such a table.
        plugins: entry points to take as plug-ins; None: those of the installed distributions.
    """

    def __init__(
        self,
        tables: Mapping[Kind, str | Mapping[str, str]] = TABLES,
        *,
        plugins: Iterable[EntryPoint] | None = None,
    ) -> None:
        self._tables = tables
        self._plugins = None if plugins is None else tuple(plugins)
        self._entries: dict[Kind, dict[str, Entry]] = {}
        self._refused: dict[Kind, list[Entry]] = {}
        self._classes: dict[tuple[Kind, str], type[Any]] = {}
        self._options: dict[tuple[Kind, str], type[BaseModel]] = {}

    def names(self, kind: Kind) -> list[str]:
        """Every name of a kind that is not known to be broken, sorted; imports no plug-in."""
        return sorted(name for name, entry in self._rows(kind).items() if entry.fault is None)

    def entries(self, kind: Kind, *, probe: bool = False) -> list[Entry]:
        """Every row of a kind with its origin and fault, quarantined ones too.

        Args:
            probe: import each class first, so that every fault shows; nothing is imported otherwise.
        """
        rows = self._rows(kind)
        for name in list(rows) if probe else ():
            self._resolve(kind, name)
        return sorted((*rows.values(), *self._refused[kind]), key=lambda entry: (entry.name, entry.origin))

    def add(self, kind: Kind, name: str, cls: type[Any]) -> None:
        """Give a class a name in this registry. Adding the same class again, edited or not, replaces it.

        Raises:
            ConfigError: the name is malformed or taken, or the class does not satisfy the contract.
        """
        target = f"{cls.__module__}:{cls.__qualname__}" if inspect.isclass(cls) else repr(cls)
        taken = self._rows(kind).get(self._canonical(kind, name) or name)
        if not NAME.fullmatch(name):
            raise _error(f"{kind} name {name!r} must match {NAME.pattern}")
        if taken and (taken.origin, taken.target) != (ADDED, target):
            raise _error(f"{kind} name '{name}' belongs to {taken.origin}; choose another name or '{name}@2'")
        options = self._checked(kind, cls)
        if isinstance(options, str):
            raise _error(f"{target} cannot be {kind} '{name}': {options}")
        self._rows(kind)[name] = Entry(kind, name, ADDED, target)
        self._classes[kind, name], self._options[kind, name] = cls, options

    def load(self, kind: Kind, name: str) -> type[Any]:
        """The class behind a name, imported now if it was not yet.

        Raises:
            ConfigError: the name is unknown or quarantined.
        """
        return self._classes[kind, self._known(kind, name)]

    def options(self, kind: Kind, name: str) -> type[BaseModel]:
        """The options of a name as a pydantic model: its constructor's keyword-only parameters, unknown keys refused.

        Raises:
            ConfigError: the name is unknown or quarantined.
        """
        return self._options[kind, self._known(kind, name)]

    def missing(self, kind: Kind, name: str) -> list[tuple[str, str]]:
        """Pairs (Python package, extra) that the class requires and that are not installed; imports none of them."""
        requires: Mapping[str, str] = getattr(self.load(kind, name), "requires", {})
        return [(module, extra) for module, extra in requires.items() if not installed(module)]

    def missing_messages(self, kind: Kind, name: str) -> list[str]:
        """One sentence with the exact pip command per missing package; a plug-in's extras are its distribution's."""
        origin = self._rows(kind)[self._known(kind, name)].origin.partition(" ")[0]
        own = origin in (BUILT_IN, ADDED.partition(" ")[0])
        texts = [str(MissingExtraError(f"{kind} '{name}'", *pair)) for pair in self.missing(kind, name)]
        return texts if own else [text.replace('"scenepipe[', f'"{origin}[') for text in texts]

    def _known(self, kind: Kind, name: str) -> str:
        found = self._canonical(kind, name)
        if found is None:
            hint = did_you_mean(name[:100], self.names(kind))
            causes = [f"; {_quarantine(row)}" for row in self._refused[kind] if row.name == name]
            raise _error(f"unknown {kind} {name[:60]!r}; {hint}{''.join(causes)}")
        self._resolve(kind, found)
        entry = self._rows(kind)[found]
        if entry.fault is not None:
            raise _error(_quarantine(entry))
        return found

    def _canonical(self, kind: Kind, name: str) -> str | None:
        rows = self._rows(kind)
        if name in rows:
            return name
        base, _, version = name.partition("@")
        return base if version == "1" and base in rows else None

    def _rows(self, kind: Kind) -> dict[str, Entry]:
        """The rows of a kind: tables first, then plug-ins' metadata; read once."""
        if kind not in self._entries:
            table = self._tables.get(kind, {})
            rows = _table(table) if isinstance(table, str) else table
            self._entries[kind] = {name: Entry(kind, name, BUILT_IN, target) for name, target in rows.items()}
            self._refused[kind] = []
            self._read_plugins(kind)
        return self._entries[kind]

    def _read_plugins(self, kind: Kind) -> None:
        found = entry_points(group=GROUPS[kind]) if self._plugins is None else self._plugins
        points = sorted({(p.name, _distribution(p), p.value) for p in found if p.group == GROUPS[kind]})
        owners: dict[str, list[str]] = {}
        for name, origin, _ in points:
            owners.setdefault(name, []).append(origin)
        rows = self._entries[kind]
        built_in = {name.partition("@")[0] for name in rows}
        for name, origin, target in points:
            fault = _name_fault(name, built_in, owners[name])
            entry = Entry(kind, name, origin, target, fault)
            if fault is None:
                rows[name] = entry
            else:
                self._refused[kind].append(entry)

    def _resolve(self, kind: Kind, name: str) -> None:
        """Import the class behind a row, once; a failure becomes the row's fault."""
        entry = self._entries[kind][name]
        if (kind, name) in self._classes or entry.fault is not None:
            return
        try:
            cls = _import(entry.target)
            options = self._checked(kind, cls)
        except (Exception, SystemExit) as error:  # foreign code at import may raise anything
            options = f"{type(error).__name__}: {error}"
        if isinstance(options, str):
            self._entries[kind][name] = dataclasses.replace(entry, fault=f"{entry.target}: {options}")
        else:
            self._classes[kind, name], self._options[kind, name] = cls, options

    def _checked(self, kind: Kind, cls: Any) -> type[BaseModel] | str:
        """The options model of a class that satisfies its contract, or what is wrong with it."""
        if not inspect.isclass(cls):
            return f"a class was expected, it is a {type(cls).__name__}"
        lacking = [" or ".join(names) for names in MEMBERS[kind] if not any(_has(cls, name) for name in names)]
        if lacking:
            return f"it lacks {', '.join(lacking)} of the contract {kind.capitalize()} (scenepipe.contracts)"
        requires = getattr(cls, "requires", {})
        if not isinstance(requires, Mapping) or not all(
            isinstance(each, str) for pair in requires.items() for each in pair
        ):
            return "its 'requires' must be a dict of import name -> extra"
        try:
            return options_model(cls)
        except (TypeError, NameError, AttributeError, ValueError) as error:
            return f"its options cannot be read: {error}"


@cache
def default_registry() -> Registry:
    """The registry of this installation: the shipped tables and the installed plug-ins."""
    return Registry()


def options_model(cls: type[Any]) -> type[BaseModel]:
    """A pydantic model of a constructor's keyword-only parameters, described by its Google-style ``Args``.

    Raises:
        TypeError: a parameter has no type hint, one that YAML cannot fill, or is neither keyword-only nor optional.
        NameError: a type hint names something that does not exist at run time.
    """
    described = _arguments(inspect.getdoc(cls) or "") | _arguments(inspect.getdoc(cls.__init__) or "")
    hints = typing.get_type_hints(cls.__init__, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY:
            fields |= _field(cls, parameter, hints, described.get(parameter.name))
        elif parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            raise TypeError(f"argument '{parameter.name}' must be keyword-only (put '*,' before it)")
    summary = (inspect.getdoc(cls) or "").partition("\n\n")[0].replace("\n", " ")
    config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True, protected_namespaces=()
    )
    try:
        return create_model(f"{cls.__name__}Options", __config__=config, __doc__=summary, **fields)
    except PydanticUserError as error:
        reason = str(error).partition(". ")[0]
        raise TypeError(f"YAML cannot fill one of them: {reason}; use plain types, pydantic models or enums") from None


def _field(
    cls: type[Any], parameter: inspect.Parameter, hints: Mapping[str, Any], description: str | None
) -> dict[str, Any]:
    name = parameter.name
    if name == "use" or name.startswith("_"):
        raise TypeError(f"option '{name}' cannot be named so: 'use' is the name of the plug-in and '_' is private")
    if name not in hints:
        raise TypeError(f"option '{name}' has no type hint")
    about: dict[str, Any] = {} if description is None else {"description": description}
    if parameter.default is not parameter.empty:
        about |= _default(cls, parameter)
    if hasattr(BaseModel, name):  # pydantic's own attributes, such as `json`, stay reachable as options
        return {f"{name}_option": (hints[name], Field(alias=name, **about))}
    return {name: (hints[name], Field(**about))}


def _default(cls: type[Any], parameter: inspect.Parameter) -> dict[str, Any]:
    fields = {field.name: field for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    field = fields.get(parameter.name)
    if field is not None and field.default_factory is not dataclasses.MISSING:
        return {"default_factory": field.default_factory}
    return {"default": parameter.default}


def _arguments(doc: str) -> dict[str, str]:
    """Descriptions in the ``Args`` section of a Google-style docstring: ``name: text`` or ``one, two (type): text``."""
    found: dict[str, str] = {}
    names: list[str] = []
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|[ \t]*\n)*)", doc, re.MULTILINE)
    lines = [line for line in section[1].splitlines() if line.strip()] if section else []
    indent = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    for line in lines:
        head = re.match(r"([\w, ]+?)(?: \([^)]*\))?:\s*(.*)", line.strip())
        if head and len(line) - len(line.lstrip()) == indent:
            names = [name.strip() for name in head[1].split(",")]
            found |= dict.fromkeys(names, head[2])
        else:
            found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return found


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    value: Any = importlib.import_module(module)
    for part in attribute.strip().split("."):
        value = getattr(value, part)
    return value


def _table(place: str) -> Mapping[str, str]:
    return typing.cast("Mapping[str, str]", _import(place))


def installed(module: str) -> bool:
    """Whether a module can be found. A dotted one is looked up without importing its parents."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except ValueError:  # a module without a spec that is already loaded
        return True
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return False
        name, path = f"{spec.name}.{part}", spec.submodule_search_locations
        found = (finder.find_spec(name, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((each for each in found if each is not None), None)
    return spec is not None


def _has(cls: type[Any], name: str) -> bool:
    return hasattr(cls, name) or any(name in vars(base).get("__annotations__", {}) for base in cls.__mro__)


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed plug-in"


def _name_fault(name: str, built_in: set[str], owners: list[str]) -> str | None:
    if not NAME.fullmatch(name):
        return f"its name must match {NAME.pattern}"
    if name.partition("@")[0] in built_in:
        return "its name is built in and no plug-in may shadow it"
    if len(owners) > 1:
        return f"its name is claimed by {' and '.join(owners)}; uninstall all but one"
    return None


def _quarantine(entry: Entry) -> str:
    if entry.origin == BUILT_IN:
        return f"built-in {entry.kind} '{entry.name}' cannot be loaded: {entry.fault}"
    name = entry.origin.partition(" ")[0]
    return (
        f"{entry.kind} {entry.name[:60]!r} of plug-in '{entry.origin}' is quarantined: {entry.fault}; "
        f"repair it or run: pip uninstall {name}"
    )


def _error(message: str) -> ConfigError:
    return ConfigError([Fault("", message)], source="registry")
