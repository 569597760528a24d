"""The Qdrant archive: the conformance suite over the local client and over HTTP, and what it does with refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from scenepipe.contracts import Archive, Query
from scenepipe.errors import ArchiveError
from scenepipe.memory import qdrant
from scenepipe.memory.qdrant import QdrantArchive
from scenepipe.testing.archive_suite import ENCODER, ArchiveFactory, ArchiveSuite, encounter_of, query_of, scene_of

pytest.importorskip("qdrant_client", reason="pip install 'scenepipe[qdrant]'")
Start = Callable[..., Any]


class TestQdrantInMemory(ArchiveSuite):
    persistent = False

    @pytest.fixture
    def archive_factory(self) -> ArchiveFactory:
        return lambda name="archive": QdrantArchive(url=":memory:")


class TestQdrantOverHttp(ArchiveSuite):
    @pytest.fixture
    def archive_factory(self, qdrant_server: Start) -> ArchiveFactory:
        server = qdrant_server()
        return lambda name="archive": QdrantArchive(url=server.url, prefix=name)


def use(server: Any, body: Any, **options: Any) -> Any:
    return ArchiveSuite().use(lambda name: QdrantArchive(url=server.url, **options), body)


def refusal(**options: Any) -> str:
    with pytest.raises(ArchiveError) as caught:
        asyncio.run(QdrantArchive(**options).open())
    return str(caught.value)


# --- Addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["/var/lib/qdrant", "qdrant", "file:///tmp/x", "localhost:6333"])
def test_folders_are_refused(url: str) -> None:
    message = refusal(url=url)
    assert "unpickles" in message
    assert "qdrant-edge" in message


def test_a_server_that_is_not_there_is_named() -> None:
    assert "http://127.0.0.1:1 (scenepipe): the server cannot be reached" in refusal(url="http://127.0.0.1:1")


def test_an_old_server_is_refused(qdrant_server: Start) -> None:
    message = refusal(url=qdrant_server(version="1.17.2-dev").url)
    assert "version 1.17.2-dev, 1.18 or newer is needed" in message


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_the_key_is_sent_and_never_shown(qdrant_server: Start) -> None:
    server = qdrant_server(api_key="richtig")
    assert "give 'api_key' (HTTP 401)" in refusal(url=server.url)
    message = refusal(url=server.url, api_key=SecretStr("falsch"))
    assert "falsch" not in message

    async def body(archive: Archive) -> int:
        return (await archive.append([scene_of("шаг")], [])).scenes

    assert use(server, body, api_key=SecretStr("richtig")) == 1


def test_the_timeout_is_the_clients(qdrant_server: Start) -> None:
    archive = QdrantArchive(url=qdrant_server().url, timeout=7)
    client = archive._connect()
    assert client.init_options["timeout"] == 7
    client.close()


# --- Collections -----------------------------------------------------------------------------------------------------


def test_what_is_filtered_by_is_indexed(qdrant_server: Start) -> None:
    server = qdrant_server()

    async def nothing(archive: Archive) -> None: ...

    use(server, nothing, prefix="mine")
    use(server, nothing, prefix="mine")
    made = [(path.split("?")[0], body["field_name"]) for _, path, body in server.requests if "/index" in path]
    fields = ("scene", "namespace", "key", "chain_id", "terms", "register", "code")
    scenes = [("/collections/mine_scenes/index", f) for f in (*fields, "valence", "arousal", "dominance", "tension")]
    met = [("/collections/mine_encounters/index", f) for f in ("scene", "namespace", "chat", "kind")]
    assert made == [*scenes, *met]
    tenants = [body["field_schema"] for _, path, body in server.requests if "/index" in path and "name" in str(body)]
    assert [schema.get("is_tenant") for schema in tenants].count(True) == 2


def test_a_crash_between_two_indexes_is_healed(qdrant_server: Start) -> None:
    server = qdrant_server()

    async def nothing(archive: Archive) -> None: ...

    use(server, nothing)
    del server._indexes["scenepipe_scenes"]["terms"]
    use(server, nothing)
    assert "terms" in server._indexes["scenepipe_scenes"]


@pytest.mark.parametrize(("mark", "message"), [(None, "another program"), ({"scenepipe": 3}, "upgrade scenepipe")])
def test_other_collections_are_refused(qdrant_server: Start, mark: dict[str, int] | None, message: str) -> None:
    server = qdrant_server()
    server._local.create_collection("scenepipe_scenes", vectors_config={}, metadata=mark)
    assert message in refusal(url=server.url)


def test_a_new_vector_is_seen_by_another_process(qdrant_server: Start) -> None:
    server, scene = qdrant_server(), scene_of("шаг", vector=[100, 0])
    near = Query(vector=b"\x64\x00", encoder=ENCODER)

    async def body(first: Archive) -> None:
        second = QdrantArchive(url=server.url)
        await second.open()
        assert tuple(await second.find(near)) == ()
        await first.append([scene], [])
        assert [hit.scene for hit in await second.find(near)] == [scene]
        await second.append([scene_of("ход", vector=[100, 1])], [])
        await second.aclose()
        assert len(await first.find(near)) == 2

    use(server, body)


# --- Writing ---------------------------------------------------------------------------------------------------------


def writes(server: Any) -> list[tuple[str, list[dict[str, Any]]]]:
    return [(p, body["points"]) for method, p, body in server.requests if method == "PUT" and "/points" in p]


def test_scenes_are_written_before_encounters_and_waited_for(qdrant_server: Start) -> None:
    server, scene = qdrant_server(), scene_of("шаг", ["шаг"])

    async def body(archive: Archive) -> None:
        await archive.append([scene], [encounter_of(scene, "1")])

    use(server, body)
    sent = [(path, body["update_mode"]) for m, path, body in server.requests if m == "PUT" and "/points" in path]
    assert [path.partition("?")[0] for path, _ in sent] == [
        "/collections/scenepipe_scenes/points",
        "/collections/scenepipe_encounters/points",
    ]
    assert all("wait=true" in path and "ordering=strong" in path and mode == "insert_only" for path, mode in sent)


def test_large_batches_are_sent_in_parts(qdrant_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant, "_MOST_CHARACTERS", 100_000)
    server = qdrant_server()
    scenes = [scene_of(f"текст {n} " + "слово " * (9_000 if n == 3 else 1)) for n in range(250)]

    async def body(archive: Archive) -> None:
        assert (await archive.append(scenes, [])).scenes == 250

    use(server, body)
    sizes = [len(points) for _, points in writes(server)]
    assert sum(sizes) == 250
    assert max(sizes) <= 100
    assert len(sizes) >= 3


def test_a_crash_between_scene_and_encounter_is_replayed(qdrant_server: Start) -> None:
    server, scene = qdrant_server(), scene_of("шаг", ["шаг"])
    answer = server.answer

    def fail_encounters(method: str, path: str, key: str | None, body: bytes) -> Any:
        if method == "PUT" and "encounters/points" in path:
            return 500, {"status": {"error": "gone"}, "time": 0.0}
        return answer(method, path, key, body)

    async def body(archive: Archive) -> None:
        server.answer = fail_encounters
        with pytest.raises(ArchiveError, match="HTTP 500"):
            await archive.append([scene], [encounter_of(scene, "1")])
        assert (await archive.verify()).model_dump() == {"scenes": 1, "encounters": 0, "faults": ()}
        server.answer = answer
        assert (await archive.append([scene], [encounter_of(scene, "1")])).model_dump() == {
            "scenes": 0,
            "encounters": 1,
        }
        assert [hit.scene for hit in await archive.find(query_of(scene))] == [scene]

    use(server, body)


@pytest.mark.parametrize(
    ("status", "message"),
    [(507, "disk is full"), (413, "larger than the server takes"), (403, "may write"), (500, "boom")],
)
def test_refusals_say_what_to_do(qdrant_server: Start, status: int, message: str) -> None:
    server = qdrant_server()

    async def body(archive: Archive) -> None:
        server.refuse = (status, "boom")
        with pytest.raises(ArchiveError, match=message):
            await archive.append([scene_of("шаг")], [])
        with pytest.raises(ArchiveError, match=message):
            await archive.encounters()
        server.refuse = None
        assert (await archive.append([scene_of("шаг")], [])).scenes == 1

    use(server, body)


def test_two_archives_make_the_exact_union(qdrant_server: Start) -> None:
    server = qdrant_server()
    shared = [scene_of(f"общий {n}", ["шаг"], vector=[1, n]) for n in range(20)]

    async def write(name: str) -> None:
        archive = QdrantArchive(url=server.url)
        await archive.open()
        for n, scene in enumerate(shared):
            own = scene_of(f"{name} {n}", ["шаг"])
            await archive.append([scene, own], [encounter_of(scene, f"both-{n}"), encounter_of(own, f"{name}-{n}")])
        await archive.aclose()

    async def body(archive: Archive) -> None:
        await asyncio.gather(write("one"), write("two"))
        assert (await archive.verify()).model_dump() == {"scenes": 60, "encounters": 60, "faults": ()}

    use(server, body)


def test_a_record_written_twice_at_once_keeps_its_first_form(
    qdrant_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that have both looked before either wrote: the second write changes nothing."""
    server, scene = qdrant_server(), scene_of("шаг", ["шаг"])
    later = scene.with_(created=scene.created.replace(year=2030))

    async def body(archive: Archive) -> None:
        other = QdrantArchive(url=server.url)
        await other.open()
        monkeypatch.setattr(other, "_analyses", lambda *_: {})
        await archive.append([scene], [])
        await other.append([later], [])
        await other.aclose()
        assert tuple(await archive.get([scene.id])) == (scene,)

    use(server, body)


def test_fields_that_repeat_the_record_are_checked_and_the_record_exported(qdrant_server: Start) -> None:
    server, scene = qdrant_server(), scene_of("шаг", ["шаг"], linkage=["шаг"])
    met = encounter_of(scene, "op")
    wrong: dict[str, Any] = {"created": "2030", "keys": [], "own": [], "chains": "[]", "figures": {}, "code": "x"}

    async def body(archive: Archive) -> None:
        await archive.append([scene], [met])
        for place, fields in (("scenepipe_scenes", wrong), ("scenepipe_encounters", {"at": met.at.isoformat()[:-6]})):
            [point] = server._local.scroll(place, limit=10)[0]
            for name, value in fields.items():
                server._local.set_payload(place, {name: value}, [point.id])
                (fault,) = (await archive.verify()).faults
                assert fault.endswith(f"point {point.id}: damaged"), name
                assert [record async for record in archive.export()] == [scene, met]
                server._local.set_payload(place, {name: point.payload[name]}, [point.id])
        assert (await archive.verify()).faults == ()

    use(server, body)


def test_a_changed_record_is_noticed(qdrant_server: Start) -> None:
    server, scenes = qdrant_server(), [scene_of(f"текст {n}", ["шаг"]) for n in range(3)]

    async def body(archive: Archive) -> None:
        await archive.append(scenes, [encounter_of(s, f"op-{n}") for n, s in enumerate(scenes)])
        found, _ = server._local.scroll("scenepipe_scenes", limit=10)
        changed = next(point for point in found if point.payload["scene"] == scenes[1].id)
        server._local.set_payload("scenepipe_scenes", {"namespace": "чужой"}, [changed.id])
        assert (await archive.verify()).faults == (f"scene point {changed.id}: damaged",)
        server._local.set_payload("scenepipe_scenes", {"namespace": "default", "ordinal": 7}, [changed.id])
        with pytest.raises(ArchiveError, match=scenes[1].id):
            await archive.get([scenes[1].id])
        assert len(await archive.get([scenes[0].id, scenes[2].id])) == 2
        server._local.delete("scenepipe_scenes", [changed.id])
        assert (await archive.verify()).faults == ("encounter op-1: its scene is missing",)

    use(server, body)
