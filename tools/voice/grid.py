"""Puts phonemes on a grid of half frames of the codec, by stretching the recording here and squeezing it there.

A phoneme that may begin anywhere within a frame makes another frame of every offset, and each wants codes of its own
that follow from nothing a listener cares about. On the grid a frame is one phoneme, or one after another: there are
some hundreds of them, and a small language model can learn which comes next.
"""

import numpy as np

from settings import FRAME, SAMPLING_RATE
from speech import PHONES_PER_FRAME

UNIT = FRAME // PHONES_PER_FRAME  # samples: 40 ms
HOP = 240  # samples: 10 ms, half of what overlaps
SEARCH = 144  # samples either way: with 12 ms in all there is a whole period of any voice from 83 Hz


def whole_units(phones: list[tuple[str, float]]) -> list[int]:
    """How many each phoneme takes, at least one: of its own length alone, so that it can be learnt."""
    starts = [0.0, *(end for _, end in phones[:-1])]
    seconds = UNIT / SAMPLING_RATE
    return [max(1, round((end - start) / seconds)) for start, (_, end) in zip(starts, phones, strict=True)]


def stretch(samples: np.ndarray, ends: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Samples whose `ends` (rising, in samples) lie at `wanted`; the pitch stays.

    Waveform similarity overlap-add: of the pieces around where the map points, the one that goes on best from the
    last (Verhelst and Roelands, 1993)."""
    length = int(wanted[-1])
    times = np.arange(0, length + HOP, HOP)
    middles = np.interp(times, [0, *wanted], [0, *ends]).round().astype(int)
    window = np.hanning(2 * HOP + 1)[:-1].astype(np.float32)
    margin = 2 * HOP + SEARCH
    missing = max(0, int(ends[-1]) - len(samples))
    padded = np.pad(samples, (margin, margin + HOP + missing)).astype(np.float32)
    energies = np.concatenate([[0], np.cumsum(np.square(padded, dtype=np.float64))])
    out = np.zeros(len(times) * HOP + 2 * HOP, np.float32)
    piece = middles[0] + margin - HOP  # where it begins in `padded`
    for index, middle in enumerate(middles):
        if index:
            first = middle + margin - HOP - SEARCH
            piece = first + _most_alike(padded, energies, first, padded[piece + HOP : piece + 3 * HOP])
        out[index * HOP : (index + 2) * HOP] += window * padded[piece : piece + 2 * HOP]
    return out[HOP : HOP + length]


def _most_alike(padded: np.ndarray, energies: np.ndarray, first: int, follows: np.ndarray) -> int:
    """Which of the pieces that begin from `first` on."""
    size = len(follows)
    products = np.correlate(padded[first : first + 2 * SEARCH + size], follows, "valid")
    starts = np.arange(first, first + 2 * SEARCH + 1)
    return int((products / np.sqrt(energies[starts + size] - energies[starts] + 1e-6)).argmax())


def on_grid(samples: np.ndarray, phones: list[tuple[str, float]]) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """The recording and its phonemes (each with the second at which it ends), of whole units."""
    ends = np.array([end for _, end in phones]) * SAMPLING_RATE
    wanted = np.cumsum(whole_units(phones)) * UNIT
    timed = [(name, round(float(end) / SAMPLING_RATE, 4)) for (name, _), end in zip(phones, wanted, strict=True)]
    return stretch(samples, ends, wanted), timed
