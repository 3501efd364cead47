"""Time per frame and memory, csm against Hugging Face in bf16, one after the other on the same cores."""

import time
from pathlib import Path
from statistics import median

import torch
from transformers import CsmProcessor
from transformers.generation.streamers import BaseStreamer

from csm_tools import reference as hf
from csm_tools.checks import Check
from csm_tools.program import Csm

TIME_LIMIT = 0.6  # of Hugging Face's warm bf16 time
MEMORY_LIMIT = 1.15  # of the checkpoint's size
NUM_WARM_UP = 3  # frames


class FrameClock(BaseStreamer):
    """Notes when each frame is done; the first call brings the prompt."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, _value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass

    def seconds_per_frame(self) -> float:
        """Median of the frames after the warm-up; the prefill is before the first of them."""
        frames = self.times[1:]
        return median(b - a for a, b in zip(frames[NUM_WARM_UP - 1 :], frames[NUM_WARM_UP:]))


def hf_seconds_per_frame(folder: Path, conversation: Path, frames: int) -> float:
    model, processor = hf.load_model(folder, torch.bfloat16), CsmProcessor.from_pretrained(folder)
    inputs = hf.prepare(processor, conversation)
    clock = FrameClock()
    with torch.no_grad():
        model.generate(
            **inputs,
            max_new_tokens=frames + NUM_WARM_UP,
            do_sample=False,
            depth_decoder_do_sample=False,
            streamer=clock,
        )
    return clock.seconds_per_frame()


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
