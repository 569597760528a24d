from __future__ import annotations

from scenepipe.evaluation.losses import NONE, OTHER, OWN, Case, cases, foreign, measure, relinked
from scenepipe.evaluation.matrix import matrix_figures
from scenepipe.register import Example, Register, examples
from tests.scenepipe.evaluation.conftest import StubScorer


def test_another_linkage_is_of_the_same_language_and_shares_no_symbol() -> None:
    own = [("ru", ("дом", "окно")), ("en", ("wave",)), ("ru", ("окно", "печь")), ("ru", ("парус",)), ("en", ("sail",))]
    assert list(foreign(own, own)) == [("парус",), ("sail",), ("парус",), ("дом", "окно"), ("wave",)]


def test_the_next_best_where_all_share_a_symbol_and_the_own_where_there_is_no_other() -> None:
    own = [("ru", ("дом", "окно")), ("ru", ("дом", "печь")), ("en", ("wave",))]
    assert list(foreign(own, own)) == [("дом", "печь"), ("дом", "окно"), ("wave",)]


def test_another_linkage_may_come_from_a_larger_pool() -> None:
    pool = [("en", ("sail",)), ("en", ("wave",)), ("ru", ("дом",))]
    assert list(foreign([("en", ("wave",))], pool)) == [("sail",)]
    assert list(foreign([("ru", ("печь",))], pool)) == [("дом",)]


def test_relinked_rows_differ_in_their_linkage_alone(registers: list[Register]) -> None:
    rows = examples(registers[0])
    assert relinked(rows, OWN) == rows
    assert all(row.linkage == () for row in relinked(rows, NONE))
    for row, other in zip(rows, relinked(rows, OTHER), strict=True):
        assert other.linkage != row.linkage
        assert other.model_copy(update={"linkage": row.linkage}) == row


def test_every_case_is_measured_once_in_the_order_of_the_rows(registers: list[Register]) -> None:
    tests: dict[str, list[Example]] = {
        each.name: [r for r in examples(each) if r.split == "test"] for each in registers
    }
    wanted = cases(list(tests))
    assert len(wanted) == 6 + 4 + 6
    ticks: list[tuple[int, int]] = []
    losses = measure(StubScorer(), tests, lambda done, of: ticks.append((done, of)))
    assert ticks[-1] == (16 * 12, 16 * 12)
    assert set(losses) == set(wanted)
    for case, found in losses.items():
        assert [loss.tokens for loss in found] == [len(row.reply.split()) for row in tests[case.register]]
    own, other = (losses[Case("sailor@1", "sailor", linkage)] for linkage in (OWN, OTHER))
    assert all(a.nats < b.nats for a, b in zip(own, other, strict=True))


def test_a_matrix_leaves_out_a_language_that_a_register_has_not(registers: list[Register]) -> None:
    tests = {each.name: [r for r in examples(each) if r.split == "test"] for each in registers}
    tests["baker"] = [row for row in tests["baker"] if row.language == "ru"]
    losses = measure(StubScorer(), tests)
    assert set(matrix_figures(losses, tests, "en")["margin"]) == {"sailor"}
    assert set(matrix_figures(losses, tests, "ru")["margin"]) == {"sailor", "baker"}
