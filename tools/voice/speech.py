"""Recordings in shards: WORK/speech/SET-NNNNN.npy, 24 kHz int16 end to end, and .json with what is where.

Each recording fills whole frames of the codec, so that codes and phonemes of a shard line up with its samples.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from settings import FRAME, SAMPLING_RATE

PHONES_PER_FRAME = 2  # at most: grid.py
SILENCE = "pau"


@dataclass(frozen=True)
class Recording:
    id: str
    written: str
    spoken: str
    speaker: int
    conversation: int
    turn: int
    first_frame: int  # in the shard
    num_frames: int
    phones: list[tuple[str, float]]  # each with the second at which it ends


@dataclass(frozen=True)
class Shard:
    audio_file: Path

    @property
    def name(self) -> str:
        return self.audio_file.stem

    def audio(self) -> np.ndarray:
        """[samples], int16, read as it is used."""
        return np.load(self.audio_file, mmap_mode="r")

    def recordings(self) -> list[Recording]:
        rows = json.loads(self.audio_file.with_suffix(".json").read_text())
        return [Recording(**{**row, "phones": [tuple(phone) for phone in row["phones"]]}) for row in rows]


def write_shard(folder: Path, name: str, audio: np.ndarray, recordings: list[Recording]) -> None:
    """The .json last, which makes the shard complete."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name}.partial.npy"
    np.save(partial, audio)
    partial.rename(folder / f"{name}.npy")
    partial = folder / f"{name}.partial"
    partial.write_text(json.dumps([asdict(recording) for recording in recordings]))
    partial.rename(folder / f"{name}.json")


def shards(folder: Path, name: str) -> list[Shard]:
    return [Shard(file.with_suffix(".npy")) for file in sorted(folder.glob(f"{name}-*.json"))]


def recordings(folder: Path, name: str) -> Iterator[tuple[Recording, np.ndarray]]:
    """All of a set, with their samples."""
    for shard in shards(folder, name):
        audio = shard.audio()
        for recording in shard.recordings():
            first = recording.first_frame * FRAME
            yield recording, audio[first : first + recording.num_frames * FRAME]


def frame_phones(recording: Recording, names: dict[str, int]) -> np.ndarray:
    """[frames, PHONES_PER_FRAME]: the phoneme at evenly spaced times; silence after the last."""
    silence = names[SILENCE]
    ends = np.array([end for _, end in recording.phones])
    ids = np.array([*(names.get(name, silence) for name, _ in recording.phones), silence])
    count = recording.num_frames * PHONES_PER_FRAME
    times = (np.arange(count) + 0.5) * (FRAME / SAMPLING_RATE / PHONES_PER_FRAME)
    return ids[np.searchsorted(ends, times, side="right")].reshape(-1, PHONES_PER_FRAME)
