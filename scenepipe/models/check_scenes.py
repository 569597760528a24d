"""Faults of a row of kind ``scene``: what ``llm-scene`` would refuse in an answer must not be learnt by heart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from scenepipe.register import SceneExample

Fault = tuple[Literal["error", "warning"], str, str]


def check_scene(row: SceneExample) -> Iterator[Fault]:
    """Level, row id and message of every fault of one row."""
    from scenepipe.analysis.language import detect_language
    from scenepipe.analysis.lexicon import shipped_lexicon
    from scenepipe.analysis.model_reading import judge, nouns, plain
    from scenepipe.analysis.symbols import find_symbols
    from scenepipe.analysis.words import split_words
    from scenepipe.scene import fold, new_scene

    if not row.text.strip():
        yield "error", row.id, "its text is empty"
        return
    lexicon, words = shipped_lexicon(), split_words(row.text)
    language = detect_language(words)
    if language.code not in (row.language, "und"):
        yield "error", row.id, f"its text is in '{language.code}', its language is '{row.language}'"
        return
    language = language.model_copy(update={"code": row.language})
    scene = new_scene(row.text).with_(language=language, symbols=find_symbols(words, language, lexicon))
    told = judge(row.scene, scene, lexicon, len(row.scene.symbols))
    if isinstance(told, tuple):
        yield "error", row.id, "; ".join(told)
        return
    kept, refused = nouns(row.scene.symbols, scene, lexicon)
    lemmas = {fold(symbol.lemma) for symbol in kept}
    for reason in refused:
        yield "warning", row.id, f"symbols: {reason}"
    own = {fold(symbol.lemma) for symbol in scene.symbols or ()}
    if strays := [word for word in row.scene.chain if plain(word, scene, lexicon) not in lemmas | own]:
        yield "warning", row.id, f"chain: {', '.join(strays)} stand neither among its symbols nor in the text"
