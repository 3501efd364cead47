"""Windows of a corpus, drawn at random: samples, phonemes and codes of the same frames."""

from collections import Counter
from pathlib import Path

import numpy as np
import torch

import speech
from settings import FRAME

STARTS = 0.1
MIN_PHONE_USES = 20


def phone_names(folder: Path) -> dict[str, int]:
    """Of the phonemes that are common in training; the rest count as silence."""
    counts = Counter(name for recording, _ in speech.recordings(folder, "train") for name, _ in recording.phones)
    names = sorted(name for name, uses in counts.items() if uses >= MIN_PHONE_USES)
    return {name: index for index, name in enumerate(dict.fromkeys([speech.SILENCE, *names]))}


class Windows:
    """Shards stay on disk, but for phonemes and codes. A window may run from one recording into the next."""

    def __init__(
        self, speech_folder: Path, name: str, phones: dict[str, int] | None = None, codes: Path | None = None
    ) -> None:
        shards = speech.shards(speech_folder, name)
        recordings = [shard.recordings() for shard in shards]
        self._audio = [shard.audio() for shard in shards]
        self._lengths = np.array([len(audio) // FRAME for audio in self._audio])
        self._starts = [np.array([each.first_frame for each in rows]) for rows in recordings]
        self._phones = phones and [
            np.concatenate([speech.frame_phones(each, phones) for each in rows]) for rows in recordings
        ]
        self._codes = codes and [np.load(codes / f"{shard.name}.npy") for shard in shards]

    @property
    def hours(self) -> float:
        return float(self._lengths.sum()) / 12.5 / 3600

    def draw(
        self, rng: np.random.Generator, batch: int, frames: int, before: int = 0, starts: float = STARTS
    ) -> dict[str, torch.Tensor]:
        """Samples [batch, frames * FRAME] and phonemes [batch, frames, 2] of the window; its codes
        [batch, codebooks, before + frames] begin `before` frames earlier, a share of them (`starts`) where a
        recording begins."""
        total = before + frames
        usable = np.maximum(0, self._lengths - total)
        chosen = rng.choice(len(usable), size=batch, p=usable / usable.sum())
        rows: dict[str, list[np.ndarray]] = {"samples": [], "phones": [], "codes": []}
        for shard in chosen:
            first = self._first(rng, shard, total, starts)
            begin, end = first + before, first + total
            rows["samples"].append(self._audio[shard][begin * FRAME : end * FRAME])
            if self._phones:
                rows["phones"].append(self._phones[shard][begin:end])
            if self._codes:
                rows["codes"].append(self._codes[shard][first:end].T)
        found = {name: torch.from_numpy(np.stack(values)) for name, values in rows.items() if values}
        found["samples"] = found["samples"].float() / 32768
        return {name: values if name == "samples" else values.long() for name, values in found.items()}

    def _first(self, rng: np.random.Generator, shard: int, total: int, share: float) -> int:
        last = self._lengths[shard] - total
        if rng.random() < share:
            starts = self._starts[shard]
            starts = starts[starts <= last]
            return int(rng.choice(starts)) if len(starts) else 0
        return int(rng.integers(last + 1))


def step_rng(seed: int, step: int) -> np.random.Generator:
    return np.random.default_rng([seed, step])
