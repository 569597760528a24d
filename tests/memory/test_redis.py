"""The Redis archive: the conformance suite on a server of this test run's own, and what is Redis' alone."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from scenepipe.contracts import Appended, Archive, Encounter, Forgotten, Query
from scenepipe.errors import ArchiveError
from scenepipe.memory import redis_log
from scenepipe.memory.memory import MemoryArchive
from scenepipe.memory.redis import RedisArchive
from scenepipe.memory.redis_entries import entry_of
from scenepipe.memory.tombstones import tombstone
from scenepipe.memory.worker import Batch
from scenepipe.scene import Scene
from scenepipe.testing.archive_suite import NOON, ArchiveFactory, ArchiveSuite, encounter_of, query_of, scene_of

redis = pytest.importorskip("redis", reason="pip install 'scenepipe[redis]'")

Start = Callable[..., Any]
AT = NOON + timedelta(hours=1)
DURABLE = {"appendonly": "yes", "appendfsync": "always"}
_NUMBERS = itertools.count()


@pytest.fixture
def prefix() -> str:
    return f"t{next(_NUMBERS)}"


@pytest.fixture
def archive_factory(redis_url: str, prefix: str) -> ArchiveFactory:
    return lambda name="archive": RedisArchive(url=redis_url, prefix=f"{prefix}-{name}")


class TestRedisArchive(ArchiveSuite):
    @pytest.fixture
    def archive_factory(self, archive_factory: ArchiveFactory) -> ArchiveFactory:
        return archive_factory


def use(archive: Archive, body: Callable[[Any], Awaitable[Any]]) -> Any:
    return ArchiveSuite().use(lambda name: archive, body)


def use_two(make: ArchiveFactory, body: Callable[[Archive, Archive], Awaitable[None]]) -> None:
    """Two archives over one storage, as two processes have them."""

    async def main() -> None:
        one, two = make(), make()
        await one.open()
        await two.open()
        await body(one, two)
        await one.aclose()
        await two.aclose()

    asyncio.run(main())


async def records(archive: Archive) -> list[Scene | Encounter]:
    return [record async for record in archive.export()]


def refusal(archive: Archive) -> str:
    with pytest.raises(ArchiveError) as caught:
        asyncio.run(archive.open())
    return str(caught.value)


# --- Addresses and passwords -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["http://me:geheim@host", "no url at all", "redis://me:ge/heim@host", "redis://me:geheim@host:port",
     "redis://me:geheim@host/0?socket_timeout=never"],
)  # fmt: skip
def test_other_urls_are_refused_without_the_password(url: str) -> None:
    message = refusal(RedisArchive(url=url))
    assert "give redis://host:6379/0" in message
    assert "heim" not in message


@pytest.mark.parametrize("place", ["url", "query", "option"])
def test_a_server_that_is_not_there_is_named_without_the_password(place: str) -> None:
    user, query = "me:geheim" if place == "url" else "me", "?password=geheim" if place == "query" else ""
    password = SecretStr("geheim") if place == "option" else None
    message = refusal(RedisArchive(url=f"redis://{user}@127.0.0.1:1/3{query}", password=password, prefix="mine"))
    assert message.startswith("archive redis://me@127.0.0.1:1/3 (mine): the server cannot be reached")
    assert "geheim" not in message


def test_the_password_option_is_what_the_server_gets(redis_server: Start) -> None:
    server, scene = redis_server(requirepass="richtig"), scene_of("шаг")
    for url in (server.url, server.url.replace("//", "//:falsch@")):
        use(RedisArchive(url=url, password=SecretStr("richtig")), lambda archive: archive.append([scene], []))
        message = refusal(RedisArchive(url=url))
        assert "give 'password'" in message
        assert "falsch" not in message


def test_two_prefixes_are_two_archives(redis_url: str, prefix: str) -> None:
    scene = scene_of("шаг")
    use(RedisArchive(url=redis_url, prefix=f"{prefix}a"), lambda archive: archive.append([scene], []))
    assert use(RedisArchive(url=redis_url, prefix=f"{prefix}b"), lambda archive: archive.get([scene.id])) == ()


@pytest.mark.parametrize("key", ["log", "records"])
def test_another_programs_keys_are_refused(redis_url: str, prefix: str, key: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{{{prefix}}}:{key}", "theirs")
    message = refusal(RedisArchive(url=redis_url, prefix=prefix))
    assert f"{{{prefix}}}:{key} is another program's (a string); give another 'prefix'" in message


def test_another_programs_stream_is_refused(redis_url: str, prefix: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.xadd(f"{{{prefix}}}:log", {"level": "info"})
    assert "another program's (a stream)" in refusal(RedisArchive(url=redis_url, prefix=prefix))


def test_a_newer_form_is_refused(redis_url: str, prefix: str) -> None:
    async def newer(archive: Archive) -> None:
        await archive.append([scene_of("шаг")], [])
        with redis.Redis.from_url(redis_url) as client:
            client.xadd(f"{{{prefix}}}:log", {"form": "2", "what": "dream"})
        for _ in range(2):
            with pytest.raises(ArchiveError, match=r"form 2, this one knows 1\); upgrade scenepipe"):
                await archive.append([scene_of("ход")], [])

    use(RedisArchive(url=redis_url, prefix=prefix), newer)
    assert "upgrade scenepipe" in refusal(RedisArchive(url=redis_url, prefix=prefix))


# --- What is at risk -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (DURABLE, []),
        (DURABLE | {"maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"}, ["maxmemory-policy noeviction"]),
        ({"appendonly": "yes", "appendfsync": "everysec"}, ["set appendfsync always"]),
        ({}, ["set appendonly yes"]),
    ],
)
def test_settings_that_lose_writes_are_named(
    redis_server: Start, caplog: pytest.LogCaptureFixture, options: dict[str, str], expected: list[str]
) -> None:
    async def nothing(archive: Archive) -> None: ...

    use(RedisArchive(url=redis_server(**options).url), nothing)
    assert len(caplog.messages) == len(expected)
    assert all(word in message for word, message in zip(expected, caplog.messages, strict=True))


def test_no_acknowledged_write_is_lost_by_kill_9(redis_server: Start) -> None:
    """Nor doubled; the archive that was open goes on when the server is back."""
    server, chance, acknowledged = redis_server(**DURABLE), random.Random(7), set()

    async def write(archive: Archive, number: int) -> None:
        for n in itertools.count():
            scene = scene_of(f"раунд {number}, текст {n}", ["шаг"])
            try:
                await archive.append([scene], [encounter_of(scene, f"{number}-{n}")])
            except ArchiveError:
                return
            acknowledged.add(f"{number}-{n}")

    async def body(archive: Archive) -> None:
        for number in range(4):
            writing = asyncio.create_task(write(archive, number))
            while f"{number}-2" not in acknowledged:
                await asyncio.sleep(0.005)
            await asyncio.sleep(chance.random() * 0.05)
            server.kill()
            await writing
            server.start()
            stored = [encounter.id for encounter in await archive.encounters()]
            assert len(stored) == len(set(stored))
            assert acknowledged <= set(stored)
        assert (await archive.verify()).faults == ()

    use(RedisArchive(url=server.url), body)


# --- A server that goes away -----------------------------------------------------------------------------------------


def test_a_server_that_is_gone_is_named_and_may_come_back(redis_server: Start) -> None:
    server, scene = redis_server(**DURABLE), scene_of("шаг", ["шаг"])

    async def body(archive: Archive) -> None:
        await archive.append([scene], [encounter_of(scene, "1", chat="a")])
        server.kill()
        name = rf"127\.0\.0\.1:{server.port}/0 \(scenepipe\): the server cannot be reached"
        for call in (archive.append([scene], []), archive.chat("a"), archive.find(query_of(scene))):
            with pytest.raises(ArchiveError, match=name):
                await call
        server.start()
        assert [encounter.id for encounter in await archive.chat("a")] == ["1"]
        assert await archive.append([scene], [encounter_of(scene, "2")]) == Appended(scenes=0, encounters=1)

    use(RedisArchive(url=server.url), body)


def test_a_server_that_hangs_is_waited_for_as_long_as_asked(redis_server: Start) -> None:
    server, scene = redis_server(), scene_of("шаг")

    async def body(archive: Archive) -> None:
        await archive.append([scene], [])
        os.kill(server.process_id, signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(ArchiveError, match="does not answer"):
            await archive.get([scene.id])
        assert 1 <= time.monotonic() - begun < 20
        os.kill(server.process_id, signal.SIGCONT)
        assert await archive.get([scene.id]) == (scene,)

    use(RedisArchive(url=server.url, timeout=1), body)


@pytest.mark.parametrize("refilled", [False, True])
def test_what_was_flushed_is_gone(archive_factory: ArchiveFactory, redis_server: Start, refilled: bool) -> None:
    server, scene, other = redis_server(), scene_of("шаг", ["шаг"]), scene_of("ход", ["ход"])

    async def body(one: Archive, two: Archive) -> None:
        await one.append([scene], [encounter_of(scene, "1", chat="a")])
        with server.client() as client:
            client.flushall()
        if refilled:
            await two.append([other], [encounter_of(other, "2", chat="a")])
        expected = (other,) if refilled else ()
        assert await one.get([scene.id, other.id]) == expected
        assert [e.id for e in await one.chat("a")] == ["2"] * refilled
        assert [hit.scene for hit in await one.find(Query(symbols=("шаг", "ход")))] == list(expected)
        with pytest.raises(ArchiveError, match="not stored"):
            await one.append([], [encounter_of(scene, "3")])
        assert await one.append([scene], [encounter_of(scene, "1")]) == Appended(scenes=1, encounters=1)
        assert (await two.verify()).faults == ()

    use_two(lambda: RedisArchive(url=server.url), body)


def test_an_entry_that_somebody_deleted_is_gone(archive_factory: ArchiveFactory, redis_url: str, prefix: str) -> None:
    scenes = [scene_of(f"текст {n}") for n in range(3)]

    async def body(archive: Archive) -> None:
        await archive.append(scenes, [])
        with redis.Redis.from_url(redis_url) as client:
            client.xdel(f"{{{prefix}-archive}}:log", client.xrange(f"{{{prefix}-archive}}:log")[1][0])
        assert await archive.get([scene.id for scene in scenes]) == (scenes[0], scenes[2])

    use(archive_factory(), body)


@pytest.mark.parametrize("number", ["same", "smaller"])
def test_what_is_left_after_a_loss_counts(
    archive_factory: ArchiveFactory, redis_url: str, prefix: str, number: str
) -> None:
    """The newest entry is lost, as after a failover, and another is written under its number or an earlier one."""
    scenes, key = [scene_of(f"текст {n}") for n in range(3)], f"{{{prefix}-archive}}:log"

    async def body(one: Archive, two: Archive) -> None:
        await one.append(scenes[:1], [])
        await asyncio.sleep(0.01)
        await one.append(scenes[1:2], [])
        assert len(await two.get([scene.id for scene in scenes])) == 2
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            (first, fields), (last, _) = client.xrange(key)
            entry = entry_of(scenes[2])
            client.hset(f"{{{prefix}-archive}}:records", entry.fields["record"], entry.data)
            client.xadd(f"{key}2", fields, first)
            client.xadd(f"{key}2", dict(entry.fields), last if number == "same" else first.replace("-0", "-1"))
            client.rename(f"{key}2", key)
        for archive in (one, two):
            assert [scene.text for scene in await archive.get([s.id for s in scenes])] == ["текст 0", "текст 2"]

    use_two(archive_factory, body)


# --- Many processes --------------------------------------------------------------------------------------------------


def test_every_process_knows_what_the_others_wrote_and_forgot(archive_factory: ArchiveFactory) -> None:
    scenes = [scene_of(f"текст {n}", ["шаг", "дом"], linkage=["шаг", "дом"], vector=[100, n]) for n in range(4)]
    near = query_of(scenes[0], limit=20)

    async def body(one: Archive, two: Archive) -> None:
        for n, scene in enumerate(scenes):
            await (one, two)[n % 2].append([scene], [encounter_of(scene, f"{n}", chat="a")])
        for archive in (one, two):
            assert [e.id for e in await archive.chat("a")] == ["0", "1", "2", "3"]
            assert [each.chain for each in await archive.hypertokens()] == [("шаг", "дом")]
            assert len(await archive.find(near)) == 4
        assert await one.forget([scene.id for scene in scenes[1:]], at=AT) == Forgotten(scenes=3, encounters=3)
        for archive in (two, one):
            assert [hit.scene for hit in await archive.find(near)] == scenes[:1]
            assert tuple(await archive.hypertokens()) == ()
            assert len(await archive.chat("a")) == 1
        assert await records(one) == await records(two)

    use_two(archive_factory, body)


def test_any_history_is_the_same_to_all(archive_factory: ArchiveFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that write in turn, one that opens later and an archive in process: the same records and the same answers."""
    monkeypatch.setattr(redis_log, "_PAGE", 3)
    chance = random.Random(3)
    scenes = [scene_of(f"{n % 12}", ["шаг"], analysers=[f"a@{n % 3}"]) for n in range(36)]

    def some_step() -> Callable[[Archive], Awaitable[object]]:
        at = NOON + timedelta(minutes=chance.randrange(60))
        some = [chance.choice(scenes).with_(created=NOON + timedelta(minutes=chance.randrange(60))) for _ in range(3)]
        log = [encounter_of(scene, f"{chance.randrange(60)}", minutes=chance.randrange(60)) for scene in some]
        kind = chance.random()
        if kind < 0.1:
            return lambda archive: archive.forget([some[0].id], at=at)
        stones = [tombstone(some[0].id, at, "default")] if kind < 0.3 else []
        return lambda archive: archive.append(some, [*log, *stones, *log[:1]])

    async def body(one: Archive, two: Archive) -> None:
        plain = MemoryArchive()
        for _ in range(60):
            step = some_step()
            assert await step(chance.choice((one, two))) == await step(plain)
        everything = await records(plain)
        late = archive_factory()
        await late.open()
        for archive in (one, two, late):
            assert await records(archive) == everything
            assert await archive.get([s.id for s in scenes]) == await plain.get([s.id for s in scenes])
            assert (await archive.verify()).faults == ()
        await late.aclose()
        assert len(everything) > 20

    use_two(archive_factory, body)


def test_who_is_overtaken_again_and_again_says_so(redis_url: str, prefix: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        log = redis_log.RedisLog(client, name="a", prefix=prefix, timeout=0.1)

        def overtaken(replica: Any) -> Any:
            with redis.Redis.from_url(redis_url) as other:
                other.xadd(f"{{{prefix}}}:log", {"any": "thing"})
            return replica.appending([Batch([scene_of("шаг")], [])])

        with pytest.raises(ArchiveError, match=r"others wrote without a break for 0\.1 s"):
            log.change(overtaken)


# --- Forgetting ------------------------------------------------------------------------------------------------------


def test_no_text_stands_in_the_log(archive_factory: ArchiveFactory, redis_url: str, prefix: str) -> None:
    """What was deleted from a stream stays in its dumps."""
    scene = scene_of("тайна", ["тайна"])
    use(archive_factory(), lambda a: a.append([scene], [encounter_of(scene, "secret", chat="secret", user="secret")]))
    with redis.Redis.from_url(redis_url) as client:
        log = str(
            [value.decode() for _, fields in client.xrange(f"{{{prefix}-archive}}:log") for value in fields.values()]
        )
    assert scene.id not in log
    assert "тайна" not in log
    assert "secret" not in log


@pytest.mark.parametrize("by", ["forget", "import"])
def test_what_was_forgotten_is_in_no_file(redis_server: Start, by: str) -> None:
    server = redis_server(**DURABLE, save="3600 1", rdbcompression="no")
    scenes = [scene_of(f"тайна {n}") for n in range(20)]
    log = [encounter_of(scene, f"op-{n}", data={"text": f"ответ {n}."}) for n, scene in enumerate(scenes)]

    async def body(archive: Archive) -> None:
        await archive.append(scenes, log)
        with server.client() as client:
            client.save()
        assert server.files().count("тайна 7".encode()) >= 2
        if by == "forget":
            await archive.forget([scenes[7].id], at=AT)
        else:
            await archive.append([], [tombstone(scenes[7].id, AT, "default")])
        end = time.monotonic() + 10
        while server.old_files() and time.monotonic() < end:  # replaced files go in the background
            time.sleep(0.02)
        left = server.files()
        assert "тайна 7".encode() not in left
        assert "ответ 7.".encode() not in left
        assert left.count("тайна 8".encode()) >= 2

    use(RedisArchive(url=server.url), body)


def test_a_server_that_may_not_be_told_to_write_its_files_is_named(
    redis_server: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server, scene = redis_server(), scene_of("тайна")
    with server.client() as client:
        client.acl_setuser("me", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@all", "-@dangerous"])
    archive = RedisArchive(url=server.url.replace("//", "//me@"), password=SecretStr("pw"))

    async def body(archive: Archive) -> None:
        await archive.append([scene], [])
        assert await archive.forget([scene.id], at=AT) == Forgotten(scenes=1, encounters=0)

    use(archive, body)
    [message] = caplog.messages
    assert "may still be in its files" in message
    assert "run BGREWRITEAOF" in message


# --- Damage ----------------------------------------------------------------------------------------------------------


def test_damaged_records_are_named_and_the_others_read(
    archive_factory: ArchiveFactory, redis_url: str, prefix: str
) -> None:
    """One is changed, one is missing, one is junk. Forgetting the scene takes what cannot be read with it."""
    scenes = [scene_of(f"текст {n}", ["шаг"]) for n in range(4)]
    log = [encounter_of(scene, f"op-{n}", chat="ab"[n % 2]) for n, scene in enumerate(scenes)]
    use(archive_factory(), lambda archive: archive.append(scenes, log))
    key, texts = f"{{{prefix}-archive}}:log", f"{{{prefix}-archive}}:records"
    with redis.Redis.from_url(redis_url) as client:
        entries = client.xrange(key)
        client.hset(texts, entries[1][1][b"record"], entry_of(scenes[1]).data.replace("текст", "Текст"))
        client.hdel(texts, entries[4][1][b"record"])
        junk = client.xadd(key, {"any": b"\xff\x00"}).decode()
    numbers = [number.decode() for number, _ in entries]

    async def body(archive: Archive) -> None:
        found = await archive.verify()
        assert (found.scenes, found.encounters) == (4, 4)
        assert set(found.faults) == {
            *(f"entry {number}: damaged" for number in (numbers[1], numbers[4], junk)),
            f"entry {numbers[5]}: its scene is missing",
        }
        with pytest.raises(ArchiveError, match=numbers[1]):
            await archive.get([scenes[1].id])
        assert len(await archive.get([scenes[n].id for n in (0, 2, 3)])) == 3
        for ask in (archive.chat("a"), archive.encounters(), archive.encounters([scenes[0].id])):
            with pytest.raises(ArchiveError, match=numbers[4]):
                await ask
        assert [e.id for e in await archive.chat("b")] == ["op-1", "op-3"]
        assert {hit.scene.text for hit in await archive.find(query_of(scenes[0]))} == {"текст 0", "текст 2", "текст 3"}
        given = []
        with pytest.raises(ArchiveError, match=r"3 record\(s\) cannot be read"):
            async for record in archive.export():
                given.append(record)
        assert len(given) == 6
        await archive.forget([scenes[1].id, scenes[0].id], at=AT)
        assert (await archive.verify()).faults == (f"entry {junk}: damaged",)

    use(archive_factory(), body)


def test_verify_names_what_a_tombstone_should_have_removed(
    archive_factory: ArchiveFactory, redis_url: str, prefix: str
) -> None:
    scene = scene_of("тайна")

    async def body(archive: Archive) -> None:
        await archive.append([scene], [])
        await archive.forget([scene.id], at=AT)
        with redis.Redis.from_url(redis_url) as client:
            numbers = []
            for record in (scene, encounter_of(scene, "1"), scene):
                entry = entry_of(record)
                client.hset(f"{{{prefix}-archive}}:records", entry.fields["record"], entry.data)
                numbers.append(client.xadd(f"{{{prefix}-archive}}:log", dict(entry.fields)).decode())
        assert set((await archive.verify()).faults) == {
            *(f"entry {number}: it was forgotten" for number in numbers[:2]), f"entry {numbers[2]}: damaged"
        }  # fmt: skip

    use(archive_factory(), body)


def test_a_log_that_contradicts_itself_is_refused(archive_factory: ArchiveFactory, redis_url: str, prefix: str) -> None:
    key = f"{{{prefix}-archive}}:log"

    async def body(archive: Archive) -> None:
        await archive.append([scene_of("шаг")], [])
        with redis.Redis.from_url(redis_url) as client:
            [(number, fields)] = client.xrange(key)
            client.xadd(key, fields | {b"removes": number})
        with pytest.raises(ArchiveError, match="see who else writes there"):
            await archive.encounters()

    use(archive_factory(), body)
