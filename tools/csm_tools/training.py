"""`csm train` beside the same steps in Hugging Face's own modules with torch's AdamW."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import CsmProcessor, get_linear_schedule_with_warmup

from csm_tools import reference as hf
from csm_tools.program import run_measured

LEARNING_RATE, WEIGHT_DECAY, WARMUP, CLIP = 1e-3, 0.1, 4, 1.0


def hugging_face_steps(folder: Path, conversation: Path, steps: int) -> tuple[list[dict[str, float]], Any]:
    """Loss, gradient norm and seconds of each step, all conversations in one batch; the model."""
    model, processor = hf.load_model(folder).train(), CsmProcessor.from_pretrained(folder)
    inputs = hf.prepare(processor, conversation, output_labels=True)
    parameters = {name: p for name, p in model.named_parameters() if not name.startswith("codec_model")}
    groups = [
        {"params": [p for p in parameters.values() if p.dim() > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters.values() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    schedule = get_linear_schedule_with_warmup(optimizer, WARMUP, steps)
    lines = []
    for _ in range(steps):
        start = time.perf_counter()
        loss = model(**inputs).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        seconds = time.perf_counter() - start
        lines.append({"loss": loss.item(), "grad_norm": norm.item(), "seconds": seconds})
    return lines, model


def csm_steps(binary: Path, folder: Path, conversation: Path, steps: int, output: Path, threads: int) -> list[dict]:
    options = ["--model", folder, "--train-data", conversation, "--output", output, "--max-steps", steps]
    options += ["--learning-rate", LEARNING_RATE, "--weight-decay", WEIGHT_DECAY, "--warmup-steps", WARMUP]
    options += ["--max-grad-norm", CLIP, "--logging-steps", 1, "--depth-decoder-labels-ratio", 1]
    options += ["--per-device-train-batch-size", 64, "--dtype", "f32", "--quiet", "--threads", threads]
    run_measured([str(binary), "train", *map(str, options)])
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def largest_difference(theirs: Any, folder: Path) -> float:
    """Of the weights after training, relative to the largest weight of each tensor.

    But for biases of keys: they shift all scores of a query nearly alike, so that their gradients are
    next to nothing, rounding errors, which Adam makes as large as any other.
    """
    ours = dict(hf.load_model(folder).named_parameters())
    return max(
        ((p - ours[name]).abs().max() / p.abs().max()).item()
        for name, p in theirs.named_parameters()
        if not name.startswith("codec_model") and not name.endswith("k_proj.bias")
    )
