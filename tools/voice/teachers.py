"""The two speech synthesisers that the model learns from, with the times of their phonemes.

slt: festival's HTS voice cmu_us_slt_arctic_hts; rms: flite's voice rms. Both say the same phonemes by the
same names, "pau" for silence.
"""

import subprocess
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csm_tools.recipes import RecipeError, run_program

SILENCE = "pau"
PROGRAMS = {"slt": "festival", "rms": "flite"}
PACKAGES = {"slt": "festival festvox-us-slt-hts", "rms": "flite"}


@dataclass(frozen=True)
class Speech:
    samples: np.ndarray  # float32 in [-1, 1]
    rate: int
    phones: list[tuple[str, float]]  # each with the second at which it ends


def _read_wav(file: Path) -> tuple[np.ndarray, int]:
    with wave.open(str(file), "rb") as audio:
        samples = np.frombuffer(audio.readframes(audio.getnframes()), np.int16)
        return samples.astype(np.float32) / 32768, audio.getframerate()


# festival

_FESTIVAL_HEAD = """
(voice_cmu_us_slt_arctic_hts)
(define (say text file)
  (let ((utt (utt.synth (eval (list 'Utterance 'Text text)))) (out (fopen (string-append file ".txt") "w")))
    (utt.save.wave utt (string-append file ".wav") 'riff)
    (mapcar
      (lambda (segment) (format out "%s %f\\n" (item.name segment) (item.feat segment "end")))
      (utt.relation.items utt 'Segment))
    (fclose out)))
"""


def _festival(texts: Sequence[str], folder: Path) -> list[Speech | None]:
    """One process says them all: its start takes longer than a sentence."""
    script = folder / "say.scm"
    calls = []
    for index, text in enumerate(texts):
        quoted = text.replace("\\", "").replace('"', "")
        # One that festival cannot say does not keep it from the others.
        calls.append(f'(unwind-protect (say "{quoted}" "{folder}/{index}") nil)')
    script.write_text(_FESTIVAL_HEAD + "\n".join(calls) + "\n", encoding="latin-1", errors="replace")
    run_program(["festival", "--batch", script])
    return [_festival_speech(folder / str(index)) for index in range(len(texts))]


def _festival_speech(stem: Path) -> Speech | None:
    audio, times = stem.with_suffix(".wav"), stem.with_suffix(".txt")
    if not audio.exists() or not times.exists():
        return None
    rows = [line.split() for line in times.read_text().splitlines()]
    return Speech(*_read_wav(audio), [(name, float(end)) for name, end in rows])


# flite


def _flite(texts: Sequence[str], folder: Path) -> list[Speech | None]:
    found = []
    for text in texts:
        file = folder / "flite.wav"
        printed = run_program(["flite", "-voice", "rms", "-psdur", "-t", text, "-o", file])
        pairs = [pair.rpartition(":") for pair in printed.split()]
        found.append(Speech(*_read_wav(file), [(name, float(end)) for name, _, end in pairs]))
    return found


_TEACHERS: dict[str, Callable[[Sequence[str], Path], list[Speech | None]]] = {"slt": _festival, "rms": _flite}


def say(teacher: str, texts: Sequence[str], folder: Path) -> list[Speech | None]:
    """None for a text that the teacher could not say."""
    return _TEACHERS[teacher](texts, folder)


def check(folder: Path) -> None:
    """Throws a sentence if a program or a voice is missing."""
    for teacher, program in PROGRAMS.items():
        try:
            [speech] = say(teacher, ["Hello."], folder)
        except (RecipeError, subprocess.SubprocessError, OSError):
            speech = None
        if speech is None:
            raise RecipeError(
                f"{program} or its voice {teacher} is missing: apt-get install {PACKAGES[teacher]} (Debian, Ubuntu)"
            )
