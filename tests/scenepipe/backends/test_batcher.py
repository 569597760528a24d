"""The generation loop on tiny random models: rows that share a batch say what each says alone, whenever they join."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch")
tokenizers = pytest.importorskip("tokenizers")

from scenepipe.backends import batcher  # noqa: E402
from scenepipe.backends.bank import RegisterBank  # noqa: E402
from scenepipe.backends.batcher import Batcher  # noqa: E402
from scenepipe.backends.passes import Passes  # noqa: E402
from scenepipe.backends.row_text import RowText  # noqa: E402
from scenepipe.backends.rows import Outlet, Row  # noqa: E402
from scenepipe.contracts import Chunk  # noqa: E402
from scenepipe.errors import BackendError  # noqa: E402
from scenepipe.models.adapter import Adapter  # noqa: E402
from scenepipe.sampling import Sampling  # noqa: E402
from scenepipe.testing.backend_requests import tokens_of  # noqa: E402

GREEDY = Sampling(temperature=0.0)
WORDS = tokenizers.Tokenizer(tokenizers.models.WordLevel({f"w{n}": n for n in range(160)}, unk_token="w0"))
MIXTURES = ((0.6, 0.4, 0.0), (0.0, 0.0, 0.0), (0.1, 0.2, 0.7), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
LENGTHS = (5, 17, 3, 26, 11)


class Spy(Passes):
    """Passes that remember how many rows each step had, and can be told to fail."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.steps: list[int] = []
        self.reads: list[int] = []
        self.failing: Exception | None = None
        self.slow_s = 0.0

    def step(self, rows: Sequence[Any]) -> Any:
        self.steps.append(len(rows))
        time.sleep(self.slow_s)
        if self.failing is not None:
            failing, self.failing = self.failing, None
            raise failing
        return super().step(rows)

    def read(self, rows: Sequence[Any], first: int, limit: int) -> Any:
        self.reads.append(len(rows))
        return super().read(rows, first, limit)


class Rig:
    """A batcher over a tiny model, and the same model alone."""

    def __init__(self, model: Any, registers: dict[str, Adapter], parallel: int, max_batch_tokens: int) -> None:
        self.model = model
        self.bank = RegisterBank(model, registers, dtype=torch.float32)
        self.passes = Spy(model, self.bank, parallel, model.config.get_text_config().max_position_embeddings)
        self.batcher = Batcher(self.passes, parallel=parallel, max_batch_tokens=max_batch_tokens, threads=1)

    def alone(self, row: Row) -> list[int]:
        """The greedy reply by Transformers' own generate."""
        prompt = torch.tensor([list(row.prompt)])
        with torch.inference_mode(), self.bank.mixing(torch.tensor([list(row.weights)])):
            told = self.model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                max_new_tokens=row.max_tokens,
                eos_token_id=None,
            )
        return told[0, prompt.shape[1] :].tolist()


@pytest.fixture
def rig_of() -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(tiny: Any, registers: dict[str, Adapter], *, parallel: int = 8, max_batch_tokens: int = 512) -> Rig:
        made.append(Rig(tiny.copy(), registers, parallel, max_batch_tokens))
        return made[-1]

    yield make
    for rig in made:
        rig.batcher.close()


def row_of(number: int, *, tokens: int = 12, sampling: Sampling = GREEDY, seed: int = 0, prompt: int = 0) -> Row:
    length = prompt or LENGTHS[number]
    ids = torch.randint(3, 150, (length,), generator=torch.Generator().manual_seed(number)).tolist()
    return Row(
        prompt=ids,
        weights=MIXTURES[number],
        sampling=sampling,
        random=torch.Generator().manual_seed(seed),
        max_tokens=tokens,
        ends=frozenset(),
        text=RowText(WORDS),
        outlet=Outlet(asyncio.get_running_loop(), asyncio.Queue()),
    )


def once(function: Callable[[], Any]) -> Generator[None, None, Any]:
    """A job of one piece."""
    yield from ()
    return function()


async def finish(row: Row) -> list[Chunk]:
    chunks: list[Chunk] = []
    while not chunks or chunks[-1].finish_reason is None:
        event = await asyncio.wait_for(row.outlet.queue.get(), 60)
        if isinstance(event, Exception):
            raise event
        chunks.append(event)
    return chunks


async def together(rig: Rig, rows: Sequence[Row]) -> list[list[int]]:
    for row in rows:
        rig.batcher.submit(row)
    await asyncio.gather(*(finish(row) for row in rows))
    return [row.reply for row in rows]


# --- what a row says --------------------------------------------------------------------------------------------------


def test_rows_of_different_lengths_and_mixtures_say_what_each_says_alone(
    tiny: Any, registers: dict[str, Adapter], rig_of: Callable[..., Rig]
) -> None:
    async def scenario() -> None:
        rig = rig_of(tiny, registers)
        rows = [row_of(number) for number in range(5)]
        assert await together(rig, rows) == [rig.alone(row) for row in rows]
        assert max(rig.passes.steps) == 5, "they ran in one batch"
        assert len({tuple(row.reply) for row in rows}) > 2

    asyncio.run(scenario())


def test_rows_that_join_later_and_leave_say_what_each_says_alone(
    tiny: Any, registers: dict[str, Adapter], rig_of: Callable[..., Rig]
) -> None:
    async def scenario() -> None:
        rig = rig_of(tiny, registers, parallel=3)
        rows = [row_of(number, tokens=6 + 4 * (number % 3)) for number in range(5)]
        tasks = []
        for row in rows:
            rig.batcher.submit(row)
            tasks.append(asyncio.create_task(finish(row)))
            while len(row.reply) < 2 and not row.finished and len(tasks) < 3:
                await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        assert [row.reply for row in rows] == [rig.alone(row) for row in rows]
        assert max(rig.passes.steps) == 3
        assert min(rig.passes.steps) < 3

    asyncio.run(scenario())


def test_a_long_prompt_is_read_in_passes_between_which_others_speak(
    tiny: Any, registers: dict[str, Adapter], rig_of: Callable[..., Rig]
) -> None:
    async def scenario() -> None:
        rig = rig_of(tiny, registers, max_batch_tokens=16)
        rows = [row_of(0, tokens=30), row_of(2, prompt=70, tokens=8), row_of(3, tokens=8)]
        rig.batcher.submit(rows[0])
        while len(rows[0].reply) < 2:
            await asyncio.sleep(0.001)
        before = len(rows[0].reply)
        for row in rows[1:]:
            rig.batcher.submit(row)
        while not rows[1].reply:
            await asyncio.sleep(0.001)
        assert len(rows[0].reply) >= before + 3, "the first row spoke while 70 tokens were read"
        await asyncio.gather(*map(finish, rows))
        assert [row.reply for row in rows] == [rig.alone(row) for row in rows]
        assert len(rig.passes.reads) == 1 + 5 + 2, "5 passes for 70 tokens, 2 for 26"

    asyncio.run(scenario())


def test_a_reply_drawn_by_chance_does_not_depend_on_its_neighbours(
    tiny_of: Any, make_adapter: Any, rig_of: Callable[..., Rig]
) -> None:
    async def scenario() -> None:
        tiny = tiny_of("llama")
        registers = {name: make_adapter(tiny, rank=2, seed=seed) for seed, name in enumerate(("a", "b", "c"))}
        rig = rig_of(tiny, registers)
        settings = [Sampling(temperature=1.5, top_k=0), Sampling(temperature=2.0, top_k=7), Sampling(top_k=90), GREEDY]
        rows = lambda: [row_of(n, sampling=each, seed=n, tokens=20) for n, each in enumerate(settings)]  # noqa: E731
        alone = [(await together(rig, [row]))[0] for row in rows()]
        assert await together(rig, rows()) == alone
        other = [(await together(rig, [row_of(0, sampling=settings[0], seed=99, tokens=20)]))[0]]
        assert other != alone[:1], "another seed says something else"

    asyncio.run(scenario())


def test_the_end_of_text_ends_a_reply_and_is_not_said(
    tiny_of: Any, make_adapter: Any, rig_of: Callable[..., Rig]
) -> None:
    async def scenario() -> None:
        tiny = tiny_of("qwen2")
        rig = rig_of(tiny, {name: make_adapter(tiny, rank=2, seed=1) for name in "abc"})
        free = row_of(1)
        await together(rig, [free])
        ended = row_of(1)
        ended.ends = frozenset({free.reply[4]})
        at = free.reply.index(free.reply[4])
        rig.batcher.submit(ended)
        chunks = await finish(ended)
        assert ended.reply == free.reply[: at + 1]
        assert chunks[-1].finish_reason == "stop"
        assert "".join(chunk.text for chunk in chunks).split() == [f"w{n}" for n in free.reply[:at]]
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.prompt_tokens == LENGTHS[1]
        assert 0 < chunks[-1].usage.seconds < 60

    asyncio.run(scenario())


def test_probabilities_are_told_to_those_who_ask_and_are_the_models_own(
    tiny: Any, registers: dict[str, Adapter], rig_of: Callable[..., Rig]
) -> None:
    """Whatever the settings, a penalty or a grammar make of them, and whoever shares the batch."""

    async def scenario() -> None:
        rig = rig_of(tiny, registers)
        penalised = Sampling(temperature=0.0, frequency_penalty=2.0, logit_bias={5: 3.0})
        rows = [row_of(0, sampling=penalised), row_of(1), row_of(2, sampling=Sampling(temperature=1.2, top_k=0))]
        rows[0].logprobs, rows[2].logprobs = 3, 0
        for row in rows:
            rig.batcher.submit(row)
        told = [tokens_of(chunks) for chunks in await asyncio.gather(*map(finish, rows))]
        assert told[1] == []
        assert {len(token.top) for token in told[0]} == {3}
        assert {len(token.top) for token in told[2]} == {0}
        for number in (0, 2):
            row = rows[number]
            score = rig.passes.score(row.prompt, row.reply, row.weights, 64)
            expected = rig.batcher.call(score).result(60)
            assert [token.logprob for token in told[number]] == pytest.approx(expected, abs=1e-3)
            assert "".join(token.token for token in told[number]).split() == [f"w{n}" for n in row.reply]
        for token in told[0]:
            values = [each.logprob for each in token.top]
            assert values == sorted(values, reverse=True)

    asyncio.run(scenario())


# --- time and trouble -------------------------------------------------------------------------------------------------


@pytest.fixture
def rig(tiny_of: Any, make_adapter: Any, rig_of: Callable[..., Rig]) -> Rig:
    tiny = tiny_of("llama")
    return rig_of(tiny, {name: make_adapter(tiny, rank=2, seed=1) for name in "abc"}, parallel=4)


def test_an_abandoned_row_costs_nothing_after_the_step_it_is_in(rig: Rig) -> None:
    async def scenario() -> None:
        stays, goes = row_of(0, tokens=60), row_of(1, tokens=60)
        for row in (stays, goes):
            rig.batcher.submit(row)
        while len(goes.reply) < 3:
            await asyncio.sleep(0.001)
        goes.dropped = True
        said, steps = len(goes.reply), len(rig.passes.steps)
        await finish(stays)
        assert len(goes.reply) <= said + 1
        assert set(rig.passes.steps[steps + 1 :]) == {1}
        assert stays.reply == rig.alone(stays)

    asyncio.run(scenario())


def test_a_row_abandoned_in_the_queue_is_never_read(rig: Rig) -> None:
    async def scenario() -> None:
        running = [row_of(n % 5, tokens=20) for n in range(4)]
        for row in running:
            rig.batcher.submit(row)
        while not all(row.reply for row in running):
            await asyncio.sleep(0.001)
        waiting, last = row_of(3), row_of(2)
        for row in (waiting, last):
            rig.batcher.submit(row)
        waiting.dropped = True
        await asyncio.gather(*map(finish, [*running, last]))
        assert not waiting.reply
        assert waiting.cached == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out of memory.*lower backend.par"),
        (RuntimeError("mat1 and mat2 shapes"), "failed with 2 rows in flight: RuntimeError: mat1"),
    ],
)
def test_a_failed_pass_fails_its_rows_by_name_and_the_loop_goes_on(rig: Rig, error: Exception, words: str) -> None:
    async def scenario() -> None:
        rows = [row_of(0, tokens=60), row_of(1, tokens=60)]
        for row in rows:
            rig.batcher.submit(row)
        while not all(row.reply for row in rows):
            await asyncio.sleep(0.001)
        rig.passes.failing = error
        for row in rows:
            with pytest.raises(BackendError, match=words):
                await finish(row)
        again = row_of(0)
        assert (await together(rig, [again]))[0] == rig.alone(again)

    asyncio.run(scenario())


def test_a_failed_draw_fails_its_rows_by_name_and_the_loop_goes_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        row = row_of(0)
        with monkeypatch.context() as patch:
            patch.setattr(batcher, "draw", lambda logits, rows: 1 // 0)
            rig.batcher.submit(row)
            with pytest.raises(BackendError, match="failed with 1 tokens to draw: ZeroDivisionError"):
                await finish(row)
        again = row_of(0)
        assert (await together(rig, [again]))[0] == rig.alone(again)

    asyncio.run(scenario())


def test_a_row_whose_grammar_fails_leaves_its_neighbours_alone(rig: Rig) -> None:
    class Failing:
        finished = False

        def forbidden(self) -> Any:
            raise BackendError("the grammar failed")

    async def scenario() -> None:
        rows = [row_of(0), row_of(1)]
        rows[1].grammar = Failing()  # type: ignore[assignment]
        for row in rows:
            rig.batcher.submit(row)
        with pytest.raises(BackendError, match="the grammar failed"):
            await finish(rows[1])
        await finish(rows[0])
        assert rows[0].reply == rig.alone(rows[0])

    asyncio.run(scenario())


def test_nobody_waits_for_a_loop_that_has_ended(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        row = row_of(0, tokens=90)
        rig.batcher.submit(row)
        while not row.reply:
            await asyncio.sleep(0.001)
        monkeypatch.setattr(rig.batcher, "_leave", lambda: 1 // 0)
        with pytest.raises(BackendError, match="the generation loop, which has ended; open the backend again: ZeroDiv"):
            await finish(row)
        with pytest.raises(BackendError, match="closed"):
            rig.batcher.submit(row_of(1))

    asyncio.run(scenario())


def test_closing_fails_what_runs_and_what_waits(rig: Rig) -> None:
    async def scenario() -> None:
        rows = [row_of(n % 5, tokens=90, prompt=9) for n in range(6)]
        rig.passes.slow_s = 0.1
        for row in rows:
            rig.batcher.submit(row)
        await asyncio.sleep(0.01)
        await asyncio.to_thread(rig.batcher.close)
        for row in rows:
            with pytest.raises(BackendError, match="closed"):
                await finish(row)
        with pytest.raises(BackendError, match="closed"):
            rig.batcher.submit(row_of(0))
        with pytest.raises(BackendError, match="closed"):
            rig.batcher.call(once(lambda: 1))
        rig.batcher.close()

    asyncio.run(scenario())


def test_nobody_waits_for_a_closed_event_loop(rig: Rig) -> None:
    async def leave() -> Row:
        row = row_of(0, tokens=60)
        rig.batcher.submit(row)
        while not row.reply:
            await asyncio.sleep(0.001)
        return row

    left = asyncio.run(leave())

    async def scenario() -> None:
        again = row_of(1)
        assert (await together(rig, [again]))[0] == rig.alone(again)

    asyncio.run(scenario())
    assert len(left.reply) < 60


def test_calls_run_between_steps_and_bring_their_errors_back(rig: Rig) -> None:
    assert rig.batcher.call(once(torch.is_inference_mode_enabled)).result(10)
    with pytest.raises(BackendError, match="a proof: ZeroDivisionError"):
        rig.batcher.call(once(lambda: 1 // 0)).result(10)


def test_a_long_score_lets_the_others_speak_between_its_passes(rig: Rig) -> None:
    seen: list[int] = []

    def job(row: Row) -> Generator[None, None, None]:
        for _ in range(5):
            seen.append(len(row.reply))
            yield

    async def scenario() -> None:
        row = row_of(0, tokens=60)
        rig.batcher.submit(row)
        while not row.reply:
            await asyncio.sleep(0.001)
        await asyncio.wrap_future(rig.batcher.call(job(row)))
        row.dropped = True

    asyncio.run(scenario())
    assert [after - before for before, after in itertools.pairwise(seen)] == [1, 1, 1, 1]


def test_a_score_that_nobody_waits_for_goes_no_further(rig: Rig) -> None:
    begun, go_on, passes = threading.Event(), threading.Event(), []

    def job() -> Generator[None, None, None]:
        while True:
            passes.append(1)
            begun.set()
            go_on.wait(10)
            yield

    future = rig.batcher.call(job())
    assert begun.wait(10)
    assert future.cancel()
    go_on.set()
    assert rig.batcher.call(once(lambda: 7)).result(10) == 7
    assert passes == [1]


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reply", "limit"), [(1, 64), (40, 64), (100, 64), (40, 5), (1, 3), (0, 64)])
def test_scores_are_the_log_probabilities_of_one_plain_pass(
    tiny: Any,
    registers: dict[str, Adapter],
    rig_of: Callable[..., Rig],
    reply: int,
    limit: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scenepipe.backends.passes._SCORED_AT_ONCE", 32)
    rig = rig_of(tiny, registers)
    prompt = torch.randint(3, 150, (8,), generator=torch.Generator().manual_seed(1)).tolist()
    said = torch.randint(3, 150, (reply,), generator=torch.Generator().manual_seed(2)).tolist()
    told = rig.batcher.call(rig.passes.score(prompt, said, MIXTURES[2], limit)).result(60)
    with torch.inference_mode(), rig.bank.mixing(torch.tensor([MIXTURES[2]])):
        logits = rig.model(input_ids=torch.tensor([prompt + said])).logits[0, len(prompt) - 1 : -1]
    expected = logits.log_softmax(-1).gather(1, torch.tensor(said).unsqueeze(1))[:, 0]
    assert told == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_batch_that_drifts_from_rows_alone_is_noticed(tiny: Any, registers: dict[str, Adapter], rig_of: Any) -> None:
    rig = rig_of(tiny, registers)
    drift = lambda: rig.batcher.call(once(lambda: rig.passes.drift([3, 4, 5, 6], list(range(20, 40))))).result(60)  # noqa: E731
    assert drift() < 1e-4
    real = Passes.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spy, "step", lambda self, rows: real(self, rows).flip(0))
        assert drift() > 0.01
