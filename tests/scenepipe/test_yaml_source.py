"""YAML to plain values: what is read, where it stands, and what is refused."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe import yaml_source
from scenepipe.yaml_source import MAX_BYTES, MAX_FAULTS, MAX_VALUES, YamlSource, dotted, read_yaml


def value(text: str) -> object:
    read = read_yaml(text)
    assert not read.faults, read.faults
    return read.value


def only_fault(text: str | bytes) -> tuple[str, int | None, int | None]:
    read = read_yaml(text)
    assert len(read.faults) == 1, read.faults
    return read.faults[0].message, read.faults[0].line, read.faults[0].column


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("12", 12),
        ("-3", -3),
        ("+3", 3),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1.5", 1.5),
        ("1e-3", 0.001),
        (".5", 0.5),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("'12'", "12"),
        ('"true"', "true"),
        ("! 12", "12"),
        ("!!str 12", "12"),
        ("!!int 12", 12),
        ("Привет", "Привет"),
        ("=", "="),
    ],
)
def test_scalars_follow_the_core_schema(text: str, expected: object) -> None:
    found = value(f"a: {text}\n")
    assert found == {"a": expected}
    assert type(found["a"]) is type(expected)


def test_collections_anchors_and_block_text() -> None:
    text = "a: &x [1, {b: 2}]\nc: *x\nd: |\n  раз\n  два\n"
    assert value(text) == {"a": [1, {"b": 2}], "c": [1, {"b": 2}], "d": "раз\nдва\n"}


def test_an_alias_is_a_copy() -> None:
    found = value("a: &x [1]\nb: *x\n")
    found["a"].append(2)
    assert found["b"] == [1]


def test_places_are_lines_and_columns_in_characters() -> None:
    read = read_yaml("имя: а\nstages:\n  - use: b\n    top_k:   3\n")
    assert read.keys["имя",] == (1, 1)
    assert read.values["имя",] == (1, 6)
    assert read.values["stages", 0] == (3, 5)
    assert read.keys["stages", 0, "top_k"] == (4, 5)
    assert read.values["stages", 0, "top_k"] == (4, 14)


def test_an_unknown_path_has_the_place_of_what_is_around_it() -> None:
    read = read_yaml("\na:\n  b: 1\n")
    assert read.place(("a", "zzz", 3)) == (3, 3)
    assert read.place(("zzz",)) == (2, 1)
    assert read.place(("a",), key=True) == (2, 1)


def test_an_alias_stands_where_it_is_written() -> None:
    read = read_yaml("a: &x {k: 1}\nb: *x\n")
    assert read.values["b",] == (2, 4)
    assert read.keys["b", "k"] == (1, 8)


def test_dotted_path_escapes_control_characters() -> None:
    assert dotted(("stages", 2, "top_k")) == "stages.2.top_k"
    assert dotted(("a\n\x1b[31m",)) == r"a\n\x1b[31m"


@pytest.mark.parametrize(
    ("text", "part", "line", "column"),
    [
        ("a: [1, 2\nb: 3", "not YAML", 2, 2),
        ("a: 1\n\tb: 2", "not YAML", 2, 1),
        ("a: 1\n b: 2", "not YAML", 2, 3),
        ("a: 'open", "not YAML", 1, 9),
        ("a: 1\na: 2\n", "'a' stands here again, first in line 1", 2, 1),
        ("a:\n  1: x\n", "key 1 is a int", 2, 3),
        ("true: x\n", "key True is a bool", 1, 1),
        ("~: x\n", "key None is a null", 1, 1),
        ("? [a]\n: x\n", "a key is a plain word, this is a list", 1, 3),
        ("? {a: 1}\n: x\n", "a key is a plain word, this is a mapping", 1, 3),
        ("a: &k b\n*k : x\n", "a key is a plain word, this is a alias", 2, 1),
        ("a: {<<: {b: 1}}\n", "merge keys", 1, 5),
        ("a: *missing\n", "has no anchor before it", 1, 4),
        ("a: &a [*a]\n", "stands inside its own anchor", 1, 8),
        ("a: &a {b: {c: *a}}\n", "stands inside its own anchor", 1, 15),
        ("a: 1\n---\nb: 2\n", "a second document", 2, 1),
        ("a: 1\n--- ~\n", "a second document", 2, 1),
        ("", "the file is empty", 1, 1),
        ("# only a comment\n", "the file is empty", 1, 1),
        ("\ufeff", "the file is empty", 1, 1),
        ("a: b\0c", "U+0000 is not allowed", 1, 5),
        ("a: 1\nb: \x1b[31m", "U+001B is not allowed", 2, 4),
        ("a: \ud800", "U+D800 is not allowed", 1, 4),
        ('a: "x\\0y"', "NUL and lone surrogates", 1, 4),
        ("a: " + "9" * 5000, "the number has 5000 digits", 1, 4),
        ("a: !!int x", "is not a int, as its tag says", 1, 4),
        ("a: !!seq x", "tag 'tag:yaml.org,2002:seq' is refused on a scalar", 1, 4),
    ],
)
def test_refused_with_its_place(text: str, part: str, line: int, column: int) -> None:
    message, *place = only_fault(text)
    assert part in message
    assert place == [line, column]


def test_bytes_that_are_not_utf8() -> None:
    message, line, column = only_fault("a: 1\nимя: ".encode() + b"\xff")
    assert "byte 0xff is not UTF-8" in message
    assert (line, column) == (2, 6)


def test_a_byte_order_mark_is_skipped() -> None:
    assert read_yaml(b"\xef\xbb\xbfa: 1").value == {"a": 1}


PAYLOADS = [
    "a: !!python/object/apply:os.system ['touch /tmp/owned']",
    "a: !!python/object/new:os.system ['id']",
    "a: !!python/object:subprocess.Popen {}",
    "a: !!python/name:os.system",
    "a: !!python/module:os",
    "!!python/object/apply:builtins.eval ['1']",
    "a: !!python/tuple [1, 2]",
    "a: !<tag:yaml.org,2002:python/name:os.system> x",
    "%TAG !y! tag:yaml.org,2002:python/\n---\na: !y!name:os.system x",
    "a: !!binary aGk=",
    "a: !!set {b}",
    "a: !!omap [b: 1]",
    "a: !!timestamp 2001-12-14",
    "a: !env PATH",
    "a: !include /etc/passwd",
]


@pytest.mark.parametrize("text", PAYLOADS)
def test_published_payloads_are_refused_by_their_tag(text: str) -> None:
    message, line, _ = only_fault(text)
    assert "is refused" in message
    assert line is not None


def test_a_tagged_key_is_refused() -> None:
    assert "python/name" in only_fault("!!python/name:os.system x: 1")[0]


def test_faults_do_not_hide_each_other() -> None:
    read = read_yaml("a: 1\na: 2\nb: !x 1\n3: c\nd: ok\n")
    assert [fault.line for fault in read.faults] == [2, 3, 4]
    assert read.value == {"a": 1, "b": None, "d": "ok"}
    assert read.spoiled == {("b",)}


def test_the_number_of_faults_is_bounded() -> None:
    assert len(read_yaml("a: 1\n" * 500).faults) == MAX_FAULTS


def laughs(levels: int, width: int, leaf: str) -> str:
    lines = [f"a0: &a0 {leaf}"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines)


BOMBS = {
    "billion laughs": (laughs(10, 10, "lol"), "values once aliases are written out"),
    "empty lists": (laughs(30, 2, "[]"), "values once aliases are written out"),
    "quadratic": ("a: &a " + "x" * 100_000 + "\nb: [" + "*a, " * 1000 + "]", "characters once aliases"),
    "depth by aliases": (
        "a0: &a0 []\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 200)),
        "levels once aliases are written out",
    ),
    "flow depth": ("[" * 10_000, "nested deeper than 64"),
    "closed flow depth": ("[" * 10_000 + "]" * 10_000, "nested deeper than 64"),
    "mapping depth": ("{a: " * 10_000 + "1" + "}" * 10_000, "nested deeper than 64"),
    "block depth": ("\n".join(" " * i + "a:" for i in range(1300)), "nested deeper than 64"),
    "dash depth": ("- " * 10_000 + "a", "nested deeper than 64"),
    "question depth": ("? " * 10_000 + "a", "nested deeper than 64"),
    "many values": ("\n".join(f"k{i}: 1" for i in range(MAX_VALUES + 1)), f"more than {MAX_VALUES} values"),
    "many events": ("[" + "1," * 400_000 + "]", f"more than {MAX_VALUES} values"),
    "large file": ("#" + "x" * MAX_BYTES, "larger than 1000000 bytes"),
    "large file in bytes, not characters": ("#" + "я" * 600_000, "larger than 1000000 bytes"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_once(name: str) -> None:
    text, part = BOMBS[name]
    start = time.perf_counter()
    message, line, _ = only_fault(text)
    assert part in message
    assert line is not None
    assert time.perf_counter() - start < 5.0


def test_merge_key_bombs_are_refused() -> None:
    lines = ["a0: &a0 {k: 1}"] + [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 30)]
    read = read_yaml("\n".join(lines))
    assert len(read.faults) == 29
    assert all("merge keys" in fault.message for fault in read.faults)


def test_sixty_four_levels_are_read() -> None:
    assert value("[" * 64 + "]" * 64) is not None
    assert "deeper" in only_fault("[" * 65 + "]" * 65)[0]


@pytest.mark.parametrize("text", [*PAYLOADS, "a: &a [*a]", "[" * 10_000, 'a: "\\ud800"', "a: 1\n---\nb: 1", "a: [1"])
def test_the_parser_without_libyaml_refuses_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_source, "_Loader", yaml.SafeLoader)
    message, line, column = only_fault(text)
    assert message
    assert line
    assert column


printable = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Zl", "Zp"], exclude_characters="\ufeff"))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | printable,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(printable, inner, max_size=5),
    max_leaves=30,
)


@given(json_values)
@settings(max_examples=150, deadline=2000)
def test_json_is_read_as_it_is(expected: object) -> None:
    assert value(json.dumps({"value": expected}, ensure_ascii=False)) == {"value": expected}


@given(json_values)
@settings(max_examples=150, deadline=2000)
def test_dumped_values_come_back_or_are_refused(expected: object) -> None:
    read = read_yaml(yaml.safe_dump({"value": expected}, allow_unicode=True))
    assert read.fatal or set(read.value) == {"value"}


@given(st.text() | st.text("{}[]&*!|>'\"%@`:-?#, \n\tab<~1") | st.binary())
@settings(max_examples=300, deadline=2000)
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    read = read_yaml(text)
    assert isinstance(read, YamlSource)
    assert read.faults or not read.fatal
    assert all(fault.line and fault.column for fault in read.faults)
