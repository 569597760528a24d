"""``remote-tokenizer``: language, pieces and symbols from the ``/v1/tokenize`` of another scenepipe server.

One machine holds the vocabulary and the dictionaries, others send it their texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from scenepipe.context import Context, Resources
from scenepipe.errors import BackendError, ConfigError, Fault, InputError, UnreachableError
from scenepipe.option_ranges import range_faults
from scenepipe.scene import Hypertoken, Language, Piece, Scene, Symbol

TRIES = 3
PATH = "/v1/tokenize"


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    language: Language
    symbols: tuple[Symbol, ...]
    pieces: tuple[Piece, ...] | None = None
    hypertokens: tuple[Hypertoken, ...] | None = None


class _Answer(BaseModel):
    data: tuple[_Read, ...]


class RemoteTokenizer:
    """Text to language, pieces, symbols and hypertokens, as the server's own tokenizer reads it.

    The hypertokens are those that the server's archive knows.

    Args:
        url: of the server: ``http://127.0.0.1:8000``.
        key: an API key of it, as ``{secret: NAME}``.
        timeout_s: seconds that one request may take; a connection that fails is tried three times.
        batch_size: texts sent at once.

    Raises:
        ConfigError: ``url`` is no HTTP address, or a number is out of range.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset({"language", "pieces", "symbols", "hypertokens"})
    version: ClassVar[str] = "1"

    def __init__(
        self,
        *,
        url: str,
        key: SecretStr | None = None,
        timeout_s: Annotated[float, Field(gt=0.0, le=600.0)] = 30.0,
        batch_size: Annotated[int, Field(ge=1, le=2048)] = 64,
    ) -> None:
        faults = range_faults(RemoteTokenizer, locals())
        if not url.startswith(("http://", "https://")):
            faults.append(Fault("url", f"{url!r} was given; possible: an address such as http://127.0.0.1:8000"))
        if faults:
            raise ConfigError(faults, "remote-tokenizer")
        self.batch_size = batch_size
        self._url = url.rstrip("/").removesuffix("/v1") + PATH
        self._headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        self._timeout_s = timeout_s
        self._http: httpx.Client | None = None

    def open(self, resources: Resources) -> None:
        """Make ready the connection; nothing is sent yet."""
        if self._http is None:
            retried = httpx.HTTPTransport(retries=TRIES - 1)
            self._http = httpx.Client(headers=self._headers, timeout=self._timeout_s, transport=retried)

    async def aclose(self) -> None:
        """Close the connection."""
        http, self._http = self._http, None
        if http is not None:
            http.close()

    def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> list[Scene]:
        """Each scene as the server reads it.

        Raises:
            UnreachableError: the server cannot be reached.
            BackendError: it answers something else.
            InputError: it refuses the texts.
        """
        if self._http is None:
            self.open(ctx.resources)
        read = self._asked([scene.text for scene in scenes])
        return [
            scene.with_(
                language=own.language,
                symbols=own.symbols,
                pieces=own.pieces,
                hypertokens=own.hypertokens,
            )
            for scene, own in zip(scenes, read, strict=True)
        ]

    def _asked(self, texts: list[str]) -> tuple[_Read, ...]:
        assert self._http is not None
        try:
            answer = self._http.post(self._url, json={"input": texts})
        except httpx.HTTPError as error:
            said = f"{self._url} cannot be reached ({type(error).__name__}: {error}); is it up?"
            raise UnreachableError(said) from None
        if answer.status_code in (400, 413):
            raise InputError(f"{self._url} refuses the text: {_message(answer)}")
        if answer.status_code != 200:
            raise BackendError(f"{self._url} answered {answer.status_code}: {_message(answer)}")
        return self._checked(answer, texts)

    def _checked(self, answer: httpx.Response, texts: Sequence[str]) -> tuple[_Read, ...]:
        """The readings, if they are as many as the texts and lie inside of them."""
        try:
            read = _Answer.model_validate_json(answer.content).data
        except ValidationError as error:
            count = error.error_count()
            raise BackendError(f"{self._url} is no scenepipe server: {count} faults in its answer") from None
        if len(read) != len(texts):
            raise BackendError(
                f"{self._url} read {len(read)} texts of {len(texts)}; use the same version on both sides"
            )
        for text, own in zip(texts, read, strict=True):
            spans = [piece.span for piece in own.pieces or ()] + [s for symbol in own.symbols for s in symbol.evidence]
            if any(not 0 <= start <= end <= len(text) for start, end in spans):
                raise BackendError(f"{self._url} found spans outside of a text; use the same version on both sides")
        return read


def _message(answer: httpx.Response) -> str:
    """What the server says, or the beginning of whatever it says instead."""
    try:
        told: Any = answer.json()["error"]["message"]
        return str(told)[:300]
    except (ValueError, KeyError, TypeError):
        return answer.text[:100]
