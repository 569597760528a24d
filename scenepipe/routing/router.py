"""`Router`: scorers of the registers in use, one calibration over them, and a mixture with reasons for every scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from scenepipe.mixture import Mixture, Reason
from scenepipe.routing.calibration import Calibration, calibrate, weigh
from scenepipe.routing.explain import example, nearest, reasons
from scenepipe.routing.inputs import Inputs, read_inputs
from scenepipe.routing.scorer import PRIOR, Scorer, kernel, similarity, train

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from scenepipe.contracts import Encoder
    from scenepipe.register import Register
    from scenepipe.scene import Scene

    Numbers = npt.NDArray[np.float64]

SMALLEST = 0.05
MOST_ROWS = 2000
"""Train rows that a scorer learns from, evenly spread where there are more: 2000 take 3 s, and time grows with the cube."""


@dataclass(frozen=True)
class Labels:
    """One register's rows of one split: places in the router's inputs [n], fits, ids; a text given twice counts once."""

    rows: npt.NDArray[np.intp]
    fits: list[float]
    ids: list[str]


class _Row(NamedTuple):
    id: str
    text: str
    split: str
    fit: float


@dataclass(frozen=True)
class _Voice:
    """A trained register: its scorer, and its train rows by place."""

    name: str
    scorer: Scorer
    labels: Labels


class Router:
    """Scenes to fits to mixtures. Immutable once made; the same scene has the same mixture alone and in a batch.

    Args:
        texts: every input of the registers in use.
        inputs: the same, read as scenes.
        voices: trained registers, in the order of their names.
        calibration: how fits become weights.
        base: weight of the base in every mixture; None: what the best register's expected fit leaves.
    """

    def __init__(
        self,
        texts: Sequence[str],
        inputs: Inputs,
        voices: Sequence[_Voice],
        calibration: Calibration,
        *,
        base: float | None = None,
    ) -> None:
        import numpy as np

        self.calibration = calibration
        self.names = [voice.name for voice in voices]
        self.learned = {voice.name: voice.labels for voice in voices}
        self._base = base
        self._texts, self._inputs, self._voices = texts, inputs, voices
        self._levels = np.array([voice.scorer.level for voice in voices])
        self._coefficients = np.zeros((len(voices), len(texts)))
        self._slopes = np.zeros((len(voices), inputs.features.shape[1]))
        for k, voice in enumerate(voices):
            self._coefficients[k, voice.labels.rows] = voice.scorer.coefficients
            self._slopes[k] = voice.scorer.slopes

    def fits(self, scenes: Sequence[Scene]) -> Numbers:
        """Predicted fits [n, registers], 0..1, in the order of ``names``."""
        import numpy as np

        found = [self._parts(*row)[0] for row in self._rows(scenes)]
        return np.array(found).reshape(len(scenes), len(self.names))

    def mixtures(self, scenes: Sequence[Scene]) -> list[Mixture]:
        """A mixture for each scene, its registers heaviest first, each with its reasons."""
        if not self.names:
            return [Mixture() for _ in scenes]
        return [self._mixture(cosines, features) for cosines, features in self._rows(scenes)]

    def _rows(self, scenes: Sequence[Scene]) -> list[tuple[npt.NDArray[np.float32], Numbers]]:
        from scenepipe.analysis.signed_bytes import cosines

        seen = self._inputs.view(scenes)
        return list(zip(cosines(seen.vectors, self._inputs.vectors), seen.features, strict=True))

    def _parts(self, cosines: npt.NDArray[np.float32], features: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """Fits [registers], kernel [n], and what each feature adds [registers, features], of one scene.

        One scene at a time, because a matrix product may round a row differently with the number of rows beside it.
        """
        import numpy as np

        near = kernel(cosines)
        moved = self._slopes * features
        raw = PRIOR + self._levels + self._coefficients @ near + moved.sum(axis=1)
        return np.minimum(np.maximum(raw, 0.0), 1.0), near, moved

    def _mixture(self, cosines: npt.NDArray[np.float32], features: Numbers) -> Mixture:
        fits, near, moved = self._parts(cosines, features)
        weights = weigh(fits, self.calibration, smallest=SMALLEST, base=self._base)
        chosen = sorted((k for k in range(len(fits)) if weights[k] > 0), key=lambda k: (-weights[k], self.names[k]))
        return Mixture(
            weights={self.names[k]: float(weights[k]) for k in chosen},
            reasons={self.names[k]: self._reasons(k, cosines, near, moved[k], float(fits[k])) for k in chosen},
        )

    def _reasons(
        self, k: int, cosines: npt.NDArray[np.float32], near: Numbers, moved: Numbers, fit: float
    ) -> tuple[Reason, ...]:
        labels, coefficients = self._voices[k].labels, self._coefficients[k]
        known = bool(cosines.any())
        named = []
        for place in nearest(cosines[labels.rows]) if known else ():
            row = labels.rows[place]
            cause = example(labels.ids[place], self._texts[row], float(cosines[row]), labels.fits[place])
            named.append((cause, float(coefficients[row] * near[row])))
        found = reasons(float(self._levels[k]), named, float(coefficients @ near), moved, fit)
        return found if known else (Reason(cause="no vector to compare with", amount=0.0), *found)


def train_router(
    registers: Mapping[str, Register],
    encoder: Encoder | None,
    folder: Path,
    *,
    temperature: float | None = None,
    base: float | None = None,
) -> Router:
    """Learn from the registers' train rows and inputs without replies, calibrate on their dev rows.

    Args:
        folder: where what was read of their inputs is kept.
        temperature, base: given instead of what dev rows say.

    Raises:
        RegisterError: a register's examples cannot be read.
    """
    rows = {name: _labelled(registers[name]) for name in sorted(registers)}
    texts, inputs = _inputs(rows, encoder, folder)
    place = {text: index for index, text in enumerate(texts)}
    voices = _voices({name: _labels(part, "train", place) for name, part in rows.items()}, inputs)
    calibration = _calibration({name: _labels(part, "dev", place) for name, part in rows.items()}, inputs, voices)
    if temperature is not None:
        calibration = Calibration(temperature, calibration.lift, calibration.rows)
    return Router(texts, inputs, voices, calibration, base=base)


def _labelled(register: Register) -> list[_Row]:
    from scenepipe.register import examples, fits

    rows = [_Row(row.id, row.text, row.split, row.fit) for row in examples(register)]
    rows += [_Row(row.id, row.text, "train", row.fit) for row in fits(register)]
    return [row for row in rows if row.text.strip()]


def _inputs(rows: Mapping[str, Sequence[_Row]], encoder: Encoder | None, folder: Path) -> tuple[list[str], Inputs]:
    """All train and dev inputs, each once. Read and kept register by register, so that a new one costs its own alone."""
    first, *others = sorted({tuple(sorted({r.text for r in part if r.split != "test"})) for part in rows.values()}) or [
        ()
    ]
    texts = list(first)
    found = read_inputs(texts, encoder, folder)
    for part in others:
        known = set(texts)
        new = [i for i, text in enumerate(part) if text not in known]
        texts += [part[i] for i in new]
        found = found.with_rows(read_inputs(part, encoder, folder), new)
    return texts, found


def _labels(rows: Sequence[_Row], split: str, place: Mapping[str, int]) -> Labels:
    import numpy as np

    found: dict[int, list[_Row]] = {}
    for row in rows:
        if row.split == split:
            found.setdefault(place[row.text], []).append(row)
    kept = sorted(found)
    kept = kept if len(kept) <= MOST_ROWS else [kept[i * len(kept) // MOST_ROWS] for i in range(MOST_ROWS)]
    fits = [sum(row.fit for row in found[k]) / len(found[k]) for k in kept]
    return Labels(np.array(kept, dtype=np.intp), fits, [found[k][0].id for k in kept])


def _voices(labels: Mapping[str, Labels], inputs: Inputs) -> list[_Voice]:
    """Registers with the same rows, as the shipped ones have, are trained together: the matrix is inverted once."""
    import numpy as np

    together: dict[tuple[int, ...], list[str]] = {}
    for name, own in labels.items():
        together.setdefault(tuple(own.rows.tolist()), []).append(name)
    voices = []
    for rows, names in together.items():
        vectors = inputs.vectors[list(rows)]
        fits = np.array([labels[name].fits for name in names]).reshape(len(names), -1).T
        scorers = train(similarity(vectors, vectors), inputs.features[list(rows)], fits)
        voices += [_Voice(name, scorer, labels[name]) for name, scorer in zip(names, scorers, strict=True)]
    return sorted(voices, key=lambda voice: voice.name)


def _calibration(labels: Mapping[str, Labels], inputs: Inputs, voices: Sequence[_Voice]) -> Calibration:
    import numpy as np

    rows = sorted({row for own in labels.values() for row in own.rows.tolist()})
    fits = np.full((len(rows), len(voices)), np.nan)
    predicted = np.zeros_like(fits)
    for k, voice in enumerate(voices):
        own, scorer = labels[voice.name], voice.scorer
        fits[np.searchsorted(rows, own.rows), k] = own.fits
        near = similarity(inputs.vectors[rows], inputs.vectors[voice.labels.rows])
        raw = PRIOR + scorer.level + near @ scorer.coefficients + inputs.features[rows] @ scorer.slopes
        predicted[:, k] = np.clip(raw, 0.0, 1.0)
    return calibrate(predicted, fits)
