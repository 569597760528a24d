"""One YAML text becomes plain values and the place of each; nothing is ever constructed from it.

Read is YAML's core: mappings with string keys, lists, strings, numbers, ``true``/``false``, ``null``, anchors and
aliases. Scalars follow the YAML 1.2 core schema: ``no``, ``on``, ``yes`` are strings (the country is not a Boolean),
``010`` is ten, ``1:30`` and dates are strings. Refused, each with line and column: syntax errors, any other tag,
merge keys, duplicate or non-string keys, several documents, an empty file, NUL and undecodable bytes, and whatever
exceeds the limits below. Depth is checked on the parser's event stream, so no depth can exhaust the stack, and
aliases are counted as they are expanded, so no alias can exhaust the memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from scenepipe.errors import Fault

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

Path = tuple[str | int, ...]
Place = tuple[int, int]

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
MAX_VALUES = 10_000
MAX_FAULTS = 100

_PREFIX = "tag:yaml.org,2002:"
_KINDS = {"map": "mapping", "seq": "list", "str": "scalar", "int": "scalar", "float": "scalar"}
_KINDS |= {"bool": "scalar", "null": "scalar"}
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INT_CHARACTERS = 40
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class YamlSource:
    """What a YAML text says and where.

    Args:
        value: plain Python values; None when ``fatal``.
        keys: place (line, column, from 1) of each mapping key, by the path of its value.
        values: place of each value, by path.
        faults: everything that was refused.
        spoiled: paths whose value was refused and stands as None.
        fatal: nothing could be read.
    """

    value: Any
    keys: Mapping[Path, Place] = field(default_factory=dict)
    values: Mapping[Path, Place] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    spoiled: frozenset[Path] = frozenset()
    fatal: bool = False

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Where a path stands, or the nearest thing around it that has a place."""
        while path:
            found = self.keys.get(path) if key else None
            found = found or self.values.get(path)
            if found:
                return found
            path = path[:-1]
        return self.values.get((), (1, 1))


def dotted(path: Path) -> str:
    """``("stages", 2, "top_k")`` as ``stages.2.top_k``."""
    return ".".join(shown(part) if isinstance(part, str) else str(part) for part in path)


def shown(text: str, limit: int = 60) -> str:
    """A foreign text inside a message: control characters escaped, cut to ``limit`` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return cut if cut.isprintable() else ascii(cut)[1:-1]


def read_yaml(text: str | bytes) -> YamlSource:
    """Read one YAML document. Never raises for what the text holds: see ``faults``."""
    try:
        decoded = _decode(text)
        root = _compose(decoded)
        return _Expansion().expand_document(root)
    except _RefusedError as refused:
        return YamlSource(None, faults=(refused.fault,), fatal=True)


class _RefusedError(Exception):
    """The whole text is refused."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.message)


def _refuse(message: str, place: Place, path: Path = ()) -> NoReturn:
    raise _RefusedError(Fault(dotted(path), message, *place))


# --- Text ------------------------------------------------------------------------------------------------------------


def _decode(text: str | bytes) -> str:
    size = len(text.encode(errors="replace")) if isinstance(text, str) else len(text)
    if size > MAX_BYTES:
        _refuse(f"the file is larger than {MAX_BYTES} bytes; a pipeline is far smaller", (1, 1))
    if isinstance(text, bytes):
        text = _utf8(text)
    text = text.removeprefix("\ufeff")
    bad = _UNPRINTABLE.search(text)
    if bad:
        _refuse(f"character U+{ord(bad[0]):04X} is not allowed in YAML; remove it", _place_after(text[: bad.start()]))
    return text


def _utf8(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        _refuse(f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8", _place_after(before))


def _place_after(before: str) -> Place:
    return before.count("\n") + 1, len(before) - before.rfind("\n")


# --- Events to nodes -------------------------------------------------------------------------------------------------


@dataclass
class _Node:
    """A scalar, list, mapping or alias.

    Args:
        plain: a scalar without quotes.
        children: of a list; of a mapping, key and value alternate.
        open: its end is not read yet.
    """

    kind: str
    place: Place
    value: Any = None
    plain: bool = False
    children: list[_Node] = field(default_factory=list)
    fault: str | None = None
    open: bool = False


def _compose(text: str) -> _Node:
    """The document as nodes, without recursion."""
    stack: list[_Node] = []
    anchors: dict[str, _Node] = {}
    root: _Node | None = None
    for count, event in enumerate(_events(text)):
        place = (event.start_mark.line + 1, event.start_mark.column + 1)
        if count > 4 * MAX_VALUES:
            _refuse(f"more than {MAX_VALUES} values; a pipeline needs far fewer", place)
        if isinstance(event, yaml.DocumentStartEvent) and root is not None:
            _refuse("a second document begins here; one file is one pipeline", place)
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop().open = False
        if not isinstance(event, yaml.NodeEvent):
            continue
        node = _node(event, place, anchors)
        if stack:
            stack[-1].children.append(node)
        root = root or node
        if event.anchor and not isinstance(event, yaml.AliasEvent):
            anchors[event.anchor] = node
        if node.open:
            stack.append(node)
        if len(stack) > MAX_DEPTH:
            _refuse(f"nested deeper than {MAX_DEPTH} levels", place)
    return root or _refuse("the file is empty; begin with 'scenepipe: 1'", (1, 1))


def _events(text: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        context = f" ({error.context})" if error.context else ""
        _refuse(f"not YAML: {error.problem}{context}", (mark.line + 1, mark.column + 1) if mark else (1, 1))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: escapes beyond Unicode, in the parser without libyaml
        _refuse(f"not YAML: {error}", (1, 1))


def _node(event: Any, place: Place, anchors: Mapping[str, _Node]) -> _Node:
    if isinstance(event, yaml.AliasEvent):
        name = shown(str(event.anchor))
        target = anchors.get(str(event.anchor))
        if target is None:
            _refuse(f"alias *{name} has no anchor before it; write &{name} first", place)
        if target.open:
            _refuse(f"alias *{name} stands inside its own anchor; a value cannot contain itself", place)
        return _Node("alias", place, value=target)
    if isinstance(event, yaml.SequenceStartEvent):
        return _Node("list", place, fault=_tag_fault(event.tag, "list"), open=True)
    if isinstance(event, yaml.MappingStartEvent):
        return _Node("mapping", place, fault=_tag_fault(event.tag, "mapping"), open=True)
    return _scalar(event, place)


def _tag_fault(tag: str | None, kind: str) -> str | None:
    if tag in (None, "!"):
        return None
    name = str(tag).removeprefix(_PREFIX)
    if str(tag).startswith(_PREFIX) and _KINDS.get(name) == kind:
        return None
    return f"tag '{shown(str(tag))}' is refused on a {kind}; a pipeline holds plain values only, remove the tag"


def _scalar(event: Any, place: Place) -> _Node:
    text: str = event.value
    fault = _tag_fault(event.tag, "scalar")
    if fault is None and _UNPRINTABLE.search(text) and ("\0" in text or not _encodable(text)):
        fault = "NUL and lone surrogates are not allowed in a value; remove the escape"
    if fault is not None:
        return _Node("scalar", place, fault=fault)
    name = str(event.tag).removeprefix(_PREFIX) if event.tag else None
    if name in ("str", "!") or (name is None and not event.implicit[0]):
        return _Node("scalar", place, text)
    if _INT.fullmatch(text) and len(text) > _INT_CHARACTERS:
        return _Node("scalar", place, fault=f"the number has {len(text)} digits, at most {_INT_CHARACTERS} are read")
    value = _plain(text)
    if name is not None and name != _type_name(value):
        return _Node("scalar", place, fault=f"'{shown(text)}' is not a {name}, as its tag says; remove the tag")
    return _Node("scalar", place, value, plain=True)


def _encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _plain(text: str) -> Any:
    """A plain scalar by the YAML 1.2 core schema."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _type_name(value: Any) -> str:
    return "null" if value is None else type(value).__name__


# --- Nodes to values -------------------------------------------------------------------------------------------------


class _Expansion:
    """Nodes to plain values with aliases written out; recursion is at most `MAX_DEPTH` deep."""

    def __init__(self) -> None:
        self.keys: dict[Path, Place] = {}
        self.values: dict[Path, Place] = {}
        self.faults: list[Fault] = []
        self.spoiled: set[Path] = set()
        self.characters = 0

    def expand_document(self, root: _Node) -> YamlSource:
        value = self.expand(root, (), root.place)
        return YamlSource(
            value, self.keys, self.values, tuple(self.faults[:MAX_FAULTS]), frozenset(self.spoiled), fatal=False
        )

    def expand(self, node: _Node, path: Path, place: Place) -> Any:
        """The value of a node. ``place``: of the outermost alias that led here, where limits are reported."""
        self.values[path] = node.place
        while node.kind == "alias":
            node = node.value
        if len(self.values) > MAX_VALUES:
            _refuse(f"more than {MAX_VALUES} values once aliases are written out", place, path[:3])
        if len(path) > MAX_DEPTH:
            _refuse(f"nested deeper than {MAX_DEPTH} levels once aliases are written out", place, path[:3])
        if node.fault is not None:
            return self.spoil(path, node.fault, node.place)
        if node.kind == "list":
            return [self.expand(child, (*path, i), child.place) for i, child in enumerate(node.children)]
        if node.kind == "mapping":
            return self.mapping(node, path)
        return self.scalar(node.value, place)

    def scalar(self, value: Any, place: Place) -> Any:
        self.characters += len(value) if isinstance(value, str) else 0
        if self.characters > MAX_BYTES:
            _refuse(f"more than {MAX_BYTES} characters once aliases are written out", place)
        return value

    def mapping(self, node: _Node, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, child in zip(node.children[::2], node.children[1::2], strict=True):
            fault = self.key_fault(key, path)
            if fault is not None:
                self.fault(path, fault, key.place)
                continue
            inner = (*path, key.value)
            if inner in self.keys:
                first = self.keys[inner][0]
                self.fault(inner, f"key '{shown(key.value)}' stands here again, first in line {first}", key.place)
                continue
            self.keys[inner] = key.place
            result[key.value] = self.expand(child, inner, child.place)
        return result

    def key_fault(self, key: _Node, path: Path) -> str | None:
        if key.fault is not None:
            return key.fault
        if key.kind != "scalar":
            return f"a key is a plain word, this is a {key.kind}"
        if not isinstance(key.value, str):
            return f"key {key.value!r} is a {_type_name(key.value)}; keys are strings, put it in quotes"
        if key.plain and key.value == "<<":
            return "merge keys (<<) are not read; write the keys out"
        return None

    def fault(self, path: Path, message: str, place: Place) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(dotted(path), message, *place))

    def spoil(self, path: Path, message: str, place: Place) -> None:
        self.fault(path, message, place)
        self.spoiled.add(path)
