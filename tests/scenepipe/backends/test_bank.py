"""The register bank on tiny random models of every family: each row is what its own composed adapter makes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from scenepipe.backends.bank import RegisterBank  # noqa: E402
from scenepipe.errors import RegisterError  # noqa: E402
from scenepipe.models.adapter import Adapter, LowRank, compose  # noqa: E402

MIXTURES = ((0.6, 0.4, 0.0), (0.0, 0.0, 0.0), (0.1, 0.2, 0.7), (1.0, 0.0, 0.0))
CLOSE = 1e-4


def ids(rows: int, width: int = 9, seed: int = 0) -> Any:
    return torch.randint(3, 150, (rows, width), generator=torch.Generator().manual_seed(seed))


def logits(model: Any, tokens: Any) -> Any:
    with torch.inference_mode():
        return model(input_ids=tokens).logits


def mixed(model: Any, bank: RegisterBank, tokens: Any, mixtures: Any) -> Any:
    with bank.mixing(torch.tensor(mixtures, dtype=torch.float32)):
        return logits(model, tokens)


def merged(tiny: Any, adapters: dict[str, Adapter], weights: tuple[float, ...]) -> Any:
    """The model with the weighted sum of the updates added to its own weights."""
    model = tiny.copy()
    if any(weights):
        for name, pair in compose(list(adapters.values()), weights).modules.items():
            model.get_submodule(name).weight.data += torch.from_numpy(pair.delta)
    return model


def in_peft(tiny: Any, adapter: Adapter) -> Any:
    """The model with an adapter applied by PEFT."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.rank,
        target_modules=list(adapter.modules),
        rank_pattern={f"^{name}": pair.rank for name, pair in adapter.modules.items()},
        alpha_pattern={f"^{name}": pair.rank for name, pair in adapter.modules.items()},
    )
    model = peft.get_peft_model(tiny.copy(), config).eval()
    for name, pair in adapter.modules.items():
        layer = model.base_model.model.get_submodule(name)
        layer.lora_A["default"].weight.data = torch.from_numpy(pair.a)
        layer.lora_B["default"].weight.data = torch.from_numpy(pair.b)
    return model


def far(one: Any, other: Any) -> float:
    return float((one - other).abs().max())


def test_each_row_is_what_its_mixture_merged_into_the_weights_says(tiny: Any, registers: dict[str, Adapter]) -> None:
    tokens, model = ids(len(MIXTURES)), tiny.copy()
    bank = RegisterBank(model, registers, dtype=torch.float32)
    told = mixed(model, bank, tokens, MIXTURES)
    for row, weights in enumerate(MIXTURES):
        alone = logits(merged(tiny, registers, weights), tokens[row : row + 1])
        assert far(told[row], alone[0]) <= CLOSE
    assert far(told[0], logits(tiny.model, tokens)[0]) > 100 * CLOSE


def test_a_composed_adapter_is_the_sum_of_its_parts(tiny: Any, registers: dict[str, Adapter]) -> None:
    """One adapter in the place of three, against w1*B1*A1 + w2*B2*A2 + w3*B3*A3 added up in float64."""
    tokens, summed, model = ids(2), tiny.copy(), tiny.copy()
    weights = dict(zip(registers, (0.5, 0.3, 0.2), strict=True))
    for register, adapter in registers.items():
        for name, pair in adapter.modules.items():
            layer = summed.get_submodule(name)
            delta = weights[register] * (pair.b.astype(np.float64) @ pair.a.astype(np.float64))
            layer.weight.data = (layer.weight.data.double() + torch.from_numpy(delta)).float()
    bank = RegisterBank(model, {"all": compose(list(registers.values()), list(weights.values()))}, dtype=torch.float32)
    told = mixed(model, bank, tokens, [(1.0,), (1.0,)])
    assert far(told, logits(summed, tokens)) <= CLOSE
    assert far(told, logits(tiny.model, tokens)) > 100 * CLOSE


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # PEFT 0.21 asks for it
def test_each_row_is_what_peft_makes_of_its_composed_adapter(tiny: Any, registers: dict[str, Adapter]) -> None:
    tokens, model = ids(len(MIXTURES)), tiny.copy()
    bank = RegisterBank(model, registers, dtype=torch.float32)
    told = mixed(model, bank, tokens, MIXTURES)
    for row in (0, 2, 3):
        composed = compose(list(registers.values()), MIXTURES[row])
        assert far(told[row], logits(in_peft(tiny, composed), tokens[row : row + 1])[0]) <= CLOSE


def test_a_base_row_among_others_is_the_bare_base(tiny: Any, registers: dict[str, Adapter]) -> None:
    tokens, model = ids(len(MIXTURES)), tiny.copy()
    bank = RegisterBank(model, registers, dtype=torch.float32)
    bare = logits(tiny.model, tokens)
    assert far(mixed(model, bank, tokens, MIXTURES)[1], bare[1]) <= 1e-6
    assert torch.equal(logits(model, tokens), bare), "outside mixing() nothing is added"
    assert torch.equal(mixed(model, bank, tokens, np.zeros((4, 3), np.float32)), bare)


def test_no_register_leaks_into_another_row(tiny: Any, registers: dict[str, Adapter]) -> None:
    tokens, model = ids(len(MIXTURES)), tiny.copy()
    bank = RegisterBank(model, registers, dtype=torch.float32)
    one = mixed(model, bank, tokens, MIXTURES)
    others = mixed(model, bank, tokens, (MIXTURES[0], (0.9, 0.0, 0.1), (0.0, 1.0, 0.0), (0.3, 0.3, 0.3)))
    assert far(one[0], others[0]) <= 1e-6
    assert all(far(one[row], others[row]) > 100 * CLOSE for row in (1, 2, 3))


def test_a_weight_of_zero_is_the_register_left_out(tiny: Any, registers: dict[str, Adapter]) -> None:
    tokens, whole, part = ids(1), tiny.copy(), tiny.copy()
    bank = RegisterBank(whole, registers, dtype=torch.float32)
    fewer = {name: registers[name] for name in ("poet", "sailor")}
    small = RegisterBank(part, fewer, dtype=torch.float32)
    told = mixed(whole, bank, tokens, [(0.5, 0.0, 0.5)])
    assert far(told, mixed(part, small, tokens, [(0.5, 0.5)])) <= 1e-5


@settings(max_examples=15, deadline=None)
@given(weights=st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 2), min_size=1, max_size=5))
def test_any_weights_add_up(weights: list[tuple[float, float]], tiny_of: Any, make_adapter: Any) -> None:
    """The hook is linear in the weights: w1*d1 + w2*d2 is what one layer's output changes by."""
    tiny = tiny_of("llama")
    layer = tiny.model.get_submodule(tiny.targets[0])
    pairs = {name: make_adapter(tiny, rank=3, seed=seed, layers=1) for name, seed in (("a", 1), ("b", 2))}
    x = torch.randn(len(weights), 4, layer.in_features, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        plain = layer(x)
        bank = RegisterBank(tiny.model, pairs, dtype=torch.float32)
        with bank.mixing(torch.tensor(weights)):
            told = layer(x)
        deltas = [torch.from_numpy(adapter.modules[tiny.targets[0]].delta) for adapter in pairs.values()]
        for row, (one, other) in enumerate(weights):
            expected = plain[row] + x[row] @ (one * deltas[0] + other * deltas[1]).T
            assert torch.allclose(told[row], expected, atol=1e-4)


# --- bases of another kind -------------------------------------------------------------------------------------------


class Int8Linear(torch.nn.Module):  # type: ignore[misc]
    """A linear layer as quantised ones are: weights of another type, a forward that takes x alone."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach()
        self.scale = weight.abs().amax(1, keepdim=True) / 127
        self.quantised = (weight / self.scale).round().to(torch.int8)
        self.bias = layer.bias

    def forward(self, x: Any) -> Any:
        return torch.nn.functional.linear(x, self.quantised.to(x.dtype) * self.scale, self.bias)


def test_a_quantised_base_takes_the_bank(tiny: Any, registers: dict[str, Adapter]) -> None:
    for name in tiny.targets:
        tiny.model.set_submodule(name, Int8Linear(tiny.model.get_submodule(name)))
    tokens, model = ids(len(MIXTURES)), tiny.copy()
    told = mixed(model, RegisterBank(model, registers, dtype=torch.float32), tokens, MIXTURES)
    assert far(told[1], logits(tiny.model, tokens)[1]) <= 1e-6
    for row in (0, 2):
        dense = tiny.copy()
        for name, pair in compose(list(registers.values()), MIXTURES[row]).modules.items():
            layer = dense.get_submodule(name)
            plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
            plain.weight.data = layer.quantised.float() * layer.scale + torch.from_numpy(pair.delta)
            plain.bias = layer.bias
            dense.set_submodule(name, plain)
        assert far(told[row], logits(dense, tokens[row : row + 1])[0]) <= CLOSE


@pytest.mark.parametrize("kind", ["bitsandbytes-8bit", "bitsandbytes-4bit"])
def test_a_bitsandbytes_base_takes_the_bank(kind: str, tiny_of: Any, make_adapter: Any) -> None:
    bnb = pytest.importorskip("bitsandbytes")
    tiny = tiny_of("llama")
    for name in tiny.targets:
        layer = tiny.model.get_submodule(name)
        if kind == "bitsandbytes-8bit":
            made = bnb.nn.Linear8bitLt(layer.in_features, layer.out_features, bias=False, has_fp16_weights=False)
            made.weight = bnb.nn.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
        else:
            made = bnb.nn.Linear4bit(layer.in_features, layer.out_features, bias=False, quant_type="nf4")
            made.weight = bnb.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
        tiny.model.set_submodule(name, made.to("cpu"))
    the_bank_holds_on(tiny, make_adapter)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)  # torchao's own
@pytest.mark.parametrize("bits", [8, 4])
def test_a_torchao_base_takes_the_bank(bits: int, tiny_of: Any, make_adapter: Any) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    tiny = tiny_of("qwen3")
    if bits == 8:
        config = quantization.Int8WeightOnlyConfig()
    else:
        config = quantization.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=quantization.PerGroup(32))
    plain = logits(tiny.model, ids(1))
    quantization.quantize_(tiny.model, config, filter_fn=lambda _, name: name in tiny.targets)
    assert 1e-4 < far(logits(tiny.model, ids(1)), plain) < 2.0, "it was quantised"
    the_bank_holds_on(tiny, make_adapter)


def the_bank_holds_on(tiny: Any, make_adapter: Any) -> None:
    """Rows of a mixture say what its composed adapter says alone, base rows what the bare base says."""
    adapters = {"poet": make_adapter(tiny, rank=4, seed=1), "logician": make_adapter(tiny, rank=2, seed=2)}
    tokens, weights = ids(3), ((0.7, 0.3), (0.0, 0.0), (0.0, 1.0))
    bare = logits(tiny.model, tokens)
    bank = RegisterBank(tiny.model, adapters, dtype=torch.float32)
    told = mixed(tiny.model, bank, tokens, weights)
    assert torch.equal(told[1], bare[1])
    bank.remove()
    for row in (0, 2):
        one = RegisterBank(tiny.model, {"all": compose(list(adapters.values()), weights[row])}, dtype=torch.float32)
        assert far(told[row], mixed(tiny.model, one, tokens[row : row + 1], [(1.0,)])[0]) <= CLOSE
        one.remove()


def test_bfloat16_stays_bfloat16_and_near(tiny_of: Any, make_adapter: Any) -> None:
    tiny = tiny_of("qwen3")
    adapters = {"poet": make_adapter(tiny, rank=4, seed=1)}
    exact = mixed(tiny.model, RegisterBank(tiny.model, adapters, dtype=torch.float32), ids(2), [(0.5,), (0.0,)])
    half = tiny_of("qwen3").model.to(torch.bfloat16)
    told = mixed(half, RegisterBank(half, adapters, dtype=torch.bfloat16), ids(2), [(0.5,), (0.0,)])
    assert told.dtype == torch.bfloat16
    assert far(told.float(), exact) < 0.05 * float(exact.abs().max())


# --- what is refused -------------------------------------------------------------------------------------------------


def test_layers_that_the_model_has_not_are_named(tiny_of: Any) -> None:
    tiny = tiny_of("llama")
    pair = LowRank(np.zeros((2, 64), np.float32), np.zeros((64, 2), np.float32))
    adapter = Adapter({"model.layers.9.self_attn.q_proj": pair}, "0" * 64)
    with pytest.raises(RegisterError, match=r"'sailor'.*layers\.9.*did you mean 'model\.layers\.1\.self_attn\.q_proj'"):
        RegisterBank(tiny.model, {"sailor": adapter}, dtype=torch.float32)


def test_layers_of_another_size_are_named(tiny_of: Any) -> None:
    tiny = tiny_of("llama")
    pair = LowRank(np.zeros((2, 80), np.float32), np.zeros((64, 2), np.float32))
    adapter = Adapter({"model.layers.0.self_attn.q_proj": pair}, "0" * 64)
    with pytest.raises(RegisterError, match="from 80 to 64 values.*64 and 64.*another base model"):
        RegisterBank(tiny.model, {"sailor": adapter}, dtype=torch.float32)


def test_removing_the_bank_leaves_the_bare_base(tiny_of: Any, make_adapter: Any) -> None:
    tiny = tiny_of("llama")
    bare = logits(tiny.model, ids(1))
    bank = RegisterBank(tiny.model, {"poet": make_adapter(tiny, rank=4, seed=1)}, dtype=torch.float32)
    with bank.mixing(torch.ones(1, 1)):
        assert not torch.equal(logits(tiny.model, ids(1)), bare)
        bank.remove()
        assert torch.equal(logits(tiny.model, ids(1)), bare)


def test_mixing_ends_with_its_block_also_when_that_fails(tiny_of: Any, make_adapter: Any) -> None:
    tiny = tiny_of("llama")
    bare = logits(tiny.model, ids(1))
    bank = RegisterBank(tiny.model, {"poet": make_adapter(tiny, rank=4, seed=1)}, dtype=torch.float32)
    with pytest.raises(KeyError), bank.mixing(torch.ones(1, 1)):
        raise KeyError
    assert torch.equal(logits(tiny.model, ids(1)), bare)
