"""What is listened to: the model's own speech, the teachers' recordings, and these through the codec."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import speech
from csm_tools.recipes import read_json, run_program, write_json
from language_model import message
from settings import SAMPLING_RATE

CONTEXT_TURNS = 4  # recordings of each speaker that sentences are said after, in turn


def write_flac(file: Path, samples: np.ndarray) -> None:
    partial = file.with_suffix(".partial")
    soundfile.write(partial, samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    partial.rename(file)


@dataclass(frozen=True)
class Line:
    """A sentence to be heard, and where its recording is."""

    text: str  # what is written
    spoken: str  # numbers in words
    speaker: int
    file: Path
    ended: bool | None = None  # by itself, where a model spoke


class Csm:
    def __init__(self, binary: Path, model: Path, threads: int) -> None:
        self._binary, self._model, self._threads = binary, model, threads

    def run(self, command: str, *options: Any) -> str:
        return run_program([self._binary, command, "--model", self._model, "--threads", self._threads, *options])

    def speak(self, conversation: list[dict[str, Any]], seed: int, output: Path) -> str:
        """OUTPUT.wav and OUTPUT.json: the last turn. How it ended ("stop": by itself).

        On its own, since the rows of a batch draw the same random numbers, and would then err alike.
        """
        request, codes = output.with_suffix(".request.json"), output.with_suffix(".json")
        write_json(request, conversation)
        options = ["--output", output.with_suffix(".wav"), "--codes", codes, "--seed", seed, "--quiet"]
        self.run("generate", "--conversation", request, *options)
        return read_json(codes)["finish_reason"][0]

    def round_trip(self, audio: Path, output: Path) -> None:
        codes = output.with_suffix(".json")
        self.run("encode", audio, "--codes", codes, "--quiet")
        self.run("decode", codes, "--output", output, "--quiet")

    def speed(self, texts: Sequence[str], folder: Path) -> dict[str, float]:
        """A sentence at a time: seconds of work for a second of speech, and until the first sound."""
        folder.mkdir(parents=True, exist_ok=True)
        measured = []
        for index, text in enumerate(texts):
            timing, output = folder / f"{index}.json", folder / f"{index}.wav"
            self.run("generate", text, "--seed", 1, "--output", output, "--timing-json", timing, "--quiet")
            measured.append(read_json(timing))
        return summary_of_timings(measured)


def summary_of_timings(timings: Sequence[dict[str, Any]]) -> dict[str, float]:
    audio = sum(timing["audio_ms"] for timing in timings)
    work = sum(timing["total_ms"] for timing in timings)
    first = [timing["ttfa_ms"] for timing in timings]
    return {"rtf": work / max(1.0, audio), "first_sound_s": float(np.median(first)) / 1000}


def recordings_of(speech_folder: Path, name: str, folder: Path) -> list[Line]:
    """The teachers' recordings as files."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for recording, samples in speech.recordings(speech_folder, name):
        file = folder / f"{recording.id}.flac"
        if not file.exists():
            write_flac(file, samples)
        lines.append(Line(recording.written, recording.spoken, recording.speaker, file))
    return lines


def with_context(lines: Sequence[Line], contexts: Sequence[Line]) -> list[list[dict[str, Any]]]:
    """Each line after a recorded turn of its own speaker."""
    by_speaker: dict[int, list[Line]] = {}
    for line in contexts:
        by_speaker.setdefault(line.speaker, []).append(line)
    conversations = []
    for index, line in enumerate(lines):
        own = by_speaker[line.speaker]
        before = own[index % min(CONTEXT_TURNS, len(own))]
        first = message(before.text, before.speaker, path=str(before.file.resolve()))
        conversations.append([first, message(line.text, line.speaker)])
    return conversations


def without_context(lines: Sequence[Line]) -> list[list[dict[str, Any]]]:
    return [[message(line.text, line.speaker)] for line in lines]
