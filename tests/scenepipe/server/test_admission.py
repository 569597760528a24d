"""The queue: bounds, turns between chats, and that every place is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scenepipe.server.admission import Admission
from scenepipe.server.problem import ApiError
from scenepipe.testing.fake_backend import FakeBackend

CHAT = "/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "Who knocks?"}]}


def admission(places: int = 1, **options: Any) -> Admission:
    return Admission(places, **({"waiting": 100, "wait_s": 5.0, "per_key": 100} | options))


async def hold(queue: Admission, chat: str, order: list[str], key: str = "k") -> None:
    async with queue.place(key, chat):
        order.append(chat)
        await asyncio.sleep(0)


def test_chats_take_turns() -> None:
    async def run() -> list[str]:
        queue, order = admission(), list[str]()
        async with queue.place("k", "first"):
            loud = [asyncio.create_task(hold(queue, "loud", order)) for _ in range(6)]
            await asyncio.sleep(0)
            polite = [asyncio.create_task(hold(queue, chat, order)) for chat in ("a", "b", "a")]
            await asyncio.sleep(0)
        await asyncio.gather(*loud, *polite)
        return order

    assert asyncio.run(run()) == ["loud", "a", "b", "loud", "a", "loud", "loud", "loud", "loud"]


def test_no_more_run_than_there_are_places() -> None:
    async def run() -> int:
        queue, most = admission(3), 0

        async def one(number: int) -> None:
            nonlocal most
            async with queue.place("k", str(number)):
                most = max(most, queue.running)
                await asyncio.sleep(0.001)

        await asyncio.gather(*(one(number) for number in range(20)))
        assert (queue.running, queue.waiting) == (0, 0)
        return most

    assert asyncio.run(run()) == 3


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"waiting": 0}, 503, "queue_full"),
        ({"waiting": 5, "wait_s": 0.01}, 503, "queue_timeout"),
        ({"per_key": 1}, 429, "too_many_requests"),
    ],
)
def test_what_is_too_much_is_refused_with_a_time_to_come_back(options: dict[str, Any], status: int, code: str) -> None:
    reasons: list[str] = []

    async def run() -> ApiError:
        queue = admission(rejected=reasons.append, **options)
        async with queue.place("k", "a"):
            with pytest.raises(ApiError) as caught:
                async with queue.place("k", "b"):
                    pass
        assert (queue.running, queue.waiting) == (0, 0)
        async with queue.place("k", "c"):
            pass
        return caught.value

    error = asyncio.run(run())
    assert (error.status, error.code) == (status, code)
    assert int(error.response().headers["retry-after"]) >= 1
    assert len(reasons) == 1


def test_another_key_is_not_refused() -> None:
    async def run() -> None:
        queue = admission(4, per_key=1)
        async with queue.place("k", "a"), queue.place("other", "a"):
            assert queue.running == 2

    asyncio.run(run())


def test_whoever_leaves_the_queue_takes_nothing_with_him() -> None:
    async def run() -> None:
        queue, order = admission(), list[str]()
        async with queue.place("k", "first"):
            tasks = [asyncio.create_task(hold(queue, name, order)) for name in ("a", "b", "c")]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.sleep(0)
            assert queue.waiting == 2
        tasks[1].cancel()  # in the moment in which it was given its place
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == ["c"]
        assert (queue.running, queue.waiting) == (0, 0)

    asyncio.run(run())


def test_a_full_server_answers_503_and_the_others_are_served(serving: Callable[..., Any]) -> None:
    started = serving(backend=FakeBackend(delay_s=0.01), in_flight=1, waiting=3)
    http = started.client()
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: http.post(CHAT, json=BODY), range(12)))
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 503}
    assert codes.count(200) >= 4
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json()["error"]["code"] == "queue_full"
            assert int(answer.headers["retry-after"]) >= 1
            assert "x-should-retry" not in answer.headers
    assert http.post(CHAT, json=BODY).status_code == 200
    figures = http.get("/metrics").text
    assert f'scenepipe_admission_rejections_total{{reason="queue_full"}} {codes.count(503)}.0' in figures
    assert "scenepipe_requests_running 0.0" in figures


def test_openai_clients_come_back_after_a_503(serving: Callable[..., Any]) -> None:
    started = serving(backend=FakeBackend(delay_s=0.005), in_flight=1, waiting=2)
    client = started.openai(max_retries=8)
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda _: client.chat.completions.create(model="toy", **BODY), range(6)))
    assert all(each.choices[0].message.content for each in found)


def test_one_key_cannot_take_every_place(serving: Callable[..., Any]) -> None:
    started = serving(backend=FakeBackend(delay_s=0.05), per_key=2)
    http = started.client()
    with ThreadPoolExecutor(6) as threads:
        codes = list(threads.map(lambda _: http.post(CHAT, json=BODY).status_code, range(6)))
    assert 429 in codes
    assert 200 in codes


def test_one_request_of_many_prompts_asks_no_more_of_the_engine_than_its_choices(serving: Callable[..., Any]) -> None:
    class Counting(FakeBackend):
        inside = most = 0

        async def generate(self, request: Any) -> Any:
            self.inside += 1
            self.most = max(self.most, self.inside)
            async for chunk in super().generate(request):
                yield chunk
            self.inside -= 1

    backend = Counting(delay_s=0.001)
    http = serving(backend=backend, most_choices=3).client()
    found = http.post("/v1/completions", json={"prompt": ["A door", "A hand"] * 5, "max_tokens": 2}).json()
    assert len(found["choices"]) == 10
    assert backend.most == 3


def test_whoever_still_waits_when_the_server_stops_is_turned_away_and_never_begun() -> None:
    async def run() -> tuple[list[str], list[str], Any]:
        reasons: list[str] = []
        queue, order = admission(rejected=reasons.append), list[str]()
        async with queue.place("k", "first"):
            tasks = [asyncio.create_task(hold(queue, name, order)) for name in ("a", "a", "b")]
            await asyncio.sleep(0)
            queue.turn_away()
            tasks[2].cancel()  # in the moment in which it was turned away
            idle = asyncio.create_task(queue.idle())
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert not idle.done()
        await asyncio.wait_for(idle, 1)
        assert (queue.running, queue.waiting) == (0, 0)
        return order, reasons, found

    order, reasons, found = asyncio.run(run())
    assert order == []
    assert reasons == ["draining"] * 3
    assert [getattr(each, "code", None) for each in found] == ["draining", "draining", None]
