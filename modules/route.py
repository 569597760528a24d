"""``route``: the scene chooses its mixture of registers, with a reason for every weight.

Each register's fit for the scene is a kernel regression (Nadaraya-Watson, 1964) over its own examples: the mean of
their ``fit`` labels, weighted by exp(cosine / 0.08) over the nearest 12, with the register's mean fit as a prior that
weighs as much as one example at cosine 0.35. Registers share the weight of the best fit, by softmax over fits at
temperature 0.12; what is left is the base's. A register with less than 0.05 is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from scenepipe.contracts import Context, Resources
from scenepipe.encoders.cache import encode_cached
from scenepipe.mixture import Mixture, Reason, of
from scenepipe.scene import Scene

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


NEAREST = 12
KERNEL = 0.08
PRIOR_COSINE = 0.35
TEMPERATURE = 0.12
SMALLEST = 0.05
NAMED_EXAMPLES = 2


@dataclass(frozen=True)
class _Scorer:
    """One register's labelled inputs: vectors [n, dim], fits [n], and what to call them in a reason."""

    vectors: npt.NDArray[np.float32] | None
    fits: npt.NDArray[np.float64]
    names: Sequence[str]

    @property
    def prior(self) -> float:
        return float(self.fits.mean()) if len(self.fits) else 0.5


class Route:
    """Scene to mixture.

    Args:
        mixture: fixed weights instead of a choice, for example ``{poet: 0.6}``.
        batch_size: scenes scored at once.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"field", "language"})
    writes: ClassVar[frozenset[str]] = frozenset({"registers"})
    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})
    version: ClassVar[str] = "1"

    def __init__(self, *, mixture: dict[str, float] | None = None, batch_size: int = 64) -> None:
        self.batch_size = batch_size
        self._fixed = of(mixture) if mixture is not None else None
        self._scorers: dict[str, _Scorer] = {}

    def open(self, resources: Resources) -> None:
        """Read every register's labels and encode their inputs (kept in the user's cache)."""
        if self._fixed is None:
            self._scorers = _scorers(resources)

    def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> list[Scene]:
        """A mixture for every scene that the caller has not given one."""
        return [
            scene if scene.registers is not None else scene.with_(registers=self._choose(scene)) for scene in scenes
        ]

    def _choose(self, scene: Scene) -> Mixture:
        if self._fixed is not None:
            given = {n: (Reason(cause="fixed in the pipeline", amount=w),) for n, w in self._fixed.weights.items()}
            return self._fixed.model_copy(update={"reasons": given})
        vector = _vector(scene)
        fits = {name: _fit(scorer, vector) for name, scorer in self._scorers.items()}
        return _share({n: f for n, (f, _) in fits.items()}, {n: r for n, (_, r) in fits.items()})


def _scorers(resources: Resources) -> dict[str, _Scorer]:
    import numpy as np

    from scenepipe.models.store import cache_dir
    from scenepipe.register import examples

    rows = {name: examples(register) for name, register in resources.registers.items()}
    texts = sorted({row.text for part in rows.values() for row in part})
    place = {text: index for index, text in enumerate(texts)}
    vectors = encode_cached(resources.encoder, texts, cache_dir() / "vectors") if resources.encoder and texts else None
    return {
        name: _Scorer(
            vectors=vectors[[place[row.text] for row in part]] if vectors is not None else None,
            fits=np.array([row.fit for row in part], dtype=np.float64),
            names=[f"{row.id} «{row.text}»" for row in part],
        )
        for name, part in rows.items()
    }


def _vector(scene: Scene) -> npt.NDArray[np.float32] | None:
    import numpy as np

    if scene.field is None or scene.field.vector is None:
        return None
    vector = np.frombuffer(scene.field.vector.data, dtype=np.int8).astype(np.float32)
    length = float(np.linalg.norm(vector))
    return vector / length if length else None


def _fit(scorer: _Scorer, vector: npt.NDArray[np.float32] | None) -> tuple[float, tuple[Reason, ...]]:
    """Predicted fit in 0..1 and the examples that moved it most."""
    import numpy as np

    if vector is None or scorer.vectors is None or not len(scorer.fits):
        return scorer.prior, (Reason(cause="mean fit of its examples; no vector to compare with", amount=scorer.prior),)
    cosines = scorer.vectors @ vector
    nearest = np.argsort(-cosines, kind="stable")[:NEAREST]
    kernel = np.exp((cosines[nearest] - PRIOR_COSINE) / KERNEL).astype(np.float64)
    share = kernel / (kernel.sum() + 1.0)
    fit = float(share @ scorer.fits[nearest] + (1.0 - share.sum()) * scorer.prior)
    named = [
        Reason(
            cause=f"near {scorer.names[i]} (cosine {cosines[i]:.2f}), whose fit is {scorer.fits[i]:.2f}",
            amount=round(float(share[k] * (scorer.fits[i] - scorer.prior)), 4),
        )
        for k, i in enumerate(nearest[:NAMED_EXAMPLES])
    ]
    return fit, (*named, Reason(cause="mean fit of its examples", amount=round(scorer.prior, 4)))


def _share(fits: Mapping[str, float], reasons: Mapping[str, tuple[Reason, ...]]) -> Mixture:
    import numpy as np

    if not fits:
        return Mixture()
    names = sorted(fits)
    scores = np.array([fits[name] for name in names])
    powers = np.exp((scores - scores.max()) / TEMPERATURE)
    weights = scores.max() * powers / powers.sum()
    kept = {name: round(float(w), 3) for name, w in zip(names, weights, strict=True) if w >= SMALLEST}
    ordered = dict(sorted(kept.items(), key=lambda item: (-item[1], item[0])))
    return Mixture(
        weights=ordered, reasons={n: (*reasons[n], Reason(cause="fit", amount=round(fits[n], 4))) for n in ordered}
    )
