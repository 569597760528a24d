"""Those that the register bank is measured against, each driven in its own best way: PEFT, llama.cpp, vLLM."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Weights = Mapping[str, float]
ROOT = Path(__file__).parent.parent
_MARK = "figure:"
_VLLM_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}


class Peft:
    """PEFT's mixed batch: a base with the four adapters, one name a row.

    Args:
        cast: keep the adapters in float32, as PEFT loads them by default.
    """

    def __init__(
        self, model: Any, tokenizer: Any, folders: Mapping[str, Path], prompts: Sequence[str], *, cast: bool
    ) -> None:
        from peft import PeftModel

        first, *others = folders
        self._model = PeftModel.from_pretrained(
            model, str(folders[first]), adapter_name=first, autocast_adapter_dtype=cast
        )
        for name in others:
            self._model.load_adapter(str(folders[name]), adapter_name=name, autocast_adapter_dtype=cast)
        self._model.eval()
        self._tokenizer = tokenizer
        self._prompts = prompts

    def measure(self, rows: Sequence[Weights], tokens: int) -> float:
        """Tokens a second."""
        import torch

        names = [next(iter(weights), "__base__") for weights in rows]
        started = time.perf_counter()
        given = self._tokenizer(list(self._prompts), return_tensors="pt", padding=True, padding_side="left")
        torch.manual_seed(0)
        with torch.inference_mode():
            told = self._model.generate(
                **given,
                adapter_names=names,
                do_sample=True,
                temperature=0.7,
                top_k=40,
                top_p=0.95,
                min_p=0.05,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
            )
        spoken = (told.shape[1] - given["input_ids"].shape[1]) * len(rows)
        return float(spoken / (time.perf_counter() - started))


class Llama:
    """llama.cpp's own server with a slot for each request; it batches requests of equal adapters alone."""

    def __init__(self, engine: Any, names: Sequence[str], prompts: Sequence[str]) -> None:
        self._engine = engine
        self._names = names
        self._prompts = prompts

    def measure(self, rows: Sequence[Weights], tokens: int) -> float:
        """Tokens a second; all requests are sent at once and answered whole, which costs the server least."""
        return asyncio.run(self._all(rows, tokens))

    async def _all(self, rows: Sequence[Weights], tokens: int) -> float:
        started = time.perf_counter()
        spoken = sum(await asyncio.gather(*(self._one(number, row, tokens) for number, row in enumerate(rows))))
        return spoken / (time.perf_counter() - started)

    async def _one(self, number: int, weights: Weights, tokens: int) -> int:
        body = {
            "prompt": self._prompts[number],
            "n_predict": tokens,
            "seed": number,
            "ignore_eos": True,
            "cache_prompt": False,
            "lora": [{"id": place, "scale": weights.get(name, 0.0)} for place, name in enumerate(self._names)],
            "temperature": 0.7,
            "top_k": 40,
            "top_p": 0.95,
            "min_p": 0.05,
        }
        answer = await self._engine.post("/completion", body)
        return int(answer["tokens_predicted"])


# --- vLLM in an environment of its own -------------------------------------------------------------------------------


class Vllm:
    """Bare vLLM in a process of its own, asked for one round at a time.

    Args:
        python: interpreter of the environment that has vLLM.
        weights: folder of the base in Transformers' form.
    """

    def __init__(self, python: str, weights: Path, folders: Mapping[str, Path], prompts: Sequence[str]) -> None:
        environment = {**_VLLM_ENVIRONMENT, **os.environ}
        self._process = subprocess.Popen(
            [python, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._ask(
            {
                "weights": str(weights),
                "adapters": {name: str(folder) for name, folder in folders.items()},
                "prompts": list(prompts),
            }
        )

    def measure(self, rows: Sequence[Weights], tokens: int) -> float:
        """Tokens a second."""
        return self._ask({"names": [next(iter(weights), None) for weights in rows], "tokens": tokens})

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _ask(self, question: Mapping[str, Any]) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(_MARK):
                return float(line.removeprefix(_MARK))
        raise SystemExit("vLLM ended; its own words are above")


def _serve_vllm() -> None:
    """The other side: the first line says what to load, every other one is a round."""
    import vllm
    from vllm.lora.request import LoRARequest

    given = json.loads(sys.stdin.readline())
    llm = vllm.LLM(
        model=given["weights"],
        dtype="bfloat16",
        max_model_len=512,
        max_num_seqs=len(given["prompts"]),
        enable_lora=True,
        max_loras=len(given["adapters"]),
        max_lora_rank=16,
        enable_prefix_caching=False,
    )
    requests = {
        name: LoRARequest(name, number, folder)
        for number, (name, folder) in enumerate(given["adapters"].items(), start=1)
    }
    print(f"{_MARK}0", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        drawing = [
            vllm.SamplingParams(
                temperature=0.7, top_k=40, top_p=0.95, min_p=0.05, max_tokens=asked["tokens"], ignore_eos=True
            )
        ] * len(given["prompts"])
        chosen = [requests[name] if name else None for name in asked["names"]]
        started = time.perf_counter()
        told = llm.generate(given["prompts"], drawing, lora_request=chosen, use_tqdm=False)
        spoken = sum(len(each.outputs[0].token_ids) for each in told)
        print(f"{_MARK}{spoken / (time.perf_counter() - started)}", flush=True)


if __name__ == "__main__":
    _serve_vllm()
