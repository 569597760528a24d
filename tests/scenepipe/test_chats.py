"""Chats rebuilt from an archive: paths, branches, histories that clients send again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from scenepipe import chats
from scenepipe.chats import Chat
from scenepipe.context import Context
from scenepipe.contracts import Encounter
from scenepipe.errors import InputError
from scenepipe.memory.memory import MemoryArchive
from scenepipe.modules.recall import Recall
from scenepipe.modules.remember import Remember
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Linkage, Origin, Receipt, Reply, Scene, Symbol, Turn, new_scene, scene_id

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def met(name: str, text: str, *, at: int = 0, **rest: Any) -> Encounter:
    when = NOON + timedelta(minutes=at)
    return Encounter(id=name, scene_id=scene_id(text), kind="met", at=when, chat="a", run=name[-1:], **rest)


def said(name: str, text: str, reply: str, *, at: int = 0, **rest: Any) -> Encounter:
    data = {"text": reply} | rest.pop("data", {})
    when = NOON + timedelta(minutes=at)
    return Encounter(
        id=name, scene_id=scene_id(text), kind="spoken", at=when, chat="a", run=name[-1:], data=data, **rest
    )


def shown(chat: Chat, tip: str | None = None) -> list[tuple[int, str, str | None]]:
    return [(step.number, step.met, step.reply) for step in chat.steps(tip)]


LINEAR = [
    met("m1", "раз", turn=1),
    said("s1", "раз", "один", turn=1),
    met("m2", "два", turn=2, at=1),
    said("s2", "два", "двойка", turn=2, at=1),
    met("m3", "три", turn=3, at=2),
]


def test_turns_without_parents_follow_each_other_whatever_the_clock_says() -> None:
    for log in (LINEAR, [e.model_copy(update={"at": NOON - (e.at - NOON)}) for e in LINEAR]):
        chat = Chat("a", random.Random(7).sample(log, len(log)))
        assert shown(chat) == [(1, "m1", "один"), (2, "m2", "двойка"), (3, "m3", None)]
        assert chat.tips == ("m3",)


def test_without_numbers_time_orders_them() -> None:
    chat = Chat("a", [e.model_copy(update={"turn": None}) for e in LINEAR])
    assert shown(chat) == [(1, "m1", "один"), (2, "m2", "двойка"), (3, "m3", None)]


TREE = [
    met("m1", "раз", turn=1),
    said("s1", "раз", "один", turn=1, at=1, data={"parent": "m1"}),
    said("r1", "раз", "единица", turn=1, at=2, data={"parent": "m1"}),
    met("m2", "два", turn=2, at=3, data={"parent": "s1"}),
    said("s2", "два", "двойка", turn=2, at=4, data={"parent": "m2"}),
    met("e2", "пять", turn=2, at=5, data={"parent": "s1"}),
    said("t2", "пять", "пятёрка", turn=2, at=6, data={"parent": "e2"}),
    met("m3", "шесть", turn=2, at=7, data={"parent": "r1"}),
]


def test_a_branch_is_a_path_and_nothing_is_lost() -> None:
    chat = Chat("a", TREE)
    assert chat.tips == ("m3", "t2", "s2")
    assert shown(chat) == [(1, "m1", "единица"), (2, "m3", None)]
    assert shown(chat, "t2") == [(1, "m1", "один"), (2, "e2", "пятёрка")]
    assert shown(chat, "s2") == [(1, "m1", "один"), (2, "m2", "двойка")]
    assert shown(chat, "m2") == [(1, "m1", "один"), (2, "m2", None)]
    first, second = chat.steps("t2")
    assert (first.replies, first.versions, second.replies, second.versions) == (2, 1, 1, 2)
    with pytest.raises(InputError, match=r"chat 'a' has no encounter 'zz'; its branches end with m3, t2, s2"):
        chat.steps("zz")


def test_going_on_regenerating_and_editing_name_what_they_follow() -> None:
    chat = Chat("a", TREE)
    first, second = chat.steps("t2")
    assert chat.follow("t2", user="u") == Origin(chat="a", turn=3, parent="t2", user="u")
    assert chat.follow() == Origin(chat="a", turn=3, parent="m3")
    assert chat.regenerate(second) == Origin(chat="a", turn=2, parent="e2", regenerate=True)
    assert chat.edit(second) == Origin(chat="a", turn=2, parent="s1")
    assert chat.edit(first) == Origin(chat="a", turn=1, parent=None)
    assert Chat("b", [], namespace="n").follow() == Origin(namespace="n", chat="b", turn=1)


def test_what_comes_before_a_turn() -> None:
    chat = Chat("a", TREE)

    def before(**origin: Any) -> list[str]:
        return [step.tip for step in chat.before(Origin(chat="a", **origin))]

    assert before(turn=3, parent="t2") == ["s1", "t2"]
    assert before(turn=2, parent="m2", regenerate=True) == ["s1"]
    assert before(turn=1, parent="m1", regenerate=True) == []
    assert before(turn=3) == ["r1", "m3"]
    assert before(turn=2) == ["r1"]
    assert before(turn=1) == []
    assert before() == ["r1", "m3"]
    assert before(turn=3, parent="another chat's") == ["r1", "m3"]


def test_a_history_is_found_by_its_words() -> None:
    chat = Chat("a", TREE)
    assert chat.matched([]) == (0, None)
    assert chat.matched([("раз", "один"), ("пять", "пятёрка")]) == (2, "t2")
    assert chat.matched([("раз", "один"), ("пять", None)]) == (2, "e2")
    assert chat.matched([("раз", "единица"), ("пять", "пятёрка")]) == (1, "r1")
    assert chat.matched([("раз ", "один")]) == (0, None)
    assert chat.matched([("раз", "другое")]) == (0, None)
    assert chat.matched([("два", "двойка")]) == (0, None)


def test_what_was_forgotten_leaves_the_rest_a_chat() -> None:
    chat = Chat("a", [e for e in TREE if e.scene_id != scene_id("раз")])
    assert shown(chat, "t2") == [(2, "e2", "пятёрка")]
    middle = [e for e in LINEAR if e.scene_id != scene_id("два")]
    assert shown(Chat("a", middle)) == [(1, "m1", "один"), (3, "m3", None)]


def test_parents_in_a_circle_end_it() -> None:
    circle = [met("m1", "раз", data={"parent": "m2"}), met("m2", "два", at=1, data={"parent": "m1"})]
    assert {step.met for step in Chat("a", circle).steps("m1")} == {"m1", "m2"}
    assert Chat("a", circle).tips == ()
    assert Chat("a", circle).steps() == ()
    alone = [met("m1", "раз", data={"parent": "m1"})]
    assert shown(Chat("a", alone)) == [(1, "m1", None)]


@pytest.mark.parametrize("parent", [7, None, ["m1"], {"m1": 1}, "", "m1\0"])
def test_a_parent_that_is_none_is_passed_over(parent: Any) -> None:
    log = [LINEAR[0], LINEAR[1], met("m2", "два", turn=2, at=1, data={"parent": parent})]
    assert shown(Chat("a", log)) == [(1, "m1", "один"), (2, "m2", None)]


def test_other_kinds_are_passed_over_and_strange_replies_are_none() -> None:
    log = [*LINEAR, met("m9", "девять", turn=9).model_copy(update={"kind": "linked"})]
    assert len(Chat("a", log).steps()) == 3
    odd = Chat("a", [LINEAR[0], said("s1", "раз", "x", data={"text": 5})])
    assert shown(odd) == [(1, "m1", None)]


def test_a_long_chat_is_built_in_a_moment() -> None:
    log = [met(f"m{n}", "раз", at=n, turn=n) for n in range(20_000)]
    assert len(Chat("a", log).steps()) == 20_000
    assert len(Chat("a", [e.model_copy(update={"turn": None}) for e in log]).steps()) == 20_000


# --- With an archive -------------------------------------------------------------------------------------------------


class Speak:
    """Analyses and answers: the text with a number that counts the answers."""

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset({"symbols", "linkage"})

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        symbols = tuple(Symbol(lemma=word, language="ru") for word in scene.text.lower().split())
        return scene.with_(symbols=symbols, linkage=Linkage(chain=tuple(s.key for s in symbols)))


class Answer:
    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset({"reply"})

    def __init__(self) -> None:
        self.count = 0

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        self.count += 1
        receipt = Receipt(backend="fake", model="m", mode="exact", prompt_version=1, prompt_sha256="0" * 64)
        return scene.with_(reply=Reply(text=f"{scene.text}! {self.count}", receipt=receipt))


def talk(pipe: Pipeline, text: str, origin: Origin) -> Scene:
    return pipe.run(new_scene(text, origin))


def said_before(scene: Scene) -> list[tuple[str, str | None]]:
    return [(turn.text, turn.reply) for turn in scene.turns or ()]


def loaded(archive: MemoryArchive, name: str = "a", namespace: str = "default") -> Chat:
    return asyncio.run(chats.load(archive, name, namespace=namespace))


def turns_of(archive: MemoryArchive, tip: str | None = None) -> Sequence[Turn]:
    chat = loaded(archive)
    return asyncio.run(chats.texts(archive, chat.steps(tip)))


def test_a_chat_is_gone_on_with_regenerated_and_edited() -> None:
    archive = MemoryArchive()
    with Pipeline([Speak(), Recall(), Answer(), Remember()], archive=archive) as pipe:
        first = talk(pipe, "раз", loaded(archive).follow())
        assert said_before(first) == []
        second = talk(pipe, "два", loaded(archive).follow())
        assert said_before(second) == [("раз", "раз! 1")]
        assert chats.tip_of(second) == loaded(archive).tips[0]

        again = talk(pipe, "два", loaded(archive).regenerate(loaded(archive).steps()[1]))
        assert said_before(again) == [("раз", "раз! 1")]
        assert again.resonance == second.resonance
        assert [(echo.text, echo.reply) for echo in again.echoes or ()] == []
        assert again.reply is not None

        third = talk(pipe, "три", loaded(archive).follow(chats.tip_of(again)))
        assert said_before(third) == [("раз", "раз! 1"), ("два", "два! 3")]
        other = talk(pipe, "три", loaded(archive).follow(chats.tip_of(second)))
        assert said_before(other) == [("раз", "раз! 1"), ("два", "два! 2")]

        edited = talk(pipe, "пять", loaded(archive).edit(loaded(archive).steps(chats.tip_of(third))[1]))
        assert said_before(edited) == [("раз", "раз! 1")]
    chat = loaded(archive)
    assert len(chat.tips) == 3
    assert [t.text for t in turns_of(archive, chats.tip_of(third))] == ["раз", "два", "три"]
    assert [t.text for t in turns_of(archive, chats.tip_of(edited))] == ["раз", "пять"]
    met_twice = [e for e in asyncio.run(archive.encounters([scene_id("два")])) if e.kind == "met"]
    assert len(met_twice) == 1


def test_plain_chat_and_turn_are_a_chat_too() -> None:
    archive = MemoryArchive()
    with Pipeline([Speak(), Recall(turns=2), Answer(), Remember()], archive=archive) as pipe:
        for number, text in enumerate(("раз", "два", "три"), start=1):
            talk(pipe, text, Origin(chat="a", turn=number, run=text))
        fourth = talk(pipe, "четыре", Origin(chat="a", turn=4, run="x"))
        assert said_before(fourth) == [("два", "два! 2"), ("три", "три! 3")]
        once_more = talk(pipe, "четыре", Origin(chat="a", turn=4, run="x"))
        assert once_more.turns == fourth.turns
        assert said_before(talk(pipe, "раз", Origin(chat="b", turn=4))) == []
        assert said_before(talk(pipe, "раз", Origin(chat="a", turn=4, namespace="n"))) == []
        assert pipe.run("раз").turns == ()


def test_the_callers_own_turns_are_kept() -> None:
    archive = MemoryArchive()
    with Pipeline([Speak(), Recall(), Answer(), Remember()], archive=archive) as pipe:
        talk(pipe, "раз", Origin(chat="a", turn=1))
        given = (Turn(text="своё", reply="иное"),)
        done = pipe.run(new_scene("два", Origin(chat="a", turn=2)).with_(turns=given))
        assert done.turns == given
    with Pipeline([Speak(), Recall(turns=0), Answer(), Remember()], archive=archive) as pipe:
        assert talk(pipe, "два", Origin(chat="a", turn=2)).turns == ()


def test_chats_are_listed_the_latest_first() -> None:
    archive = MemoryArchive()
    scenes = [new_scene(text, Origin(namespace=space)) for space in ("default", "n") for text in ("раз", "два")]
    log = [
        Encounter(id=str(n), scene_id=s.id, kind="met", at=NOON + timedelta(minutes=n), chat=chat, namespace=space)
        for n, (s, chat, space) in enumerate(
            [
                (scenes[0], "a", "default"),
                (scenes[1], "b", "default"),
                (scenes[1], "a", "default"),
                (scenes[2], "a", "n"),
            ]
        )
    ]
    log.append(Encounter(id="none", scene_id=scenes[0].id, kind="met", at=NOON))
    asyncio.run(archive.append(scenes, log))
    found = asyncio.run(chats.summaries(archive))
    assert [(c.namespace, c.name, c.turns, c.branches) for c in found] == [
        ("n", "a", 1, 1), ("default", "a", 2, 1), ("default", "b", 1, 1)
    ]  # fmt: skip
    assert (found[1].first, found[1].last) == (NOON, NOON + timedelta(minutes=2))
    assert [c.name for c in asyncio.run(chats.summaries(archive, namespace="n"))] == ["a"]
