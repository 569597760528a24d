"""Lossless folding of a text or a chain into words, rules and a sequence, proven by a hash.

Re-Pair (Larsson & Moffat 1999): the commonest pair of neighbours becomes a rule, until no pair comes twice; then every
rule that does not save is written out again where it was used. A rule's right side names words and earlier rules only,
so a folding has no cycle. Nothing is normalised: CRLF, NUL and combining marks come back as they were.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from scenepipe.errors import ArchiveError, InputError
from scenepipe.folding.repair import MAX_DEPTH, repair
from scenepipe.scene import MAX_TEXT_CHARACTERS, Value

SPLIT = re.compile(r" ?\w+|\W")
"""A word with the space before it, or one character that belongs to none: joined, they are the text."""

Reference = Annotated[int, Field(ge=0)]


class Folded(Value):
    """A folded text or chain.

    A reference below ``len(words)`` is that word; any other is the rule of number ``reference - len(words)``.

    Args:
        size: characters of the text, or symbols of the chain.
        rules: right sides, each of two references or more, to words and earlier rules.
        sha256: of the text's UTF-8 bytes; of a chain's symbols each as ``length:bytes``.
    """

    folding: Literal[1] = 1
    kind: Literal["text", "chain"]
    words: tuple[str, ...]
    rules: tuple[tuple[Reference, ...], ...] = ()
    sequence: tuple[Reference, ...]
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @property
    def length(self) -> int:
        """References in the sequence and in all rules, and one for each rule: what is left of the symbols given."""
        return len(self.sequence) + sum(len(rule) + 1 for rule in self.rules)

    def to_json(self) -> str:
        """One line of JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, data: str | bytes) -> Folded:
        """Read what `to_json` wrote; whether it unfolds is `unfold`'s to say.

        Raises:
            InputError: the data is not a folding; names every wrong field.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'folding'}: {e['msg']}" for e in error.errors()[:20])
            raise InputError(f"this is not a folding (folding 1): {faults}") from None


def fold(text: str) -> Folded:
    """Fold a text, cut into words with what stands between them.

    Raises:
        InputError: longer than a scene may be, or not Unicode text.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InputError(f"the text has {len(text)} characters, at most {MAX_TEXT_CHARACTERS} are folded; cut it")
    return _folded("text", SPLIT.findall(text), len(text), _digest_of_text(text))


def fold_chain(chain: Sequence[str]) -> Folded:
    """Fold a chain of symbols.

    Raises:
        InputError: longer than a scene may be, or a symbol is not Unicode text.
    """
    if len(chain) > MAX_TEXT_CHARACTERS:
        raise InputError(f"the chain has {len(chain)} symbols, at most {MAX_TEXT_CHARACTERS} are folded; cut it")
    return _folded("chain", chain, len(chain), _digest_of_chain(chain))


def unfold(folded: Folded, *, most: int = MAX_TEXT_CHARACTERS) -> str:
    """The text, exactly as it was.

    Args:
        most: characters that may come out; counted before anything is unfolded.

    Raises:
        ArchiveError: it is a chain, it is damaged, it is deeper or larger than allowed, or its hash is another.
    """
    _refuse_other_kind(folded, "text", "unfold_chain")
    _measure(folded, most)
    text = "".join(_unfolded(folded))
    _refuse_other_hash(folded, _digest_of_text(text))
    return text


def unfold_chain(folded: Folded, *, most: int = MAX_TEXT_CHARACTERS) -> tuple[str, ...]:
    """The chain, exactly as it was.

    Args:
        most: symbols that may come out; counted before anything is unfolded.

    Raises:
        ArchiveError: it is a text, it is damaged, it is deeper or larger than allowed, or its hash is another.
    """
    _refuse_other_kind(folded, "chain", "unfold")
    _measure(folded, most)
    chain = tuple(_unfolded(folded))
    _refuse_other_hash(folded, _digest_of_chain(chain))
    return chain


def _folded(kind: Literal["text", "chain"], symbols: Sequence[str], size: int, digest: str) -> Folded:
    numbers: dict[str, int] = {}
    sequence, rules = repair([numbers.setdefault(symbol, len(numbers)) for symbol in symbols])
    return Folded(
        kind=kind,
        words=tuple(numbers),
        rules=tuple(map(tuple, rules)),
        sequence=tuple(sequence),
        size=size,
        sha256=digest,
    )


def _unfolded(folded: Folded) -> Iterator[str]:
    """Every word in order; the depth of the stack is that of the rules."""
    words, rules, count = folded.words, folded.rules, len(folded.words)
    stack = [iter(folded.sequence)]
    while stack:
        for reference in stack[-1]:
            if reference >= count:
                stack.append(iter(rules[reference - count]))
                break
            yield words[reference]
        else:
            stack.pop()


def _measure(folded: Folded, most: int) -> None:
    """Refuse what cannot be unfolded, before anything is: bad references, empty parts, too deep, too large."""
    sizes = [len(word) for word in folded.words] if folded.kind == "text" else [1] * len(folded.words)
    if not all(sizes):
        raise ArchiveError("this folding is damaged: it has an empty word; take it from another copy")
    depths = [0] * len(sizes)
    for number, rule in enumerate(folded.rules):
        if len(rule) < 2:
            raise ArchiveError(f"this folding is damaged: rule {number} has fewer than two parts; take another copy")
        _refuse_unknown(rule, len(sizes), f"rule {number}")
        depths.append(1 + max(depths[reference] for reference in rule))
        if depths[-1] > MAX_DEPTH:
            raise ArchiveError(f"this folding is refused: rule {number} is deeper than {MAX_DEPTH} rules")
        sizes.append(sum(sizes[reference] for reference in rule))
    _refuse_unknown(folded.sequence, len(sizes), "the sequence")
    size = sum(sizes[reference] for reference in folded.sequence)
    if size > most:
        unit = "characters" if folded.kind == "text" else "symbols"
        raise ArchiveError(f"this folding is refused: it would unfold to {size} {unit}, at most {most} are allowed")
    if size != folded.size:
        raise ArchiveError(f"this folding is damaged: it says size {folded.size} and would unfold to {size}")


def _refuse_unknown(references: Iterable[int], known: int, where: str) -> None:
    unknown = next((reference for reference in references if reference >= known), None)
    if unknown is not None:
        raise ArchiveError(f"this folding is damaged: {where} names {unknown}, only {known} are known before it")


def _refuse_other_kind(folded: Folded, kind: str, other: str) -> None:
    if folded.kind != kind:
        raise ArchiveError(f"this is the folding of a {folded.kind}, not of a {kind}; {other}() unfolds it")


def _refuse_other_hash(folded: Folded, digest: str) -> None:
    if digest != folded.sha256:
        raise ArchiveError(
            f"this folding is damaged: what it unfolds to has SHA-256 {digest}, it was {folded.sha256}; take another copy"
        )


def _digest_of_text(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()


def _digest_of_chain(chain: Iterable[str]) -> str:
    parts = (_bytes(symbol) for symbol in chain)
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).hexdigest()


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"there is a lone surrogate at character {error.start}; it is not Unicode text, decode it again"
        ) from None
