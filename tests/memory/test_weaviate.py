"""The Weaviate archive against a stand-in that speaks its REST and gRPC: the conformance suite, and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from scenepipe.contracts import Archive, Query
from scenepipe.errors import ArchiveError
from scenepipe.memory import weaviate
from scenepipe.memory.point_engine import Search
from scenepipe.memory.points import components, lemma_index
from scenepipe.memory.weaviate import WeaviateArchive
from scenepipe.testing.archive_suite import ENCODER, ArchiveFactory, ArchiveSuite, encounter_of, query_of, scene_of

pytest.importorskip("weaviate", reason="pip install 'scenepipe[weaviate]'")
Start = Callable[..., Any]


class TestWeaviateArchive(ArchiveSuite):
    @pytest.fixture
    def archive_factory(self, weaviate_server: Start) -> ArchiveFactory:
        server = weaviate_server()
        return lambda name="archive": WeaviateArchive(
            url=server.url, grpc_port=server.grpc_port, prefix=name.capitalize()
        )


def use(server: Any, body: Any, **options: Any) -> Any:
    return ArchiveSuite().use(lambda name: WeaviateArchive(url=server.url, grpc_port=server.grpc_port, **options), body)


def refusal(server: Any = None, **options: Any) -> str:
    place = {"url": server.url, "grpc_port": server.grpc_port} if server else {}
    with pytest.raises(ArchiveError) as caught:
        asyncio.run(WeaviateArchive(**place, **options).open())
    return str(caught.value)


async def nothing(archive: Archive) -> None: ...


# --- Addresses and collections ---------------------------------------------------------------------------------------


def test_other_addresses_are_refused() -> None:
    assert "give http://host:8080" in refusal(url="/var/lib/weaviate")
    assert "http://127.0.0.1:1 (Scenepipe): the server cannot be reached" in refusal(url="http://127.0.0.1:1")


def test_an_old_server_is_refused(weaviate_server: Start) -> None:
    assert "version 1.30.4, 1.31 or newer is needed" in refusal(weaviate_server(version="1.30.4"))


def test_the_package_index_is_not_asked(weaviate_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own start-up checks would ask it for the newest version."""
    from weaviate.connect.v4 import ConnectionSync

    monkeypatch.setattr(ConnectionSync, "_check_package_version", lambda *_: pytest.fail("asked"))
    use(weaviate_server(), nothing)


def test_the_key_is_sent_and_never_shown(weaviate_server: Start) -> None:
    server = weaviate_server(api_key="richtig")
    assert "give 'api_key'" in refusal(server)
    assert "falsch" not in refusal(server, api_key=SecretStr("falsch"))

    async def body(archive: Archive) -> int:
        return (await archive.append([scene_of("шаг")], [])).scenes

    assert use(server, body, api_key=SecretStr("richtig")) == 1


@pytest.mark.parametrize(("mark", "message"), [("notes", "another program"), ("scenepipe archive 3", "upgrade")])
def test_other_collections_are_refused(weaviate_server: Start, mark: str, message: str) -> None:
    server = weaviate_server()
    server._put("MineScenes", {**weaviate._schema("MineScenes"), "description": mark})
    assert message in refusal(server, prefix="Mine")


def test_the_timeout_is_the_clients(weaviate_server: Start) -> None:
    server = weaviate_server()
    client = WeaviateArchive(url=server.url, grpc_port=server.grpc_port, timeout=7).client()
    client.connect()
    assert client._connection.timeout_config.query == 7
    client.close()


def test_a_new_vector_is_seen_by_another_process(weaviate_server: Start) -> None:
    server, scene = weaviate_server(), scene_of("шаг", vector=[100, 0])
    near = Query(vector=b"\x64\x00", encoder=ENCODER)

    async def body(first: Archive) -> None:
        second = WeaviateArchive(url=server.url, grpc_port=server.grpc_port)
        await second.open()
        assert tuple(await second.find(near)) == ()
        await first.append([scene], [])
        assert [hit.scene for hit in await second.find(near)] == [scene]
        await second.aclose()

    use(server, body)


# --- Writing and reading ---------------------------------------------------------------------------------------------


def test_scenes_are_written_before_encounters(weaviate_server: Start) -> None:
    server, scenes = weaviate_server(), [scene_of(f"текст {n}") for n in range(20)]

    async def body(archive: Archive) -> None:
        await archive.append(scenes, [encounter_of(s, f"op-{n}") for n, s in enumerate(scenes)])

    use(server, body)
    sent = [body["class"] for method, path, body in server.requests if (method, path[:11]) == ("POST", "/v1/objects")]
    assert sent == ["ScenepipeScenes"] * 20 + ["ScenepipeEncounters"] * 20


def test_a_record_written_twice_at_once_keeps_its_first_form(
    weaviate_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, scene = weaviate_server(), scene_of("шаг", ["шаг"])
    later = scene.with_(created=scene.created.replace(year=2030))

    async def body(archive: Archive) -> None:
        other = WeaviateArchive(url=server.url, grpc_port=server.grpc_port)
        await other.open()
        monkeypatch.setattr(other, "_analyses", lambda *_: {})
        await archive.append([scene], [])
        await other.append([later], [])
        await other.aclose()
        assert tuple(await archive.get([scene.id])) == (scene,)

    use(server, body)


def test_long_lists_are_paged_by_id(weaviate_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weaviate, "_PAGE", 7)
    server, scene = weaviate_server(), scene_of("шаг")

    async def body(archive: Archive) -> list[str]:
        await archive.append([scene], [encounter_of(scene, f"{n:02}") for n in range(21)])
        return [encounter.id for encounter in await archive.encounters([scene.id])]

    assert use(server, body) == [f"{n:02}" for n in range(21)]
    searches = [request for _, name, request in server.requests if name == "Search" and request.limit == 7]
    assert len(searches) >= 4
    assert all(request.offset == 0 for request in searches)


def test_a_crash_between_scene_and_encounter_is_replayed(weaviate_server: Start) -> None:
    server, scene = weaviate_server(), scene_of("шаг", ["шаг"])
    answer = server.answer

    def fail_encounters(method: str, path: str, key: str | None, body: bytes) -> Any:
        return (500, None) if b"ScenepipeEncounters" in body else answer(method, path, key, body)

    async def body(archive: Archive) -> None:
        server.answer = fail_encounters
        with pytest.raises(ArchiveError, match="500"):
            await archive.append([scene], [encounter_of(scene, "1")])
        assert (await archive.verify()).model_dump() == {"scenes": 1, "encounters": 0, "faults": ()}
        server.answer = answer
        assert (await archive.append([scene], [encounter_of(scene, "1")])).model_dump() == {
            "scenes": 0,
            "encounters": 1,
        }
        assert [hit.scene for hit in await archive.find(query_of(scene))] == [scene]

    use(server, body)


def test_a_server_that_goes_away_is_named(weaviate_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client tries again for 63 s in all, which nothing sets; here it does not wait between two tries."""
    monkeypatch.setattr("weaviate.retry.time", SimpleNamespace(sleep=lambda seconds: None))
    server = weaviate_server()

    async def body(archive: Archive) -> None:
        server.refuse = (503, "shutting down")
        for call in (archive.append([scene_of("шаг")], []), archive.encounters()):
            with pytest.raises(ArchiveError, match=r"127\.0\.0\.1"):
                await call
        server.refuse = None
        assert (await archive.append([scene_of("шаг")], [])).scenes == 1

    use(server, body)


def test_a_search_that_is_widened_asks_for_no_more_than_the_server_gives(weaviate_server: Start) -> None:
    server, scene = weaviate_server(), scene_of("шаг", ["шаг"], vector=[100, 5])
    vector = components(scene.field.vector if scene.field else None)
    kinds: tuple[dict[str, Any], ...] = ({}, {"terms": {lemma_index("default", "шаг"): 1.0}}, {"vector": vector})

    async def body(archive: Archive) -> None:
        await archive.append([scene], [])
        assert isinstance(archive, WeaviateArchive)
        searches = [Search({}, 12_800, **kind) for kind in kinds]
        found = await archive._work(archive._opened().search, searches)
        assert [[row["scene"] for row, _ in rows] for rows in found] == [[scene.id]] * 3

    use(server, body)


def test_a_changed_record_is_noticed(weaviate_server: Start) -> None:
    server, scenes = weaviate_server(), [scene_of(f"текст {n}", ["шаг"]) for n in range(3)]

    async def body(archive: Archive) -> None:
        await archive.append(scenes, [])
        name, changed = next((i, o) for i, o in server.objects["ScenepipeScenes"].items() if scenes[1].text in str(o))
        changed["properties"]["record"] = changed["properties"]["record"].replace("текст", "тексс")
        assert (await archive.verify()).faults == (f"scene point {name}: damaged",)
        with pytest.raises(ArchiveError, match=scenes[1].id):
            await archive.get([scenes[1].id])

    use(server, body)
