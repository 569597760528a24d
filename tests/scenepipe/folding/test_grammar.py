"""Hypertokens of an archive's chains: exact counts, rules that save, the same whatever the order of writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from scenepipe.folding import chain_counts
from scenepipe.folding.chain_counts import LONGEST, SHORTEST, ChainCounts
from scenepipe.folding.grammar import Chain, Grammar, chains_of
from scenepipe.folding.recent import Recent
from scenepipe.scene import Linkage, new_scene

Chains = tuple[Chain, ...]
SYMBOLS = st.sampled_from(["а", "б", "в", "аб", "не:а", "неа"])
CHAINS: st.SearchStrategy[Chains] = st.lists(st.lists(SYMBOLS, max_size=12).map(tuple), max_size=2).map(tuple)
IDS = st.sampled_from([f"сцена {n}" for n in range(6)])


def counted(scenes: dict[str, Chains]) -> Counter[Chain]:
    """Scenes by chain, by hand."""
    found: Counter[Chain] = Counter()
    for chains in scenes.values():
        found.update(
            {
                chain[at : at + length]
                for chain in chains
                for length in range(SHORTEST, LONGEST + 1)
                for at in range(len(chain) - length + 1)
            }
        )
    return found


def maximal(counts: Counter[Chain]) -> dict[Chain, int]:
    """Chains that save, without those that a longer one is as common as."""
    covered = {part for chain, count in counts.items() for part in (chain[1:], chain[:-1]) if counts[part] == count}
    return {c: n for c, n in counts.items() if c not in covered and n > 1 and (n - 1) * (len(c) - 1) > 1}


def grammar_of(scenes: Mapping[str, Chains]) -> Grammar:
    grammar = Grammar()
    for name, chains in scenes.items():
        grammar.put(name, chains)
    return grammar


def chains_in(grammar: Grammar) -> list[Chain]:
    return [token.chain for token in grammar.hypertokens()]


@given(st.dictionaries(IDS, CHAINS))
@settings(max_examples=200)
def test_rules_are_the_maximal_chains_that_save(scenes: dict[str, Chains]) -> None:
    expected = maximal(counted(scenes))
    found = chains_in(grammar_of(scenes))
    short = {chain for chain in expected if len(chain) < LONGEST}
    assert {chain for chain in found if len(chain) < LONGEST} == short
    assert set(found) <= set(expected)
    saved = [(1 - expected[c]) * (len(c) - 1) for c in found]
    assert [(s, c) for s, c in zip(saved, found, strict=True)] == sorted(zip(saved, found, strict=True))


@given(st.dictionaries(IDS, CHAINS), st.randoms(use_true_random=False))
def test_the_order_of_writing_changes_nothing(scenes: dict[str, Chains], order: object) -> None:
    names = list(scenes)
    order.shuffle(names)  # type: ignore[attr-defined]
    assert grammar_of({name: scenes[name] for name in names}).hypertokens() == grammar_of(scenes).hypertokens()


@given(st.dictionaries(IDS, CHAINS))
def test_names_are_unique_and_spell_their_chain(scenes: dict[str, Chains]) -> None:
    tokens = grammar_of(scenes).hypertokens()
    assert len({token.name for token in tokens}) == len(tokens)
    for token in tokens:
        assert token.name in (Linkage(chain=token.chain).joined, "·".join(token.chain))


class Archive(RuleBasedStateMachine):
    """Scenes come and come anew; asked at any time, the grammar says what a fresh one says."""

    def __init__(self) -> None:
        super().__init__()
        self.scenes: dict[str, Chains] = {}
        self.counts = ChainCounts()
        self.grammar = Grammar()

    @rule(name=IDS, chains=CHAINS)
    def put(self, name: str, chains: Chains) -> None:
        self.scenes[name] = chains
        self.grammar.put(name, chains)
        self.counts.put(name, chains)

    @rule()
    def ask(self) -> None:
        tokens = self.grammar.hypertokens()
        assert tokens == grammar_of(self.scenes).hypertokens()
        assert self.grammar.hypertokens() is tokens
        assert self.counts.changed() is not None

    @invariant()
    def counts_are_exact(self) -> None:
        found = {self.counts.spelled(chain): count for chain, count in self.counts.shared().items()}
        assert found == {chain: count for chain, count in counted(self.scenes).items() if count > 1}
        assert len(self.counts) == len(self.grammar) == len(self.scenes)


TestArchive = Archive.TestCase


def test_a_long_repeat_is_named_by_its_beginning_alone() -> None:
    long = tuple(f"с{n}" for n in range(20))
    assert chains_in(grammar_of({str(n): (long,) for n in range(3)})) == [long[:LONGEST]]
    circle = ("а", "б", "в") * 6
    found = chains_in(grammar_of({str(n): (circle,) for n in range(3)}))
    assert found == [circle[:LONGEST]]


def test_two_chains_that_join_alike_are_named_link_by_link_until_one_goes() -> None:
    one, two = ("аб", "в", "г"), ("а", "бв", "г")
    grammar = grammar_of({"1": (one,), "2": (one,), "3": (two,), "4": (two,)})
    assert [token.name for token in grammar.hypertokens()] == ["а·бв·г", "аб·в·г"]
    grammar.put("4", ())
    assert [(token.name, token.chain) for token in grammar.hypertokens()] == [("абвг", one)]


def test_a_chain_that_comes_with_a_part_of_itself_is_counted_once_per_scene() -> None:
    grammar = grammar_of({"1": (("а", "б", "а", "б"), ("а", "б")), "2": (("а", "б"),)})
    assert chains_in(grammar) == []
    grammar.put("3", (("а", "б"),))
    assert chains_in(grammar) == [("а", "б")]


def test_known_hypertokens_stay_the_same_objects() -> None:
    rows = {str(n): ((f"а{n // 3}", f"б{n // 3}", "в"),) for n in range(120)}
    grammar = grammar_of(rows)
    before = {id(token) for token in grammar.hypertokens()}
    grammar.put("новая", (("а1", "б1", "в"),))
    after = [token for token in grammar.hypertokens() if id(token) not in before]
    assert len(grammar.hypertokens()) == len(before) == 40
    assert len(after) <= 1


def test_more_symbols_than_there_are_characters_break_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_counts, "_LAST", 3)
    rows = {str(n): (("а", "б", "в", "г", "а", "б", "в"),) for n in range(3)}
    assert chains_in(grammar_of(rows)) == [("а", "б", "в")]


def test_what_is_read_of_a_scene() -> None:
    scene = new_scene("Мост, и не река.")
    assert chains_of(scene) == ()
    linkage = Linkage(chain=("дрожь", "вход"), text=("мост", "тень", "не", "река", "not", "свет", "дом", "сон"))
    assert chains_of(scene.with_(linkage=linkage)) == (("дрожь", "вход"), ("мост", "тень"), ("свет", "дом", "сон"))


def test_recent_namespaces_are_kept() -> None:
    kept: Recent[str, int] = Recent(most=2)
    for name, value in (("а", 1), ("б", 2)):
        kept.put(name, value)
    kept.put("а", 3)
    kept.put("в", 4)
    assert [kept.get(name) for name in "абв"] == [3, None, 4]
    assert kept.take("а") == 3
    assert kept.take("а") is None
    kept.clear()
    assert kept.get("в") is None


def test_pairs_alone_need_three_scenes_and_longer_chains_two() -> None:
    assert chains_in(grammar_of({str(n): (("а", "б"),) for n in range(2)})) == []
    assert chains_in(grammar_of({str(n): (("а", "б"),) for n in range(3)})) == [("а", "б")]
    assert chains_in(grammar_of({str(n): (("а", "б", "в"),) for n in range(2)})) == [("а", "б", "в")]
    assert all(
        one != other for one, other in pairwise(chains_in(grammar_of({"1": (("а",) * 30,), "2": (("а",) * 30,)})))
    )
