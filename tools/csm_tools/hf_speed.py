"""How fast Hugging Face is: frames, prompts, and the codec, each by the call that a user would make."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from transformers import MimiModel
from transformers.generation.streamers import BaseStreamer

from csm_tools import reference as hf

NUM_WARM_UP = 3  # frames
CODEC_SECONDS = 5  # as csm bench has it


class FrameClock(BaseStreamer):
    """Notes when each frame is done; the first call brings the prompt."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, _value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass

    def frame_seconds(self) -> list[float]:
        """Of the frames after the warm-up; the prefill is before the first of them."""
        frames = self.times[1:]
        return [b - a for a, b in zip(frames[NUM_WARM_UP - 1 :], frames[NUM_WARM_UP:])]


def seconds_of_frames(
    model: hf.CsmForConditionalGeneration, inputs: dict[str, torch.Tensor], frames: int
) -> list[float]:
    """Greedy, codes only."""
    clock = FrameClock()
    with torch.no_grad():
        model.generate(
            **inputs,
            max_new_tokens=frames + NUM_WARM_UP,
            do_sample=False,
            depth_decoder_do_sample=False,
            streamer=clock,
        )
    return clock.frame_seconds()


def seconds_of(call: Callable[[], object], repeats: int = 3) -> float:
    """Median of several calls, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with torch.no_grad():
            call()
        times.append(time.perf_counter() - start)
    return median(times[1:])


def random_prompt(
    model: hf.CsmForConditionalGeneration, positions: int, rows: int = 1
) -> dict[str, torch.Tensor]:
    """What a prompt says does not matter to the time it takes."""
    ids = torch.randint(0, model.config.text_vocab_size // 2, (rows, positions), device=model.device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


class HuggingFace:
    """A checkpoint in one type."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self._model = hf.load_model(folder, dtype)

    def frame_ms(self, frames: int, prompt: int = 22) -> list[float]:
        seconds = seconds_of_frames(self._model, random_prompt(self._model, prompt), frames)
        return [1000 * second for second in seconds]

    def positions_per_second(self, positions: int) -> float:
        """Of a prompt's way through the backbone, keys and values kept."""
        inputs = random_prompt(self._model, positions)
        return positions / seconds_of(lambda: self._model(**inputs, use_cache=True, logits_to_keep=1))


class HuggingFaceCodec:
    """Mimi alone: its type matters apart from the model's."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        model = hf.load_model(folder, torch.bfloat16)  # as the file has it
        self._codec: MimiModel = model.codec_model.to(dtype)
        self._num_codebooks = model.config.num_codebooks
        self._dtype = dtype

    def rtf(self) -> tuple[float, float]:
        """Compute time over audio time of decoding and of encoding, in one call each."""
        config = self._codec.config
        frames = -int(-CODEC_SECONDS * config.frame_rate // 1)
        seconds = frames / config.frame_rate
        codes = torch.randint(0, config.codebook_size, (1, self._num_codebooks, frames))
        samples = torch.rand(1, 1, round(seconds * config.sampling_rate)).to(self._dtype) - 0.5
        decode = seconds_of(lambda: self._codec.decode(codes))
        encode = seconds_of(lambda: self._codec.encode(samples, num_quantizers=self._num_codebooks))
        return decode / seconds, encode / seconds
