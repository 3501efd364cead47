"""Time per frame and memory, csm against Hugging Face in bf16, one after the other on the same cores."""

from pathlib import Path
from statistics import median

import torch
from transformers import CsmProcessor

from csm_tools import reference as hf
from csm_tools.checks import Check
from csm_tools.hf_speed import NUM_WARM_UP, seconds_of_frames
from csm_tools.program import Csm

TIME_LIMIT = 0.6  # of Hugging Face's warm bf16 time
MEMORY_LIMIT = 1.15  # of the checkpoint's size


def hf_seconds_per_frame(folder: Path, conversation: Path, frames: int) -> float:
    model, processor = hf.load_model(folder, torch.bfloat16), CsmProcessor.from_pretrained(folder)
    return median(seconds_of_frames(model, hf.prepare(processor, conversation), frames))


def checkpoint_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def check_speed(csm: Csm, name: str, conversation: Path, frames: int) -> list[Check]:
    """Codes only, no codec on either side, of one conversation without audio."""
    generated = csm.generate(conversation, frames + NUM_WARM_UP, with_audio=False)
    ours = generated.timing["ms_per_frame"]
    theirs = 1000 * hf_seconds_per_frame(csm.model, conversation, frames)
    size, peak = checkpoint_bytes(csm.model), generated.run.peak_bytes
    return [
        Check(
            name,
            "ms per frame",
            ours <= TIME_LIMIT * theirs,
            f"{ours:.0f}, Hugging Face bf16 {theirs:.0f}: {ours / theirs:.2f} ×",
            f"{TIME_LIMIT} ×",
        ),
        Check(
            name,
            "peak memory",
            peak <= MEMORY_LIMIT * size,
            f"{peak / 1e6:.0f} MB, checkpoint {size / 1e6:.0f} MB: {peak / size:.2f} ×",
            f"{MEMORY_LIMIT} ×",
        ),
    ]
