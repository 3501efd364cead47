"""csm on a device beside Hugging Face on it: eager, and compiled as its documentation has it.

Its recipe: static caches for both stacks, for which generate() compiles forward() by itself on a GPU; the
first two calls of each shape record CUDA graphs.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from csm_tools import reference as hf
from csm_tools.hf_speed import random_prompt
from csm_tools.program import run_measured

NUM_FRAMES = 25
NUM_WARM_UP = 5  # frames
RECORDINGS = 2  # calls
PROMPT = 22  # positions, as csm bench has it
BATCHES = (1, 2, 4, 8, 16, 32, 64)
FRAME_SECONDS = 0.08


class HuggingFaceOnDevice:
    def __init__(self, folder: Path, device: str, dtype: torch.dtype, is_compiled: bool) -> None:
        self._model = hf.load_model(folder, dtype).to(device)
        self._device = torch.device(device)
        if is_compiled:
            self._model.generation_config.cache_implementation = "static"
            self._model.depth_decoder.generation_config.cache_implementation = "static"

    def _seconds(self, batch: int, prompt: int, frames: int) -> float:
        inputs = random_prompt(self._model, prompt, batch)
        options = {"do_sample": False, "depth_decoder_do_sample": False, "output_audio": True}
        start = time.perf_counter()
        with torch.no_grad():
            # One length for all, so that caches have one size.
            self._model.generate(**inputs, max_new_tokens=frames, **options)
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def frame_ms(self, batch: int) -> float:
        """The difference of a long and a short call leaves the frames between."""
        long, short = NUM_WARM_UP + NUM_FRAMES, NUM_WARM_UP
        for frames in (long, short) * RECORDINGS:
            self._seconds(batch, PROMPT, frames)
        seconds = [self._seconds(batch, PROMPT, frames) for frames in (long, short)]
        return 1000 * (seconds[0] - seconds[1]) / NUM_FRAMES

    def first_audio_ms(self) -> float:
        """Of one frame after a short prompt."""
        return 1000 * min(self._seconds(1, PROMPT, 1) for _ in range(RECORDINGS + 2))


def measure(
    csm: Path, folder: Path, device: str, batches: Sequence[int], note: Callable[[str], None]
) -> dict[str, Any]:
    """Milliseconds a frame of each batch, by who; and what csm bench says of the device."""
    hf_device = "cpu" if device == "torch-cpu" else device
    figures: dict[str, Any] = {"torch": torch.__version__, "transformers": transformers.__version__}
    note("csm bench")
    options = ["--model", str(folder), "--type", "bf16", "--device", device, "--only", "frame,batches,prefill"]
    figures["csm"] = json.loads(run_measured([str(csm), "bench", *options, "--json", "-"]).stdout)
    # Compiling needs a compiler and a GPU; HF's own recipe breaks on a processor.
    for name in ("eager", "compiled") if hf_device != "cpu" else ("eager",):
        model = HuggingFaceOnDevice(folder, hf_device, torch.bfloat16, is_compiled=name == "compiled")
        figures[name] = {"frame_ms": {}}
        for batch in batches:
            note(f"Hugging Face {name}, {batch} at once")
            figures[name]["frame_ms"][str(batch)] = model.frame_ms(batch)
        figures[name]["ttfa_ms"] = model.first_audio_ms()
        del model
        if hf_device != "cpu":
            torch.cuda.empty_cache()
    return figures


def print_figures(figures: dict[str, Any]) -> None:
    csm = figures["csm"]
    print(f"{csm['machine']}, {csm['type']}: one stream reads at {100 * csm['limit_share']:.0f} % of its limit")
    kinds = [name for name in ("eager", "compiled") if name in figures]
    print("  ".join(["streams", "csm ms".rjust(9), *(f"hf {name} ms".rjust(14) for name in kinds), "audio s/s"]))
    for batch, own in csm["batches"].items():
        theirs = [figures[name]["frame_ms"].get(batch) for name in kinds]
        cells = ["-" if ms is None else f"{ms:.1f} ({ms / own['frame_ms']:.1f} ×)" for ms in theirs]
        speed = int(batch) * FRAME_SECONDS * 1000 / own["frame_ms"]
        print("  ".join([batch.rjust(7), f"{own['frame_ms']:9.1f}", *(c.rjust(14) for c in cells), f"{speed:9.1f}"]))
    first = ", ".join(f"hf {name} {figures[name]['ttfa_ms']:.0f} ms" for name in kinds)
    print(f"first audio: csm {csm['ttfa_ms']:.0f} ms, {first}")
    print("In brackets: times as fast csm is.")
