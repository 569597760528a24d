"""Quantised bases as plain keys: what each method is called, what it takes, and which packages it needs."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from scenepipe.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path

GPTQ_PACKAGES = {"gptqmodel": "gptqmodel", "optimum": "optimum"}
AWQ_PACKAGES = {"gptqmodel": "gptqmodel", "accelerate": "accelerate"}
IN_CHECKPOINT: dict[str, dict[str, str]] = {
    "gptq": GPTQ_PACKAGES,
    "awq": AWQ_PACKAGES,
    "bitsandbytes": {"bitsandbytes": "bitsandbytes", "accelerate": "accelerate"},
    "compressed-tensors": {"compressed_tensors": "compressed-tensors"},
    "torchao": {"torchao": "torchao"},
    "hqq": {"hqq": "hqq"},
}
"""Packages by what a checkpoint's own ``quantization_config`` says: import name -> what pip installs."""


class _Method(BaseModel):
    """One way to quantise; ``packages``: import name -> what pip installs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    packages: ClassVar[dict[str, str]] = {}
    checkpoint: ClassVar[bool] = False

    def config(self, dtype: Any) -> Any:
        """The configuration object of Transformers."""
        raise NotImplementedError


class Bitsandbytes4(_Method):
    """Four bits a weight, quantised while loading (Dettmers et al. 2023, arXiv 2305.14314)."""

    packages = IN_CHECKPOINT["bitsandbytes"]

    method: Literal["bitsandbytes-4bit"]
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = False

    def config(self, dtype: Any) -> Any:
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.quant_type,
            bnb_4bit_use_double_quant=self.double_quant,
            bnb_4bit_compute_dtype=dtype,
        )


class Bitsandbytes8(_Method):
    """Eight bits a weight, quantised while loading (Dettmers et al. 2022, arXiv 2208.07339)."""

    packages = IN_CHECKPOINT["bitsandbytes"]

    method: Literal["bitsandbytes-8bit"]
    threshold: Annotated[float, Field(ge=0.0)] = 6.0
    cpu_offload: bool = False

    def config(self, dtype: Any) -> Any:
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_8bit=True,
            llm_int8_threshold=self.threshold,
            llm_int8_enable_fp32_cpu_offload=self.cpu_offload,
        )


class Gptq(_Method):
    """A checkpoint that was quantised with GPTQ; name its folder with ``weights``."""

    packages = GPTQ_PACKAGES
    checkpoint = True

    method: Literal["gptq"]
    bits: Literal[2, 3, 4, 8] = 4
    kernel: str = "auto"

    def config(self, dtype: Any) -> Any:
        from transformers import GPTQConfig

        return GPTQConfig(bits=self.bits, backend=self.kernel)


class Awq(_Method):
    """A checkpoint that was quantised with AWQ; name its folder with ``weights``."""

    packages = AWQ_PACKAGES
    checkpoint = True

    method: Literal["awq"]
    bits: Literal[4] = 4
    kernel: str = "auto"

    def config(self, dtype: Any) -> Any:
        from transformers import AwqConfig

        return AwqConfig(bits=self.bits, backend=self.kernel)


class Gguf(_Method):
    """The model's GGUF as Transformers reads it: its blocks stay packed where a kernel exists for the device.

    ``dequantize`` unpacks them while loading instead, without the copy that is otherwise kept in the cache.
    """

    method: Literal["gguf"]
    dequantize: bool = False

    def config(self, dtype: Any) -> Any:
        from transformers import GgufConfig

        return GgufConfig(dequantize=self.dequantize)


Quantization = Annotated[Bitsandbytes4 | Bitsandbytes8 | Gptq | Awq | Gguf, Field(discriminator="method")]


def require(what: str, packages: dict[str, str]) -> None:
    """See that packages are there.

    Raises:
        BackendError: one is not; gives the pip command for all of them.
    """
    missing = [name for module, name in packages.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise BackendError(f"{what} needs the Python package {' and '.join(map(repr, missing))}: {_pip(missing)}")


def _pip(names: list[str]) -> str:
    return "pip install " + " ".join(f'"{name}"' if set(name) & set("<>=[") else name for name in names)


def packages_of(method: Any) -> dict[str, str]:
    """What a method of the options needs; a packed GGUF needs the kernels that Transformers names."""
    if isinstance(method, Gguf) and not method.dequantize:
        return {"kernels": "kernels>=0.18.2,<0.19"}
    return dict(method.packages)


def checkpoint_packages(config: Any, folder: Path) -> None:
    """See that what a checkpoint's own configuration asks for is installed.

    Raises:
        BackendError: it is not.
    """
    told = getattr(config, "quantization_config", None)
    if told is None:
        return
    name = str(told.get("quant_method", "") if isinstance(told, dict) else told.quant_method).lower()
    name = name.rpartition(".")[2].replace("_", "-")
    for known, packages in IN_CHECKPOINT.items():
        if name.startswith(known):
            require(f"the checkpoint {folder} (quantised with {known})", packages)
