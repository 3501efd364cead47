"""What judges and a ruler say of recordings."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from csm_tools.judges import ErrorRates, QualityJudge, SpeakerJudge, Transcriber, read_audio
from settings import NUM_SPEAKERS
from speaking import Line

SILENT = 0.01  # -40 dB: quieter than that is silence
MAX_SILENCE = 0.5  # seconds at either end
FULL = 0.999  # of full scale: clipped


def end_silences(samples: np.ndarray, rate: int) -> tuple[float, float]:
    """Seconds before the first sound and after the last."""
    loud = np.flatnonzero(np.abs(samples) > SILENT)
    if not len(loud):
        return len(samples) / rate, len(samples) / rate
    return loud[0] / rate, (len(samples) - 1 - loud[-1]) / rate


class Judges:
    def __init__(self, whisper: Path, threads: int, voices: Sequence[Sequence[Path]]) -> None:
        """`voices`: recordings of each speaker's teacher."""
        self._transcribe = Transcriber(whisper, threads)
        self._quality = QualityJudge()
        self._speakers = SpeakerJudge(threads)
        self._error_rates = ErrorRates()
        self._voices = [self._speakers.voice_of(files) for files in voices]

    def voices_alike(self) -> float:
        """Cosine of the two teachers."""
        return float(self._voices[0] @ self._voices[1])

    def __call__(self, lines: Sequence[Line], on_heard: Callable[[int], None]) -> dict[str, Any]:
        heard = []
        for number, line in enumerate(lines, start=1):
            heard.append(self._judge(line))
            on_heard(number)
        return self._summary(lines, heard)

    def _judge(self, line: Line) -> dict[str, Any]:
        samples, rate = soundfile.read(line.file, dtype="float32")
        before, after = end_silences(samples, rate)
        at_16k = read_audio(line.file)
        embedding = self._speakers.embed(at_16k)
        cosines = [None if embedding is None else float(voice @ embedding) for voice in self._voices]
        return {
            "file": line.file.name,
            "text": line.text,
            "heard": self._transcribe(at_16k),
            "quality": self._quality(at_16k),
            "right": cosines[line.speaker],
            "other": max((x for i, x in enumerate(cosines) if i != line.speaker and x is not None), default=None),
            "silence_before": before,
            "silence_after": after,
            "clipped": int((np.abs(samples) >= FULL).sum()),
            "seconds": len(samples) / rate,
            "ended": line.ended,
        }

    def _summary(self, lines: Sequence[Line], heard: list[dict[str, Any]]) -> dict[str, Any]:
        alike = [row for row in heard if row["right"] is not None]
        ends = [max(row["silence_before"], row["silence_after"]) for row in heard]
        ended = [row["ended"] for row in heard if row["ended"] is not None]
        return {
            "recordings": len(lines),
            **self._error_rates([line.spoken for line in lines], [row["heard"] for row in heard]),
            "quality": _mean([row["quality"] for row in heard if row["quality"] is not None]),
            "similarity_right": _mean([row["right"] for row in alike]),
            "similarity_other": _mean([row["other"] for row in alike]),
            "right_speaker": sum(row["right"] > row["other"] for row in alike) / len(heard),
            "longest_end_silence": max(ends),
            "long_end_silences": sum(end > MAX_SILENCE for end in ends) / len(heard),
            "clipped": sum(row["clipped"] > 0 for row in heard) / len(heard),
            "ended_by_itself": sum(ended) / len(ended) if ended else None,
            "heard": heard,
        }


def voice_files(lines: Sequence[Line], number: int) -> list[list[Path]]:
    return [[line.file for line in lines if line.speaker == speaker][:number] for speaker in range(NUM_SPEAKERS)]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
