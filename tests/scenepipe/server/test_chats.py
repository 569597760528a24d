"""Chats over HTTP: named by a header, by a window's hints or by their history; branches, styles, requests sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from scenepipe import chats
from scenepipe.server.auth import Caller, Keys, digest

ANNA, BEN = "key-of-anna", "key-of-ben"
KEYS = Keys({digest(ANNA): Caller("anna", "anna"), digest(BEN): Caller("ben", "ben")})


class Chatting:
    """Asks over HTTP and keeps the Scene of each reply."""

    def __init__(self, serving: Any, **headers: str) -> None:
        self.serving = serving
        self.http = serving.client(headers=headers)

    def ask(self, *said: str, **body: Any) -> Any:
        """Texts and answers in turn, the last one to be answered."""
        headers = body.pop("headers", {})
        system = body.pop("system", None)
        messages = [{"role": "system", "content": system}] if system else []
        messages += [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]
        asked = {"messages": messages, "scenepipe": {"scene": True}} | body
        found = self.http.post("/v1/chat/completions", json=asked, headers=headers)
        assert found.status_code == 200, found.text
        return found.json()

    def tree(self, chat: str, namespace: str = "default") -> chats.Chat:
        log = self.serving.call(self.serving.service.archive.chat(chat, namespace=namespace))
        return chats.Chat(chat, log, namespace=namespace)


def text_of(answer: Any) -> str:
    said: str = answer["choices"][0]["message"]["content"]
    return said


def turns_of(answer: Any) -> list[tuple[str, str]]:
    return [(turn["text"], turn["reply"]) for turn in answer["scenepipe"]["scene"]["turns"] or ()]


def test_a_chat_that_the_client_names_goes_on_without_its_history(served: Any) -> None:
    chat = Chatting(served, **{"X-Scenepipe-Chat": "evening"})
    first = chat.ask("Who knocks?")
    second = chat.ask("And who sleeps?")
    third = chat.ask("And who wakes?")
    assert turns_of(second) == [("Who knocks?", text_of(first))]
    assert turns_of(third) == [("Who knocks?", text_of(first)), ("And who sleeps?", text_of(second))]
    assert len(chat.tree("evening").steps()) == 3
    assert third["scenepipe"]["chat"] == "evening"


@pytest.mark.parametrize("way", ["body", "conversation", "conversation object"])
def test_other_ways_to_name_a_chat(served: Any, way: str) -> None:
    chat = Chatting(served)
    named: dict[str, Any] = {
        "body": {"scenepipe": {"scene": True, "chat": "c"}},
        "conversation": {"conversation": "c"},
        "conversation object": {"conversation": {"id": "c"}},
    }[way]
    first = chat.ask("Who knocks?", **named)
    assert turns_of(chat.ask("And who sleeps?", **named)) == [("Who knocks?", text_of(first))]


def test_a_window_sends_its_history_and_its_branches_stay_apart(served: Any) -> None:
    chat = Chatting(served, **{"X-OpenWebUI-Chat-Id": "w1"})
    first = text_of(chat.ask("Who knocks?"))
    second = text_of(chat.ask("Who knocks?", first, "And who sleeps?", seed=2))
    assert [step.reply for step in chat.tree("w1").steps()] == [first, second]
    again = text_of(chat.ask("Who knocks?", first, "And who sleeps?", seed=3))
    tree = chat.tree("w1")
    assert again != second
    assert len(tree.steps()) == 2
    assert tree.steps()[-1].replies == 2  # regenerated: met once, answered twice
    chat.ask("Who knocks?", first, "And who wakes?")
    assert chat.tree("w1").steps()[-1].versions == 2  # edited: a branch beside
    chat.ask("Who calls?")
    assert len(chat.tree("w1").steps()) == 1  # the first text edited: a root beside
    assert len(chat.tree("w1").tips) == 4


def test_the_words_that_the_client_sends_win(served: Any) -> None:
    chat = Chatting(served, **{"X-OpenWebUI-Chat-Id": "w2"})
    chat.ask("Who knocks?")
    told = chat.ask("Who knocks?", "An answer that nobody gave.", "And who sleeps?")
    assert turns_of(told) == [("Who knocks?", "An answer that nobody gave.")]
    assert len(chat.tree("w2").tips) == 2


def test_a_chat_without_a_name_is_known_by_its_history(served: Any) -> None:
    chat = Chatting(served)

    def name_of(answer: Any) -> str:
        assert answer["scenepipe"]["chat"] is None, "a name that is told can be used"
        found: str = answer["scenepipe"]["scene"]["origin"]["chat"]
        return found

    first = chat.ask("Who knocks?")
    name = name_of(first)
    second = chat.ask("Who knocks?", text_of(first), "And who sleeps?")
    assert name_of(second) == name
    third = chat.ask("Who knocks?", text_of(first), "And who sleeps?", text_of(second), "And who wakes?")
    assert name_of(third) == name
    assert len(chat.tree(name).steps()) == 3
    other = name_of(chat.ask("Who knocks?"))
    assert other != name
    assert name_of(chat.ask("Who knocks?", "Nobody said this.", "And who sleeps?")) not in (name, other)


def test_a_parent_chooses_the_branch(served: Any) -> None:
    chat = Chatting(served, **{"X-Scenepipe-Chat": "b"})
    first = chat.ask("Who knocks?")
    chat.ask("And who sleeps?")
    tip = first["scenepipe"]["tip"]
    beside = chat.ask("And who wakes?", headers={"X-Scenepipe-Parent": tip})
    assert turns_of(beside) == [("Who knocks?", text_of(first))]
    assert turns_of(chat.ask("And who calls?", headers={"X-Scenepipe-Parent": "none"})) == []
    assert len(chat.tree("b").tips) == 3
    wrong = chat.http.post(
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "x"}]},
        headers={"X-Scenepipe-Parent": "0" * 8},
    )
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (404, "parent_not_found")


def test_a_chat_keeps_its_style_and_another_has_its_own(served: Any) -> None:
    chat = Chatting(served, **{"X-Scenepipe-Chat": "s"})
    unseen = {"scenepipe": {"scene": True, "remember": False}}
    plain = Chatting(served).ask("Who knocks?", model="poet", **unseen)["usage"]["prompt_tokens"]
    styled = chat.ask("Who knocks?", system="Speak as the sea.", model="poet")
    later = chat.ask("And who sleeps?", model=None)
    assert styled["usage"]["prompt_tokens"] == plain + len(["Style:", "Speak", "as", "the", "sea."])
    assert later["scenepipe"]["scene"]["reply"]["receipt"]["used"] == {"poet": 1.0}
    kept = [e.data.get("style") for e in served.encounters() if e.kind == "met" and e.chat == "s"]
    assert kept == [{"system": "Speak as the sea.", "mixture": {"poet": 1.0}}, None]


def test_chats_of_another_key_are_not_there(serving: Callable[..., Any]) -> None:
    started = serving(keys=KEYS)
    anna = Chatting(started, **{"X-Scenepipe-Chat": "ours", "Authorization": f"Bearer {ANNA}"})
    ben = Chatting(started, **{"X-Scenepipe-Chat": "ours", "Authorization": f"Bearer {BEN}"})
    first = anna.ask("Who knocks?")
    told = ben.ask("And who sleeps?")
    assert turns_of(told) == []
    assert told["scenepipe"]["scene"]["echoes"] == []
    tip = {"X-Scenepipe-Parent": first["scenepipe"]["tip"]}
    body = {"messages": [{"role": "user", "content": "x"}]}
    assert ben.http.post("/v1/chat/completions", json=body, headers=tip).status_code == 404
    found = ben.http.post("/v1/memory/search", json={"input": "Who knocks?", "chat": "ours"}).json()
    assert all(echo["text"] != "Who knocks?" for echo in found["data"])
    assert len(anna.tree("ours", "anna").steps()) == len(ben.tree("ours", "ben").steps()) == 1


def test_a_request_that_is_sent_again_is_answered_once(served: Any) -> None:
    chat = Chatting(served, **{"X-OpenWebUI-Chat-Id": "r"})
    named = {"Idempotency-Key": "one"}
    first = chat.ask("Who knocks?", seed=1, headers=named)
    assert text_of(chat.ask("Who knocks?", seed=2, headers=named)) == text_of(first)
    retried = {"X-Stainless-Retry-Count": "1"}
    assert text_of(chat.ask("Who knocks?", seed=3, headers=retried)) == text_of(first)
    assert [e.kind for e in served.encounters()] == ["met", "spoken"]
    assert text_of(chat.ask("Who knocks?", seed=3)) != text_of(first)


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("### Task:\nGenerate a concise title for the chat history.\n<chat_history>\nUSER: hi\n</chat_history>", {}),
        ("Generate a short title for this conversation, five words at most.", {}),
        ("Какой у этого разговора заголовок?", {"X-OpenWebUI-Task": "title_generation"}),
        ("Who knocks?", {"X-Scenepipe-Remember": "0"}),
    ],
)
def test_what_a_window_asks_for_itself_is_answered_and_is_no_scene(
    served: Any, text: str, headers: dict[str, str]
) -> None:
    chat = Chatting(served, **{"X-OpenWebUI-Chat-Id": "w"})
    assert text_of(chat.ask(text, headers=headers))
    assert served.encounters() == []


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("### Task:\nRespond to the user query using the context.\n<context>\nA door.\n</context>\nWho knocks?", {}),
        ("Generate warmth in the room of my childhood.", {}),
        ("Who knocks?", {"X-OpenWebUI-Task": ""}),
        ("Who knocks?", {"X-OpenWebUI-Task": "{{TASK}}"}),
    ],
)
def test_what_a_person_says_is_a_scene(served: Any, text: str, headers: dict[str, str]) -> None:
    Chatting(served).ask(text, headers=headers)
    assert [e.kind for e in served.encounters()] == ["met", "spoken"]


def test_an_answer_that_is_to_be_continued_passes_through(served: Any) -> None:
    chat = Chatting(served)
    told = chat.ask("Who knocks?", "The one who knocks is")
    assert text_of(told)
    assert told["scenepipe"]["scene"] is None
    assert served.encounters() == []


def test_messages_in_any_order_become_turns(served: Any) -> None:
    def asked(*messages: Sequence[str]) -> Any:
        body = [{"role": role, "content": text} for role, text in messages]
        found = Chatting(served).http.post(
            "/v1/chat/completions", json={"messages": body, "scenepipe": {"scene": True}}
        )
        return found.json()["scenepipe"]["scene"]

    doubled = asked(("user", "Who"), ("user", "knocks?"), ("assistant", "A"), ("assistant", "B"), ("user", "Why?"))
    assert [(t["text"], t["reply"]) for t in doubled["turns"]] == [("Who\nknocks?", "A\nB")]
    greeted = asked(("assistant", "Welcome."), ("user", "Who knocks?"))
    assert (greeted["text"], greeted["turns"]) == ("Who knocks?", [])
    parts = [{"type": "text", "text": "Who"}, {"type": "text", "text": "knocks?"}]
    body = {"messages": [{"role": "user", "content": parts}], "scenepipe": {"scene": True}}
    found = Chatting(served).http.post("/v1/chat/completions", json=body).json()
    assert found["scenepipe"]["scene"]["text"] == "Who\nknocks?"


def test_many_chats_at_once_see_nothing_of_each_other(served: Any) -> None:
    async def one(client: httpx.AsyncClient, number: int) -> None:
        said: list[str] = []
        for turn in range(3):
            text = f"chat{number} asks word{number}x{turn}"
            body = {"messages": [{"role": "user", "content": text}], "scenepipe": {"scene": True}}
            found = await client.post("/v1/chat/completions", json=body, headers={"X-Scenepipe-Chat": f"c{number}"})
            assert found.status_code == 200, found.text
            turns = [each["text"] for each in found.json()["scenepipe"]["scene"]["turns"]]
            assert turns == said
            said.append(text)

    async def all_of_them() -> None:
        async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
            await asyncio.gather(*(one(client, number) for number in range(12)))

    asyncio.run(all_of_them())
    assert [e.kind for e in served.encounters()].count("met") == 36
