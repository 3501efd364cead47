"""Judges recordings of the held-out sentences, a row of the final table at a time."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from csm_tools.judges import ErrorRates, SpeakerJudge, Transcriber, read_audio


@dataclass(frozen=True)
class Row:
    """What one speaker said: recordings, their texts and, of a model, how each ended."""

    name: str
    texts: list[str]
    files: list[Path]
    endings: list[str] | None = None


class Judges:
    """Knows the voice to learn, what the codec makes of it, and the voice that the model had."""

    def __init__(self, whisper: Path, threads: int, voices: Mapping[str, Sequence[Path]]) -> None:
        self._transcribe = Transcriber(whisper, threads)
        self._speakers = SpeakerJudge(threads)
        self._error_rates = ErrorRates()
        self._voices = {name: self._speakers.voice_of(files) for name, files in voices.items()}

    def voices_alike(self) -> dict[str, float]:
        """Cosines of the voices themselves: what a recording in one scores against another."""
        pairs = itertools.combinations(self._voices, 2)
        return {f"{a}, {b}": float(self._voices[a] @ self._voices[b]) for a, b in pairs}

    def __call__(self, row: Row, on_heard: Callable[[int], None]) -> dict[str, Any]:
        heard, similarity = [], {name: [] for name in self._voices}
        for number, file in enumerate(row.files, start=1):
            samples = read_audio(file)
            heard.append(self._transcribe(samples))
            embedding = self._speakers.embed(samples)
            for name, voice in self._voices.items():
                similarity[name].append(None if embedding is None else float(voice @ embedding))
            on_heard(number)
        return self._summary(row, heard, similarity)

    def _summary(
        self, row: Row, heard: list[str], similarity: dict[str, list[float | None]]
    ) -> dict[str, Any]:
        measured = [[x for x in values if x is not None] for values in similarity.values()]
        means = [float(np.mean(values)) if values else None for values in measured]
        ended = None if row.endings is None else row.endings.count("stop") / len(row.endings)
        return {
            "recordings": len(row.files),
            "silent": len(row.files) - len(measured[0]),
            **self._error_rates(row.texts, heard),
            **dict(zip((f"similarity_{name}" for name in similarity), means, strict=True)),
            "ended_by_itself": ended,
            "heard": [
                {"file": file.name, "text": text, "heard": words}
                for file, text, words in zip(row.files, row.texts, heard, strict=True)
            ],
        }


def load_row(folder: Path, name: str, texts: Sequence[str], seeds: Sequence[int]) -> Row:
    """What a model spoke: folder/seed_S holds every text once."""
    files = [folder / f"seed_{seed}" / f"{index:03}.wav" for seed in seeds for index in range(len(texts))]
    endings = [
        ending
        for seed in seeds
        for ending in json.loads((folder / f"seed_{seed}" / "codes.json").read_text())["finish_reason"]
    ]
    return Row(name, list(texts) * len(seeds), files, endings)
