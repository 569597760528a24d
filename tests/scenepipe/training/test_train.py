"""Training, for real, on a tiny random model: the loss falls, a cut run goes on exactly, nothing half-written stays."""

from __future__ import annotations

import errno
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scenepipe.errors import RegisterError
from scenepipe.models.adapter import load_adapter
from scenepipe.prompt import PROMPT_VERSION
from scenepipe.register import Register, load_register
from scenepipe.training import adapter_folder
from scenepipe.training.settings import TARGETS, TrainSettings
from scenepipe.training.train import Base, train
from tests.scenepipe.training.conftest import make_register

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SMALL: dict[str, Any] = {
    "rank": 4,
    "rate": 0.02,
    "epochs": 2,
    "batch": 4,
    "evaluations": 1,
    "seed": 1,
    "dtype": "float32",
}


def settings(**more: Any) -> TrainSettings:
    return TrainSettings(**SMALL | more)


def adapter_bytes(register: Register) -> bytes:
    return (register.folder / "adapters/tiny/adapter_model.safetensors").read_bytes()


def test_training_lowers_the_loss_and_leaves_an_adapter_with_its_receipt(base: Base, tmp_path: Path) -> None:
    register = make_register(tmp_path)
    receipt = train(register, base, settings())
    figures, training = receipt["figures"], receipt["training"]
    assert figures["dev_loss"] < figures["dev_loss_base"] - 0.2
    assert figures["test_loss"] > 0
    assert figures["steps"] == 6
    assert training["rows"] == 10
    assert training["learnt_tokens"] > 10 * 2
    assert {"torch", "transformers", "peft", "trl"} <= set(training)
    assert (receipt["model"], receipt["prompt_version"]) == ("tiny", PROMPT_VERSION)
    assert receipt["base"] == {"sha256": base.sha256, "tokenizer_sha256": base.tokenizer_sha256}
    folder = register.folder / "adapters/tiny"
    adapter = load_adapter(folder)
    assert adapter.sha256 == receipt["adapter_sha256"]
    assert len(adapter.modules) == 2 * len(TARGETS)
    assert json.loads((folder / "receipt.json").read_text()) == receipt
    assert "<svg" in (folder / "loss.svg").read_text(encoding="utf-8")
    assert [path.name for path in (register.folder / "adapters").iterdir()] == ["tiny"]


def test_the_same_seed_gives_the_same_adapter_and_another_gives_another(base: Base, tmp_path: Path) -> None:
    register = make_register(tmp_path)
    train(register, base, settings(epochs=1))
    first = adapter_bytes(register)
    train(register, base, settings(epochs=1))
    assert adapter_bytes(register) == first
    train(register, base, settings(epochs=1, seed=2))
    assert adapter_bytes(register) != first


def test_a_run_that_was_cut_short_goes_on_exactly(base: Base, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, cut = make_register(tmp_path / "a"), make_register(tmp_path / "b")
    train(whole, base, settings(dropout=0.1))

    class Cut(Exception):
        pass

    def stop(step: int, steps: int, figures: dict[str, float]) -> None:
        if step == 4:
            raise Cut

    with pytest.raises(Cut):
        train(cut, base, settings(dropout=0.1), progress=stop)
    work = cut.folder / "adapters/.tiny.training"
    assert [path.name for path in work.glob("checkpoint-*")] == ["checkpoint-3"]
    pickled = [path.name for path in work.rglob("*") if path.suffix in (".pt", ".pth", ".bin", ".pkl")]
    assert pickled == []
    receipt = train(cut, base, settings(dropout=0.1))
    assert receipt["training"]["resumed"] is True
    assert adapter_bytes(cut) == adapter_bytes(whole)
    assert not work.exists()


def test_a_checkpoint_of_other_settings_is_not_gone_on_with(base: Base, tmp_path: Path) -> None:
    register = make_register(tmp_path)

    def stop(step: int, steps: int, figures: dict[str, float]) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(register, base, settings(), progress=stop)
    assert train(register, base, settings(rate=0.01))["training"]["resumed"] is False


def test_training_stops_early_where_the_dev_loss_no_longer_falls(base: Base, tmp_path: Path) -> None:
    register = make_register(tmp_path)
    figures = train(register, base, settings(rate=0.5, epochs=40, patience=2))["figures"]
    assert figures["steps"] < 40 * 3
    assert figures["best_step"] <= figures["steps"] - 2 * 3


@pytest.mark.parametrize("how", [{"rslora": True}, {"alpha_pattern": {"q_proj": 32.0}}])
def test_scaling_that_other_engines_ignore_is_folded_into_the_weights(
    base: Base, tmp_path: Path, how: dict[str, Any]
) -> None:
    register = make_register(tmp_path)
    receipt = train(register, base, settings(**how))
    config = json.loads((register.folder / "adapters/tiny/adapter_config.json").read_text())
    assert (config["use_rslora"], config.get("alpha_pattern"), config["lora_alpha"]) == (False, None, config["r"])
    assert abs(_loss_of_saved(base, register) - receipt["figures"]["dev_loss"]) < 5e-3


def _loss_of_saved(base: Base, register: Register) -> float:
    """Dev loss of what was written, loaded by PEFT itself."""
    import peft
    import torch
    import transformers

    from scenepipe.register import examples
    from scenepipe.training.rows import encode_rows

    tokenizer = transformers.AutoTokenizer.from_pretrained(base.folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(base.folder, attn_implementation="eager")
    model = peft.PeftModel.from_pretrained(model, register.folder / "adapters/tiny").eval()
    rows = encode_rows(tokenizer, [e for e in examples(register) if e.split == "dev"], max_tokens=200)
    with torch.no_grad():
        losses = [model(torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss for row in rows]
    return float(sum(losses) / len(losses))


def test_rows_to_learn_from_and_to_judge_by_are_needed(base: Base, tmp_path: Path) -> None:
    with pytest.raises(RegisterError, match="of split train and of split dev; it has 4 and 0"):
        train(make_register(tmp_path, ("train",) * 4), base, settings())


def test_a_loss_that_is_no_number_stops_and_leaves_no_adapter(base: Base, tmp_path: Path, monkeypatch: Any) -> None:
    import torch

    register = make_register(tmp_path)
    monkeypatch.setattr(
        torch.nn.functional, "cross_entropy", lambda *a, **k: torch.tensor(math.nan, requires_grad=True)
    )
    with pytest.raises(RegisterError, match=r"the loss is nan in step 1; lower the rate"):
        train(register, base, settings())
    assert not (register.folder / "adapters/tiny").exists()


def test_a_full_disk_leaves_the_old_adapter_and_a_checkpoint_to_go_on_from(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = make_register(tmp_path)
    train(register, base, settings(epochs=1))
    before = adapter_bytes(register)

    def full(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(adapter_folder, "_write_json", full)
        with pytest.raises(RegisterError, match="No space left on device; make room and run the same command again"):
            train(register, base, settings())
    assert adapter_bytes(register) == before
    assert not list((register.folder / "adapters").glob("*.part"))
    assert train(register, base, settings())["training"]["resumed"] is True
    assert adapter_bytes(register) != before


def test_a_full_disk_in_the_middle_of_a_checkpoint(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scenepipe.training import trainer

    register = make_register(tmp_path)
    saved = trainer.save_state

    def full(folder: Path, *given: Any) -> None:
        if folder.name == "checkpoint-6":
            (folder / "state.safetensors").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        saved(folder, *given)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_state", full)
        with pytest.raises(RegisterError, match="could not be written: No space left on device"):
            train(register, base, settings())
    assert not (register.folder / "adapters/tiny").exists()
    assert train(register, base, settings())["training"]["resumed"] is True
    assert (register.folder / "adapters/tiny/receipt.json").is_file()


def test_layers_that_the_model_does_not_have_are_named(base: Base, tmp_path: Path) -> None:
    with pytest.raises(RegisterError, match="targets wq, wk do not fit this model"):
        train(make_register(tmp_path), base, settings(targets=("wq", "wk")))


def test_cuda_that_is_not_there_is_refused(base: Base, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(RegisterError, match="use device: auto or cpu"):
        train(make_register(tmp_path), base, settings(device="cuda"))


def test_another_base_is_another_receipt(base: Base, tmp_path: Path) -> None:
    register = make_register(tmp_path)
    receipt = train(register, replace(base, sha256="2" * 64), settings(epochs=1))
    assert receipt["base"]["sha256"] == "2" * 64
    assert load_register(register.folder).adapters == {}
