"""What every archive shares: what is stored of a scene, how hits are compared and ranked, how resonance is computed.

Pure functions without a store. Structure decides who is the same, words and vectors only propose: an encoder hardly
hears negation (the cosine of "Мне страшно." and "Мне не страшно." is 0.94), so opposites are told apart here.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from scenepipe.analysis.closed_class import denies
from scenepipe.contracts import Encounter, EncounterKind, Hit, Query
from scenepipe.errors import ArchiveError
from scenepipe.facets import conditions_of, facets_of, meets, moment
from scenepipe.scene import SCENE_NAMESPACE, Origin, Resonance, Scene

RRF_K = 5
SHARES = (0.25, 0.25, 0.5)
"""Of a score: shared symbols, words by their statistics, nearness of the vectors."""
DECAY = 0.5
SITTING_SECONDS = 600.0
THRESHOLD = -DECAY * math.log(86_400.0)
SCALE = 1.5

_NEGATIONS = ("не", "not")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_SAME = ("same words", "same text apart from spelling", "same linkage")
_LISTED = 12


def archived(scene: Scene) -> Scene:
    """What an archive stores of a scene: the analysis and the registers, without what belongs to one occasion."""
    return scene.with_(
        origin=Origin(namespace=scene.origin.namespace),
        echoes=None,
        resonance=None,
        turns=None,
        reply=None,
        outputs=None,
    )


def operation_id(scene: Scene, run: str, kind: EncounterKind) -> str:
    """Id of one encounter: the same row of the same run is the same operation, however often it is written."""
    return str(uuid.uuid5(SCENE_NAMESPACE, f"{scene.id}\n{run}\n{scene.origin.row}\n{kind}"))


def utc(encounter: Encounter) -> Encounter:
    """The encounter with its time in UTC; a time without a zone is taken as UTC."""
    return encounter.model_copy(update={"at": moment(encounter.at)})


def refuse_orphans(encounters: Iterable[Encounter], known: Container[str]) -> None:
    """Refuse encounters whose scene is neither stored nor given with them.

    Raises:
        ArchiveError: names the first of them and its scene.
    """
    for encounter in encounters:
        if encounter.scene_id not in known:
            raise ArchiveError(
                f"encounter {encounter.id} ({encounter.kind}) names scene {encounter.scene_id}, which is not stored; "
                "append the scene with it or before it"
            )


def symbol_keys(scene: Scene) -> tuple[str, ...]:
    """Keys a scene can be found by: its text symbols, then the links of its linkage, each once."""
    keys = [symbol.key for symbol in scene.symbols or ()]
    return tuple(dict.fromkeys([*keys, *(scene.linkage.chain if scene.linkage else ())]))


def own_keys(scene: Scene) -> tuple[str, ...]:
    """Keys of the text's own symbols. What was associated with it is no evidence of what stands together."""
    return tuple(dict.fromkeys(symbol.key for symbol in scene.symbols or ()))


def shape_of(scene: Scene) -> str:
    """What two texts of the same meaning share: their own symbols, in order and with polarity, and how often they deny.

    Negating words are counted apart from polarity, since many of them turn no symbol ("The war is not over").
    """
    denials = sum(denies(word) for word in _WORD.findall(scene.text.casefold().replace("’", "'")))
    return "\n".join([*(symbol.key for symbol in scene.symbols or ()), str(denials)])


def lemma_of(key: str) -> str:
    """A symbol key without its polarity: ``не:чувствовать`` is ``чувствовать``."""
    negation, _, lemma = key.partition(":")
    return lemma if lemma and negation in _NEGATIONS else key


def query_keys(query: Query) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*query.symbols, *query.linkage]))


# --- Comparing and ranking -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proposals:
    """Scene ids a store proposes for a query, each list best first.

    Args:
        same: same id, key or linkage; `rank` proves each.
        symbols: most shared symbols first, symbols of opposite polarity after equal ones.
        words: by word statistics (BM25).
        near: cosine by id, nothing below the floor.
    """

    same: Sequence[str] = ()
    symbols: Sequence[str] = ()
    words: Sequence[str] = ()
    near: Mapping[str, float] = field(default_factory=dict)


def fuse(rankings: Iterable[Sequence[str]], shares: Iterable[float] = SHARES) -> dict[str, float]:
    """Weighted reciprocal-rank fusion: the sum of share * (k + 1) / (k + rank), ranks from 1; 1.0 is first in every list.

    After Cormack et al. 2009, with k = 5 where they took 60: their lists held a thousand names, these hold some fifty, and
    a first place must count for more than a fiftieth. Symbols and words are two views of the same evidence, so the
    vector counts as much as both: of 200 retold texts among 2,200, 0.995 come back in the first five where equal shares
    and k = 60 gave 0.92, and of 200 that avoid each other's words 0.72 instead of 0.47.
    """
    scores: dict[str, float] = {}
    for share, ranking in zip(shares, rankings, strict=True):
        for position, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + share * (RRF_K + 1) / (RRF_K + position)
    return scores


def rank(query: Query, proposals: Proposals, load: Callable[[Sequence[str]], Mapping[str, Scene]]) -> tuple[Hit, ...]:
    """Turn proposals into hits, best first.

    Scenes that are structurally the same lead every list, so none can outrank them. A proposal that no reason
    supports is dropped, and so is a scene whose latest analysis a filter leaves out. ``load`` may leave out scenes
    that cannot be read.
    """
    conditions = conditions_of(query)

    def admitted(names: Sequence[str]) -> Mapping[str, Scene]:
        return {name: scene for name, scene in load(names).items() if meets(conditions, facets_of(scene))}

    return _rank(query, proposals, admitted if conditions else load)


def _rank(query: Query, proposals: Proposals, load: Callable[[Sequence[str]], Mapping[str, Scene]]) -> tuple[Hit, ...]:
    excluded = set(query.exclude)
    alike = load(proposals.same) if proposals.same else {}
    found = {name: sameness(query, alike[name]) for name in proposals.same if name in alike and name not in excluded}
    levels = {name: level for name, level in found.items() if level is not None}
    same, placed = sorted(levels, key=levels.__getitem__), excluded | levels.keys()
    lists = (proposals.symbols, proposals.words, proposals.near)
    scores = fuse([*same, *(name for name in names if name not in placed)] for names in lists)
    return _gather(query, sorted(scores, key=lambda n: -scores[n]), scores, proposals.near, load)


def _gather(
    query: Query,
    order: Sequence[str],
    scores: Mapping[str, float],
    near: Mapping[str, float],
    load: Callable[[Sequence[str]], Mapping[str, Scene]],
) -> tuple[Hit, ...]:
    hits: list[Hit] = []
    for start in range(0, len(order), query.limit):
        names = order[start : start + query.limit]
        scenes = load(names)
        for name in names:
            why = reasons(query, scenes[name], near.get(name)) if name in scenes else ()
            if why:
                hits.append(Hit(scene=scenes[name], score=scores[name], reasons=why))
        if len(hits) >= query.limit:
            break
    return tuple(hits[: query.limit])


def sameness(query: Query, scene: Scene) -> int | None:
    """0: the same words; 1: the same text apart from spelling; 2: the same linkage, order and polarity; else None.

    A query of a text (one with a ``shape``) has the same linkage as another text only where both say the same symbols in the
    same order and deny as often: associated symbols recur, and "The war is over" and "The war is not over" share theirs.
    """
    if query.scene_id == scene.id:
        return 0
    if query.key == scene.key:
        return 1
    if not (query.linkage and scene.linkage and query.linkage == scene.linkage.chain):
        return None
    same = query.shape == shape_of(scene) if query.shape else not _opposites(query_keys(query), symbol_keys(scene))
    return 2 if same else None


def reasons(query: Query, scene: Scene, similarity: float | None = None) -> tuple[str, ...]:
    """Every reason why this scene answers the query; empty when there is none.

    Args:
        similarity: cosine of the two vectors, None when it is unknown or below the floor.
    """
    level = sameness(query, scene)
    if level is not None and level < 2:
        return (_SAME[level],)
    mine, theirs = query_keys(query), symbol_keys(scene)
    parts = [_SAME[level]] if level is not None else []
    if opposites := _opposites(mine, theirs):
        parts.append(f"opposite polarity: {_some(opposites)}")
    known = set(theirs)
    if shared := [key for key in mine if key in known and lemma_of(key) not in opposites]:
        parts.append(f"shared symbols: {_some(shared)}")
    if similarity is not None:
        parts.append(f"near in meaning: {similarity:.2f}")
    return tuple(parts)


def _opposites(mine: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Lemmas that both have, but never with the same polarity."""
    left, right = _polarities(mine), _polarities(theirs)
    return [lemma for lemma, signs in left.items() if lemma in right and signs.isdisjoint(right[lemma])]


def _polarities(keys: Sequence[str]) -> dict[str, set[bool]]:
    signs: dict[str, set[bool]] = {}
    for key in keys:
        lemma = lemma_of(key)
        signs.setdefault(lemma, set()).add(lemma == key)
    return signs


def _some(words: Sequence[str]) -> str:
    more = f" (+{len(words) - _LISTED})" if len(words) > _LISTED else ""
    return ", ".join(words[:_LISTED]) + more


# --- What is derived from the log ------------------------------------------------------------------------------------


def activation(ages: Iterable[float]) -> float:
    """ACT-R base-level activation B = ln(sum of t^-0.5), t in seconds and at least 1; -inf for no ages.

    Anderson & Schooler 1991, d = 0.5. The sum is exact. Petrov's (2006) tail approximation knows only the oldest and
    the tenth newest time, so an older encounter added to it could lower B.
    """
    total = math.fsum(max(age, 1.0) ** -DECAY for age in ages)
    return math.log(total) if total else -math.inf


def resonance(times: Sequence[datetime], now: datetime) -> Resonance:
    """Strength 1 / (1 + exp(-(B - tau) / s)) of a scene that was met at ``times``.

    "Now" is a sitting of ten minutes: what was met within it, or after ``now`` by another clock, counts as met ten
    minutes ago, so meeting a scene again at once adds its full weight instead of fading between two runs. tau is one
    meeting a day ago, which gives 0.5; s is 1.5. So one meeting just now gives 0.84, an hour ago 0.74, a year ago
    0.12, ten just now 0.96. None when it was never met.
    """
    if not times:
        return Resonance()
    level = activation(max((now - at).total_seconds(), SITTING_SECONDS) for at in times)
    strength = 1.0 / (1.0 + math.exp(-(level - THRESHOLD) / SCALE))
    return Resonance(strength=strength, encounters=len(times), last=max(times))
