"""``scenepipe memory chats``: a list, one chat, its branches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import scenepipe
from scenepipe import chats
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Origin, new_scene

Cli = Callable[..., Result]


@pytest.fixture
def talked(pipeline: Path) -> Path:
    """Two turns in chat a, of which the second was regenerated and edited, and a turn in chat b of anna's."""
    with scenepipe.load(pipeline) as pipe:
        pipe.run(new_scene("Первый шаг", Origin(chat="a", turn=1)))
        second = pipe.run(new_scene("Второй шаг", Origin(chat="a", turn=2)))
        step = chat_of(pipe).steps()[1]
        pipe.run(new_scene("Второй шаг", chat_of(pipe).regenerate(step)))
        pipe.run(new_scene("Другой шаг", chat_of(pipe).edit(step)))
        pipe.run(new_scene("Третий шаг", chat_of(pipe).follow(chats.tip_of(second))))
        pipe.run(new_scene("Иное", Origin(chat="b", turn=1, namespace="anna")))
    return pipeline


def chat_of(pipe: Pipeline) -> chats.Chat:
    assert pipe.resources.archive is not None
    return pipe._sync().call(chats.load(pipe.resources.archive, "a"))


def test_chats_are_listed(cli: Cli, talked: Path) -> None:
    rows = json.loads(cli("memory", "chats", talked, "--json").stdout)
    assert [(row["name"], row["namespace"], row["turns"], row["branches"]) for row in rows] == [
        ("b", "anna", 1, 1),
        ("a", "default", 3, 3),
    ]
    assert rows[1]["first"] < rows[1]["last"]
    shown = cli("memory", "chats", talked).stdout
    assert "anna" in shown
    assert [
        row["name"] for row in json.loads(cli("memory", "chats", talked, "--json", "--namespace", "anna").stdout)
    ] == ["b"]


def test_a_chat_is_shown_with_its_branches(cli: Cli, talked: Path) -> None:
    found = json.loads(cli("memory", "chats", talked, "a", "--json").stdout)
    assert [(turn["number"], turn["text"]) for turn in found["turns"]] == [
        (1, "Первый шаг"),
        (2, "Второй шаг"),
        (3, "Третий шаг"),
    ]
    assert all(turn["reply"] for turn in found["turns"])
    assert [(turn["versions"], turn["replies"]) for turn in found["turns"]] == [(1, 1), (2, 2), (1, 1)]
    assert len(found["branches"]) == 3
    shown = cli("memory", "chats", talked, "a").stdout
    assert "2 texts · 2 answers" in shown
    assert shown.count("another branch: --branch ") == 2
    edited = next(
        tip for tip in found["branches"] if "Другой" in cli("memory", "chats", talked, "a", "--branch", tip).stdout
    )
    assert "Другой шаг" in cli("memory", "chats", talked, "a", "--branch", edited[:12]).stdout


def test_what_is_not_there_is_refused(cli: Cli, talked: Path) -> None:
    result = cli("memory", "chats", talked, "c")
    assert (result.exit_code, "no chat 'c' in namespace 'default'" in result.stderr) == (2, True)
    assert cli("memory", "chats", talked, "b").exit_code == 2
    assert cli("memory", "chats", talked, "b", "--namespace", "anna").exit_code == 0
    assert cli("memory", "chats", talked, "--branch", "x").exit_code == 2
    assert cli("memory", "chats", talked, "a", "--branch", "zzzz").exit_code == 1


def test_an_archive_without_chats_says_so(cli: Cli, pipeline: Path) -> None:
    cli("run", pipeline, "Один", "--json")
    assert "no chat is remembered here" in cli("memory", "chats", pipeline).stdout
