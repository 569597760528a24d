"""Train a register's LoRA adapter on its own examples: ``python -m scenepipe.training.train registers/poet``.

Completion-only loss on the scene prompt, base in bfloat16, adapter in float32; each row carries the linkage that its
reply unfolds. A quarter of the rows also carry an echo drawn from another row, so that echoes do not change the voice.
The epoch with the lowest dev loss is kept. Writes ``adapters/<model>/`` in one rename: nothing half-written is left under
the final name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import shutil
import time
from pathlib import Path
from typing import Any

from scenepipe.errors import RegisterError
from scenepipe.prompt import PROMPT_VERSION, ScenePrompt

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ECHO_SHARE = 0.25


def encode_row(tokenizer: Any, row: dict[str, Any], echo: str | None) -> tuple[list[int], list[int]]:
    """Token ids and labels of one example; labels are -100 on the prompt, so only the reply is learnt."""
    prompt = ScenePrompt(row["text"], row["language"], row["linkage"], (echo,) if echo else ()).render()
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    tail = tokenizer(" " + row["reply"], add_special_tokens=False)["input_ids"]
    ids = [tokenizer.bos_token_id, *head, *tail, tokenizer.eos_token_id]
    return ids, [-100] * (1 + len(head)) + [*tail, tokenizer.eos_token_id]


def batches(rows: list[tuple[list[int], list[int]]], size: int, pad: int, torch: Any) -> list[tuple[Any, Any, Any]]:
    """Padded (ids, mask, labels) tensors, each [size, longest]."""
    out = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        longest = max(len(ids) for ids, _ in part)
        ids = torch.tensor([i + [pad] * (longest - len(i)) for i, _ in part])
        mask = torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i, _ in part])
        labels = torch.tensor([y + [-100] * (longest - len(y)) for _, y in part])
        out.append((ids, mask, labels))
    return out


def reply_loss(model: Any, ids: Any, mask: Any, labels: Any, torch: Any) -> Any:
    """Mean cross-entropy (nats) over the learnt tokens.

    The head is applied to those positions alone: with 262,144 pieces it is most of a small model's arithmetic.
    """
    base = model.get_base_model()
    hidden = base.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
    target = labels[:, 1:]
    learnt = target != -100
    return torch.nn.functional.cross_entropy(base.lm_head(hidden[learnt]).float(), target[learnt])


def loss_of(model: Any, data: list[tuple[Any, Any, Any]], torch: Any) -> float:
    """Mean loss per learnt token over all batches, in nats."""
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for ids, mask, labels in data:
            n = int((labels[:, 1:] != -100).sum())
            total += float(reply_loss(model, ids, mask, labels, torch)) * n
            count += n
    model.train()
    return total / count


def train(
    folder: Path,
    base: Path,
    model_id: str,
    *,
    base_facts: dict[str, Any],
    rank: int,
    rate: float,
    epochs: int,
    batch: int,
    seed: int,
) -> dict[str, Any]:
    """Train and save; returns the receipt. ``base`` is a folder of safetensors weights.

    Raises:
        RegisterError: there is nothing to learn from, or the loss stopped being a number.
    """
    import peft
    import torch
    import transformers

    random.seed(seed)
    torch.manual_seed(seed)
    rows = [json.loads(line) for line in (folder / "examples.jsonl").read_text(encoding="utf-8").splitlines()]
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, attn_implementation="eager")
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules=list(TARGETS), task_type="CAUSAL_LM"
    )
    model = peft.get_peft_model(model, config)
    split = {name: [row for row in rows if row["split"] == name] for name in ("train", "dev", "test")}
    if not split["train"] or not split["dev"]:
        raise RegisterError(f"{folder.name}: examples.jsonl needs rows of split train and of split dev")
    pad = tokenizer.pad_token_id or 0
    held = {n: batches([encode_row(tokenizer, r, None) for r in split[n]], batch, pad, torch) for n in ("dev", "test")}
    steps = epochs * math.ceil(len(split["train"]) / batch)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, steps // 20 + 1, steps)
    started, curve, best, kept = time.monotonic(), [], math.inf, {}
    base_dev = loss_of(model, held["dev"], torch)
    print(f"{folder.name}: {len(split['train'])} rows, {steps} steps, dev loss of the base {base_dev:.3f}", flush=True)
    for epoch in range(epochs):
        order = random.sample(split["train"], len(split["train"]))
        coded = [
            encode_row(tokenizer, r, random.choice(order)["text"] if random.random() < ECHO_SHARE else None)
            for r in order
        ]
        for number, (ids, mask, labels) in enumerate(batches(coded, batch, pad, torch)):
            loss = reply_loss(model, ids, mask, labels, torch)
            if not torch.isfinite(loss):
                raise RegisterError(
                    f"{folder.name}: the loss is {loss.item()} in epoch {epoch + 1}; lower the rate {rate:g}"
                )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            if number % 10 == 0:
                print(
                    f"  epoch {epoch + 1} step {number} loss {loss.item():.3f} {time.monotonic() - started:.0f} s",
                    flush=True,
                )
        dev = loss_of(model, held["dev"], torch)
        curve.append(round(dev, 4))
        print(f"  epoch {epoch + 1}: dev loss {dev:.4f}", flush=True)
        if dev < best:
            best = dev
            kept = {k: v.detach().clone() for k, v in peft.get_peft_model_state_dict(model).items()}
    peft.set_peft_model_state_dict(model, kept)
    figures = {
        "dev_loss_base": round(base_dev, 4),
        "dev_loss_by_epoch": curve,
        "test_loss": round(loss_of(model, held["test"], torch), 4),
    }
    return save(
        folder,
        model_id,
        kept,
        config,
        base_facts,
        figures,
        {
            "rank": rank,
            "alpha": 2 * rank,
            "rate": rate,
            "epochs": epochs,
            "batch": batch,
            "seed": seed,
            "rows": len(split["train"]),
            "seconds": round(time.monotonic() - started),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        },
    )


def save(
    folder: Path,
    model_id: str,
    weights: dict[str, Any],
    config: Any,
    base_facts: dict[str, Any],
    figures: dict[str, Any],
    training: dict[str, Any],
) -> dict[str, Any]:
    """Write the adapter (float16 safetensors), its PEFT config and its receipt; returns the receipt."""
    import torch
    from safetensors.torch import save_file

    final = folder / "adapters" / model_id
    building = final.with_name(final.name + ".part")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    save_file({k: v.to(torch.float16).contiguous() for k, v in weights.items()}, building / "adapter_model.safetensors")
    plain = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model_id,
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted(TARGETS),
    }
    (building / "adapter_config.json").write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    receipt = {
        "receipt": 1,
        "model": model_id,
        "prompt_version": PROMPT_VERSION,
        "base": base_facts,
        "adapter_sha256": _sha256(building / "adapter_model.safetensors"),
        "data_sha256": _sha256(folder / "examples.jsonl"),
        "training": training,
        "figures": figures,
    }
    (building / "receipt.json").write_text(json.dumps(receipt, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    building.rename(final)
    return receipt


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Command line; fetches the base and turns it into safetensors once."""
    from scenepipe.models import fetch
    from scenepipe.models.dequantise import safetensors_of

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    base = fetch.local(given.model) or fetch.pull(given.model, say=print)
    receipt = train(
        given.folder.resolve(),
        safetensors_of(base),
        base.id,
        base_facts={"sha256": base.sha256, "tokenizer_sha256": base.tokenizer_sha256},
        rank=given.rank,
        rate=given.rate,
        epochs=given.epochs,
        batch=given.batch,
        seed=given.seed,
    )
    print(json.dumps(receipt["figures"]))
    print(f"name it in {given.folder / 'register.yaml'} under adapters:  {base.id}: adapters/{base.id}")


if __name__ == "__main__":
    main()
