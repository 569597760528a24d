"""Builders: a tiny GGUF, a PEFT adapter folder, an HTTP server that breaks where it is told to."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from scenepipe.models import catalogue, download

BLOCKS, EMBEDDING, HEADS, KV_HEADS, FEED_FORWARD = 2, 16, 4, 2, 24
WORDS = ["▁", "a", "b", "▁a", "▁b", "ab", "▁ab", "ш", "а", "г", "ша", "шаг", "▁шаг", "  "]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no waiting between tries, no index or hub but the one a test sets."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SCENEPIPE_CACHE", str(folder))
    for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nobody answers
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(download, "BACKOFF_SECONDS", 0.001)
    return folder


def write_tiny_gguf(path: Path, *, arch: str = "llama", kind: str = "llama", extra: int = 0) -> Path:
    """A GGUF with every tensor a LoRA may target, and a vocabulary of 256 bytes and a few words."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256)), *WORDS]
    types = [2, 3, 3, *[6] * 256, *[1] * (len(WORDS) - 1), 4]
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(BLOCKS)
    writer.add_embedding_length(EMBEDDING)
    writer.add_context_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    if kind == "llama":
        writer.add_token_scores([0.0] * 259 + [-float(n) for n in range(len(WORDS))])
    else:
        writer.add_token_merges(["a b", "ш а", "ша г"])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(False)
    shapes = {
        "attn_q": (EMBEDDING, EMBEDDING),
        "attn_k": (EMBEDDING // 2, EMBEDDING),
        "ffn_up": (FEED_FORWARD, EMBEDDING),
    }
    for block in range(BLOCKS):
        for name, shape in shapes.items():
            writer.add_tensor(f"blk.{block}.{name}.weight", np.zeros(shape, np.float32))
    writer.add_tensor("token_embd.weight", np.random.default_rng(7).random((extra + len(tokens), 16), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Callable[..., Path]:
    return lambda name="tiny.gguf", **options: write_tiny_gguf(tmp_path / name, **options)


MODULES = {
    "model.layers.0.self_attn.q_proj": (EMBEDDING, EMBEDDING),
    "model.layers.0.self_attn.k_proj": (EMBEDDING // 2, EMBEDDING),
    "model.layers.1.mlp.up_proj": (FEED_FORWARD, EMBEDDING),
}


def write_adapter_folder(folder: Path, *, seed: int = 0, ranks: dict[str, int] | None = None, **config: Any) -> Path:
    """A PEFT LoRA folder over `MODULES`; ``config`` overrides settings."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    tensors = {}
    for module, (out, inside) in MODULES.items():
        r = (ranks or {}).get(module, 4)
        key = f"base_model.model.{module}"
        tensors[f"{key}.lora_A.weight"] = rng.normal(size=(r, inside)).astype(np.float32)
        tensors[f"{key}.lora_B.weight"] = rng.normal(size=(out, r)).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    plain = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "target_modules": ["q_proj"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(plain))
    return folder


@pytest.fixture
def adapter_folder(tmp_path: Path) -> Callable[..., Path]:
    return lambda name="adapter", **options: write_adapter_folder(tmp_path / name, **options)


# --- a server -----------------------------------------------------------------------------------------------------------


class Shelf:
    """What the server holds, how it misbehaves, and what it was asked.

    ``breaks[path]`` lists after how many bytes the next answers break off; ``answers[path]`` lists status codes to
    give first; ``ranges`` False ignores Range; ``delay`` seconds before each answer.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.breaks: dict[str, list[int]] = {}
        self.answers: dict[str, list[int]] = {}
        self.ranges = True
        self.delay = 0.0
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""

    def gets(self, path: str) -> list[str | None]:
        """The Range header of each request for a path."""
        return [header for asked, header in self.asked if asked == path]


def _handler(shelf: Shelf) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, given = self.path, self.headers.get("Range")
            shelf.asked.append((path, given))
            time.sleep(shelf.delay)
            waiting = shelf.answers.get(path)
            if waiting or path not in shelf.files:
                self.send_error(waiting.pop(0) if waiting else 404)
                return
            data, start = shelf.files[path], 0
            if given and shelf.ranges:
                start = int(given.removeprefix("bytes=").rstrip("-"))
                if start >= len(data):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            self.send_header("Content-Type", shelf.types.get(path, "application/octet-stream"))
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            breaks = shelf.breaks.get(path)
            self.wfile.write(data[start : start + breaks.pop(0)] if breaks else data[start:])
            self.close_connection = True

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    found = Shelf()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(found))
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


# --- a catalogue of one tiny model in two wheels -------------------------------------------------------------------------


class TinyModel:
    """The model ``tiny``: its bytes, its entry, and how it is put on a shelf as an index or a hub."""

    def __init__(self, folder: Path) -> None:
        self.data = write_tiny_gguf(folder / "source.gguf", extra=4000).read_bytes()
        self.sha256 = hashlib.sha256(self.data).hexdigest()
        half = len(self.data) // 2
        self.wheels = [self._wheel(folder, n, part) for n, part in enumerate((self.data[:half], self.data[half:]), 1)]
        self.paths = [f"/files/tiny_part{n}-1.0-py3-none-any.whl" for n in (1, 2)]

    @staticmethod
    def _wheel(folder: Path, number: int, part: bytes) -> bytes:
        path = folder / f"{number}.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(f"tiny_part{number}/data/part", part)
        return path.read_bytes()

    def on_index(self, shelf: Shelf, root: str = "/simple") -> None:
        for number, (path, data) in enumerate(zip(self.paths, self.wheels, strict=True), 1):
            shelf.files[path] = data
            digest = hashlib.sha256(data).hexdigest()
            page = f'<!DOCTYPE html><a href="../..{path}#sha256={digest}">tiny</a>'
            shelf.files[f"{root}/tiny-part{number}/"] = page.encode()
            shelf.types[f"{root}/tiny-part{number}/"] = "text/html"

    def on_hub(self, shelf: Shelf) -> str:
        path = "/maker/tiny/resolve/main/tiny.gguf"
        shelf.files[path] = self.data
        return path

    def entry(self, **changes: Any) -> dict[str, Any]:
        wheels = [
            {
                "distribution": f"tiny-part{n}",
                "version": "1.0",
                "member": f"tiny_part{n}/data/part",
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            for n, data in enumerate(self.wheels, 1)
        ]
        both = {"ru": "текст", "en": "text"}
        return {
            "id": "tiny",
            "titles": both,
            "description": both,
            "languages": ["ru", "en"],
            "licence": "CC0-1.0",
            "licence_url": "https://example.org/licence",
            "notice": {"ru": "лицензия", "en": "the notice"},
            "filename": "tiny.gguf",
            "size": len(self.data),
            "sha256": self.sha256,
            "sources": [
                {"kind": "index", "wheels": wheels},
                {"kind": "hub", "repo": "maker/tiny", "file": "tiny.gguf"},
            ],
            **changes,
        }


@pytest.fixture
def tiny_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyModel:
    """The catalogue holds one model, ``tiny``."""
    model = TinyModel(tmp_path)
    known = {"tiny": catalogue.ModelEntry.model_validate(model.entry())}
    monkeypatch.setattr(catalogue, "_entries", lambda: known)
    return model
