"""``POST /v1/embeddings``: unit vectors of the pipeline's encoder."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request as HttpRequest

from scenepipe.context import offload
from scenepipe.contracts import Encoder
from scenepipe.server.limits import check_text, read_body
from scenepipe.server.openai_types import EmbeddingsBody
from scenepipe.server.problem import invalid
from scenepipe.server.service import Service, caller_of, service_of
from scenepipe.server.sse import Answer, Reach

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Embedder:
    """The encoder of a pipeline, opened when it is first asked; one batch at a time."""

    def __init__(self, encoder: Encoder | None, pipeline: str, *, opened: bool) -> None:
        self._encoder = encoder
        self._pipeline = pipeline
        self._opened = opened
        self._one = asyncio.Lock()

    def encoder(self) -> Encoder:
        """The encoder.

        Raises:
            ApiError: the pipeline has none.
        """
        if self._encoder is None:
            raise invalid(f"pipeline '{self._pipeline}' has no encoder; add 'encoder:' to it", "model", "no_encoder")
        return self._encoder

    async def vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Float32 of shape [n texts, dim], computed in a worker thread."""
        encoder = self.encoder()
        async with self._one:
            if not self._opened:
                await offload(getattr(encoder, "open", lambda: None))
                self._opened = True
            return await offload(encoder.encode, list(texts))


async def embeddings(request: HttpRequest) -> Answer:
    """One vector for each text."""
    service, caller = service_of(request), caller_of(request)
    body = await read_body(request, EmbeddingsBody, service.settings)
    embedder: Embedder = request.app.state.embedder
    encoder = embedder.encoder()
    if body.dimensions not in (None, encoder.dim):
        raise invalid(f"dimensions is {body.dimensions}; this encoder has {encoder.dim}", "dimensions", "invalid_value")
    if body.model is not None and body.model != encoder.fingerprint:
        service.voices.mixture(body.model)
    texts = texts_of(body.input, service)

    async def work(reach: Reach) -> None:
        async with service.admission.place(caller.name, "embeddings"):
            rows = await embedder.vectors(texts)
        data = [
            {"object": "embedding", "index": index, "embedding": _shown(row, body.encoding_format)}
            for index, row in enumerate(rows)
        ]
        tokens = sum(len(text.split()) for text in texts)
        told = {"prompt_tokens": tokens, "total_tokens": tokens}
        await reach.whole({"object": "list", "data": data, "model": body.model or encoder.fingerprint, "usage": told})

    return Answer(work, stall_s=service.settings.stall_s)


def texts_of(given: str | Sequence[Any], service: Service) -> list[str]:
    """The texts of a request.

    Raises:
        ApiError: token numbers, an empty text, too many or too long ones.
    """
    texts = [given] if isinstance(given, str) else list(given)
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise invalid("input is a text, or a list of texts that are not empty; no token numbers", "input")
    if len(texts) > service.settings.most_texts:
        raise invalid(f"{len(texts)} texts were given; at most {service.settings.most_texts}", "input")
    return [check_text(text, f"input.{place}", service.settings) for place, text in enumerate(texts)]


def _shown(row: npt.NDArray[np.float32], form: str) -> Any:
    if form == "base64":
        return base64.b64encode(row.astype("<f4").tobytes()).decode()
    return row.tolist()
