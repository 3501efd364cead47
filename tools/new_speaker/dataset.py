"""Sentences spoken by flite, as AudioFolder datasets for `csm train`."""

import csv
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from csm_tools.recipes import RecipeError, run_program

SAMPLING_RATE = 24000  # that of Mimi, csm's codec


@dataclass(frozen=True)
class Recording:
    text: str
    audio: Path


def read_sentences(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line.strip()]


def need_programs(*names: str) -> None:
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise RecipeError(
            f"{' and '.join(missing)} cannot be found: apt-get install {' '.join(missing)} (Debian, Ubuntu)"
        )


def split(sentences: Sequence[str], num_dev: int) -> tuple[list[str], list[str]]:
    """Training and dev sentences; always the same ones, drawn from the whole list."""
    dev = set(random.Random(0).sample(range(len(sentences)), num_dev))
    train = [text for index, text in enumerate(sentences) if index not in dev]
    return train, [sentences[index] for index in sorted(dev)]


def speak(text: str, voice: str, file: Path) -> None:
    """flite speaks at 16 kHz; sox resamples, and -D keeps it from adding noise (dither)."""
    raw = file.with_suffix(".16k.wav")
    run_program(["flite", "-voice", voice, "-t", text, "-o", raw])
    run_program(["sox", "-D", raw, "-b", "16", "-r", SAMPLING_RATE, "-c", "1", file])
    raw.unlink()


def write_dataset(folder: Path, texts: Sequence[str], voice: str, speaker: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["file_name", "text", "speaker_id"])
        for index, text in enumerate(texts):
            speak(text, voice, folder / f"{index:03}.wav")
            rows.writerow([f"{index:03}.wav", text, speaker])


def read_dataset(folder: Path) -> list[Recording]:
    with (folder / "metadata.csv").open(newline="") as file:
        return [Recording(row["text"], folder / row["file_name"]) for row in csv.DictReader(file)]
