"""JSON Schemas over a vocabulary of characters: what may follow, and that replies of one schema share only its compiling."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("llguidance")
pytest.importorskip("transformers")

import llguidance
import tokenizers
import transformers

from scenepipe.backends.json_grammar import Grammar, Grammars
from scenepipe.errors import BackendError

LETTERS = {letter: number for number, letter in enumerate('0123456789{}":a')}
END = len(LETTERS)
SCHEMA = {"type": "integer", "minimum": 0, "maximum": 9}


@pytest.fixture
def grammars() -> Grammars:
    made = tokenizers.Tokenizer(tokenizers.models.BPE(LETTERS, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["</s>"])
    return Grammars(transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>"), 40, [END])


def possible(grammar: Grammar) -> set[int]:
    return {token for token, forbidden in enumerate(grammar.forbidden()) if not forbidden}


def test_what_does_not_fit_the_schema_is_forbidden(grammars: Grammars) -> None:
    grammar = grammars.of(SCHEMA)
    assert possible(grammar) == set(range(10))
    grammar.add(7)
    assert possible(grammar) <= {END}
    assert len(grammar.forbidden()) == 40, "one for each logit, also where the vocabulary is shorter"


def test_a_schema_is_compiled_once_and_each_reply_goes_its_own_way(
    grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []
    real = llguidance.LLMatcher

    class Counting:
        grammar_from_json_schema = staticmethod(real.grammar_from_json_schema)

        def __new__(cls, *given: Any) -> Any:
            compiled.append(given)
            return real(*given)

    monkeypatch.setattr(llguidance, "LLMatcher", Counting)
    one, other = grammars.of(SCHEMA), grammars.of(dict(SCHEMA))
    one.add(7)
    assert possible(other) == set(range(10))
    assert len(compiled) == 1
    assert possible(grammars.of({"type": "object", "properties": {}, "additionalProperties": False})) == {LETTERS["{"]}
    assert len(compiled) == 2


def test_a_schema_that_cannot_be_compiled_is_refused_each_time(grammars: Grammars) -> None:
    for _ in range(2):
        with pytest.raises(BackendError, match="JSON Schema cannot be compiled"):
            grammars.of({"type": "object", "$ref": "#/nowhere"})
