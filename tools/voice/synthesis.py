"""The stage `synthesis`: the teachers say the texts, a shard at a time on each process."""

import multiprocessing
import signal
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soxr

import speech
import teachers
from grid import on_grid
from progress import Progress, Slot
from settings import FRAME, SAMPLING_RATE, SPEAKERS, Settings
from texts import SETS, Utterance, read_texts

LEAD_SECONDS = 0.16  # silence that is kept before and after the words: half of it costs 0.1 of DNSMOS
TAIL_SECONDS = 0.28
LOUDNESS = 0.09  # root mean square of the loud parts, -21 dB
MAX_PEAK = 0.85
LOUD = 0.05  # of the loudest 20 ms: what is quieter does not count as speech
SECONDS_PER_LETTER = (0.03, 0.3)  # outside of it something went wrong


def loudness(samples: np.ndarray, rate: int) -> float:
    """Root mean square of the parts that are speech."""
    block = rate // 50
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    power = np.square(blocks).mean(axis=1)
    loud = power[power > LOUD**2 * power.max(initial=0)]
    return float(np.sqrt(loud.mean())) if len(loud) else 0.0


def prepare(said: teachers.Speech) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """int16 at 24 kHz in whole frames, of one loudness, with phonemes on the grid and short silences at the ends."""
    spoken = [index for index, (name, _) in enumerate(said.phones) if name != teachers.SILENCE]
    if not spoken:
        raise ValueError("nothing was said")
    first = said.phones[spoken[0] - 1][1] if spoken[0] else 0.0
    last = said.phones[spoken[-1]][1]
    start = max(0.0, first - LEAD_SECONDS)
    samples = said.samples[round(start * said.rate) : round((last + TAIL_SECONDS) * said.rate)]
    samples = soxr.resample(samples, said.rate, SAMPLING_RATE)
    phones = [(name, end - start) for name, end in said.phones[: spoken[-1] + 1] if end > start]
    samples, phones = on_grid(samples, [*phones, (teachers.SILENCE, last + TAIL_SECONDS - start)])
    level = loudness(samples, SAMPLING_RATE)
    peak = float(np.abs(samples).max(initial=0))
    if level == 0:
        raise ValueError("it is silent")
    samples = samples * min(LOUDNESS / level, MAX_PEAK / peak)
    fade = round(0.02 * SAMPLING_RATE)
    samples[:fade] *= np.linspace(0, 1, fade)
    samples[-fade:] *= np.linspace(1, 0, fade)
    samples = np.pad(samples, (0, -len(samples) % FRAME))
    return np.round(samples * 32767).astype(np.int16), phones


def make_shard(folder: Path, name: str, utterances: list[Utterance]) -> dict[str, int]:
    """How many seconds there are, and how many utterances were left out."""
    said: dict[str, teachers.Speech | None] = {}
    for speaker, teacher in enumerate(SPEAKERS):
        own = [utterance for utterance in utterances if utterance.speaker == speaker]
        with tempfile.TemporaryDirectory() as scratch:
            speeches = teachers.say(teacher, [utterance.spoken for utterance in own], Path(scratch))
        said.update((utterance.id, each) for utterance, each in zip(own, speeches, strict=True))
    audio, recordings, num_frames = [], [], 0
    for utterance in utterances:
        try:
            samples, phones = prepare(said[utterance.id])
        except (AttributeError, ValueError):
            continue
        seconds_per_letter = len(samples) / SAMPLING_RATE / (len(utterance.spoken) + 5)
        if not SECONDS_PER_LETTER[0] < seconds_per_letter < SECONDS_PER_LETTER[1]:
            continue
        frames = len(samples) // FRAME
        place = {"first_frame": num_frames, "num_frames": frames, "phones": phones}
        recordings.append(speech.Recording(**asdict(utterance), **place))
        audio.append(samples)
        num_frames += frames
    speech.write_shard(folder, name, np.concatenate(audio), recordings)
    return {"frames": num_frames, "left_out": len(utterances) - len(recordings)}


def _work(job: tuple[Path, str, list[Utterance]]) -> dict[str, int]:
    return make_shard(*job)


def _begin_worker() -> None:
    """Ctrl-C ends the whole through this program's own process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def jobs(text: Path, folder: Path, size: int) -> Iterable[tuple[Path, str, list[Utterance]]]:
    """Shards that are not there yet; those of the held-out sets come first. No conversation is cut."""
    for name in reversed(SETS):
        shard: list[Utterance] = []
        number = 0
        for utterance in [*read_texts(text, name), None]:
            is_full = len(shard) >= size and utterance is not None and utterance.turn == 0
            if shard and (utterance is None or is_full):
                if not (folder / f"{name}-{number:05}.json").exists():
                    yield folder, f"{name}-{number:05}", shard
                shard, number = [], number + 1
            if utterance is not None:
                shard.append(utterance)


def synthesise(text: Path, folder: Path, settings: Settings, processes: int, slot: Slot) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        teachers.check(Path(scratch))
    rest = list(jobs(text, folder, settings.utterances_per_shard))
    progress = Progress("synthesis", len(rest), "shards", slot)
    left_out = frames = 0
    with multiprocessing.get_context("spawn").Pool(processes, _begin_worker) as pool:
        for done in pool.imap_unordered(_work, rest):
            left_out += done["left_out"]
            frames += done["frames"]
            seconds = frames * FRAME / SAMPLING_RATE
            rate = seconds / progress.seconds
            progress.step(f"{seconds / 3600:.2f} h of speech, {rate:.0f} s a second, {left_out} left out")
            if slot.is_over():
                pool.terminate()
                slot.stop("synthesis")
