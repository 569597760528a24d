"""Make the analysis data: the lexicon's vectors, and a codebook of 64 cells for Δ-codes.

    python -m scenepipe.training.codebook [--name c1] [--out FOLDER] [--vectors-only]

Reads the inputs and replies of every register's examples, the lexicon's glosses and its rated sentences: all of them
written for this project. Vectors may be made again at any time (they are bound to encoder
and lexicon); a codebook that scenes already carry codes of must never be, so an existing one is left alone unless
``--replace`` is given.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scenepipe.analysis.builder import Draft, SceneBuilder, SceneText
from scenepipe.analysis.codebook import CELLS, DEFAULT_CODEBOOK, Cell, Manifest
from scenepipe.analysis.delta import BLOCK_WEIGHTS, FEATURES_VERSION, features
from scenepipe.analysis.lexicon import Lexicon, shipped_lexicon
from scenepipe.analysis.reading import read_text
from scenepipe.analysis.signed_bytes import Bytes, Floats, cosines, floats, quantise, unit
from scenepipe.analysis.vectors import VECTORS_FILE, LexiconVectors, compute_vectors, write_vectors
from scenepipe.encoders.usem3 import Usem3Encoder
from scenepipe.rooms import room
from scenepipe.scene import fold
from scenepipe.training.projection import fit_projection, neighbour_pairs

if TYPE_CHECKING:
    from scenepipe.contracts import Encoder

SEED = 20
RESTARTS = 4
ROUNDS = 60
GLOSS_SYMBOLS = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default=DEFAULT_CODEBOOK)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "analysis" / "data")
    parser.add_argument("--vectors-only", action="store_true")
    parser.add_argument("--replace", action="store_true", help="overwrite a codebook of this name")
    given = parser.parse_args(arguments)
    path = given.out / f"{given.name}.json"
    if path.exists() and not (given.vectors_only or given.replace):
        parser.error(f"{path} exists; scenes may carry its codes. Give another --name, or --replace before any release")
    lexicon, encoder = shipped_lexicon(), Usem3Encoder()
    texts = corpus(lexicon)
    vectors = compute_vectors(encoder, lexicon, texts)
    write_vectors(given.out / VECTORS_FILE, vectors, lexicon)
    print(f"{given.out / VECTORS_FILE}: {len(lexicon.symbols)} symbols, {len(lexicon.words)} affect words")
    if given.vectors_only:
        return
    write_codebook(given.out, given.name, sorted({*texts["ru"], *texts["en"]}), encoder, lexicon, vectors)


def corpus(lexicon: Lexicon) -> dict[str, list[str]]:
    """Texts by language, each once, sorted: registers' inputs and replies, glosses, rated sentences."""
    found: dict[str, set[str]] = {"ru": set(), "en": set()}
    for path in sorted(room("registers").glob("*/examples.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            found[row["language"]] |= {row["text"], row["reply"]}
    for entry in lexicon.symbols:
        found["ru"].add(entry.gloss_ru)
        found["en"].add(entry.gloss_en)
    for sentence in lexicon.sentences:
        found[sentence.language].add(sentence.text)
    return {code: sorted(texts) for code, texts in found.items()}


def dropped(text: str) -> str:
    """The text less one word, which one by its length; a text of up to three words as it is."""
    words = text.split()
    place = 7 * len(text) % len(words) if words else 0
    return " ".join(words[:place] + words[place + 1 :]) if len(words) > 3 else text


def write_codebook(
    folder: Path, name: str, texts: Sequence[str], encoder: Encoder, lexicon: Lexicon, vectors: LexiconVectors
) -> Manifest:
    """Train on ``texts`` and write ``name.safetensors`` and ``name.json``."""
    from safetensors.numpy import save

    builder = SceneBuilder(lexicon, encoder=encoder, vectors=vectors)
    drafts = _drafts(builder, texts)
    less = _drafts(builder, [dropped(draft.item.text) for draft in drafts])
    sense, less_sense = _senses(drafts), _senses(less)
    glosses = [_senses(_drafts(builder, [e.gloss(code) for e in lexicon.symbols])) for code in ("ru", "en")]
    pairs = {
        "dropped": (sense, less_sense),
        "translated": (glosses[0], glosses[1]),
        "neighbour": neighbour_pairs(sense),
    }
    projection = fit_projection(sense, pairs)
    rows = features(sense, [draft.view for draft in drafts], projection)
    less_rows = features(less_sense, [draft.view for draft in less], projection)
    centroids = seriate(spherical_k_means(rows, less_rows, CELLS, SEED))
    codes = np.argmax(cosines(rows, centroids), axis=1)
    raw = np.stack([draft.vector for draft in drafts if draft.vector is not None])
    near = 2 * cosines(vectors.centre(raw, [d.item.language.code for d in drafts]), vectors.symbols) - vectors.hubness
    parts = {"centroids": centroids, "projection": projection.weights, "projection_scale": projection.scale}
    data = save(parts)
    manifest = Manifest(
        codebook=name,
        features=FEATURES_VERSION,
        encoder=encoder.fingerprint,
        lexicon=lexicon.sha256,
        weights=dict(BLOCK_WEIGHTS),
        seed=SEED,
        texts=len(drafts),
        texts_sha256=hashlib.sha256("\0".join(fold(d.item.text) for d in drafts).encode()).hexdigest(),
        centroids_sha256=hashlib.sha256(data).hexdigest(),
        analysers=builder.analysis.analysers,
        cells=tuple(_cell(code, codes, near, lexicon) for code in range(CELLS)),
    )
    (folder / f"{name}.safetensors").write_bytes(data)
    dumped = json.dumps(manifest.model_dump(mode="json"), ensure_ascii=False, indent=1)
    (folder / f"{name}.json").write_text(re.sub(r"\n {3}|\n {2}(?=\})", " ", dumped) + "\n", "utf-8")
    print(report(rows, codes, centroids, [draft.item.language.code for draft in drafts]))
    return manifest


def _drafts(builder: SceneBuilder, texts: Sequence[str]) -> list[Draft]:
    """Drafts of the texts that have a vector."""
    items = [SceneText(text, *read_text(text)) for text in texts]
    found = [draft for start in range(0, len(items), 256) for draft in builder.draft(items[start : start + 256])]
    return [draft for draft in found if draft.sense is not None]


def _senses(drafts: Sequence[Draft]) -> Bytes:
    return np.stack([draft.sense for draft in drafts if draft.sense is not None])


def spherical_k_means(rows: Bytes, less: Bytes, cells: int, seed: int) -> Bytes:
    """Centroids int8 [cells, features] (Dhillon & Modha, 2001; k-means++ seeding).

    Rows and the same texts less a word, ``less``, are clustered together; of several starts the one is kept in which
    most of them share a cell. An empty cell takes the row that is farthest from its centroid.
    """
    points = floats(np.concatenate([rows, less]))
    runs = [_one_run(points, cells, np.random.default_rng(seed + start)) for start in range(RESTARTS)]

    def kept(centroids: Bytes) -> float:
        return float((cosines(rows, centroids).argmax(axis=1) == cosines(less, centroids).argmax(axis=1)).mean())

    return max(runs, key=kept)


def _one_run(points: Floats, cells: int, draw: np.random.Generator) -> Bytes:
    centroids = _seeds(points, cells, draw)
    previous: np.ndarray | None = None
    for _ in range(ROUNDS):
        scores = points @ centroids.T
        codes = scores.argmax(axis=1)
        if previous is not None and np.array_equal(codes, previous):
            break
        previous = codes
        best = scores.max(axis=1)
        for cell in range(cells):
            members = points[codes == cell]
            if len(members):
                centroids[cell] = members.sum(axis=0)
                continue
            farthest = int(best.argmin())
            centroids[cell], best[farthest] = points[farthest], 1.0
        centroids = unit(centroids)
    return quantise(centroids)


def _seeds(points: Floats, cells: int, draw: np.random.Generator) -> Floats:
    chosen = [int(draw.integers(len(points)))]
    nearest = points @ points[chosen[0]]
    while len(chosen) < cells:
        distance = np.maximum(1.0 - nearest, 0.0).astype(np.float64)
        chosen.append(int(draw.choice(len(points), p=distance / distance.sum())))
        nearest = np.maximum(nearest, points @ points[chosen[-1]])
    return points[chosen].copy()


def seriate(centroids: Bytes) -> Bytes:
    """Centroids in an order in which neighbours are near: nearest-neighbour paths from every cell, best by 2-opt."""
    distance = 1.0 - cosines(centroids, centroids).astype(np.float64)
    paths = [_two_opt(_greedy_path(distance, start), distance) for start in range(0, len(distance), 8)]
    best = min(paths, key=lambda path: (round(_length(path, distance), 9), path))
    return centroids[best]


def _greedy_path(distance: np.ndarray, start: int) -> list[int]:
    path, left = [start], set(range(len(distance))) - {start}
    while left:
        path.append(min(left, key=lambda cell: (distance[path[-1], cell], cell)))
        left.remove(path[-1])
    return path


def _two_opt(path: list[int], distance: np.ndarray) -> list[int]:
    improved = True
    while improved:
        improved = False
        for i in range(len(path) - 1):
            for j in range(i + 1, len(path)):
                turned = path[:i] + path[i : j + 1][::-1] + path[j + 1 :]
                if _length(turned, distance) < _length(path, distance) - 1e-9:
                    path, improved = turned, True
    return path


def _length(path: Sequence[int], distance: np.ndarray) -> float:
    return float(distance[path[:-1], path[1:]].sum())


def _cell(code: int, codes: np.ndarray, near: Floats, lexicon: Lexicon) -> Cell:
    """A cell and the symbols that its texts are nearer to than texts are on the whole, in units of both spreads."""
    members = near[codes == code] if (codes == code).any() else near
    typical = (members.mean(axis=0) - near.mean(axis=0)) / (members.std(axis=0) + near.std(axis=0))
    top = [lexicon.symbols[i] for i in np.argsort(-typical, kind="stable")[:GLOSS_SYMBOLS]]
    words = {language: ", ".join(entry.word(language) for entry in top) for language in ("ru", "en")}
    return Cell(code=code, ru=words["ru"], en=words["en"], texts=int((codes == code).sum()))


def report(rows: Bytes, codes: np.ndarray, centroids: Bytes, languages: Sequence[str]) -> str:
    """Entropy by language, and how much nearer neighbouring numbers are than any two."""
    lines = []
    for code in ("ru", "en"):
        counts = np.bincount(codes[[i for i, lang in enumerate(languages) if lang == code]], minlength=CELLS)
        shares = counts[counts > 0] / counts.sum()
        lines.append(f"{code}: {counts.sum()} texts, entropy {-(shares * np.log2(shares)).sum():.2f} of 6 bits")
    between = cosines(centroids, centroids)
    neighbours = float(np.diagonal(between, offset=1).mean())
    others = float(between[np.triu_indices(CELLS, k=1)].mean())
    lines.append(f"cosine of neighbouring cells {neighbours:.3f}, of any two {others:.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
