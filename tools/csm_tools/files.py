"""JSON and audio files as the goldens keep them."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

SAMPLING_RATE = 24000


def plain(value: Any) -> Any:
    """Tensors and arrays to lists; f32 to the shortest decimal that reads back as the same f32.

    Minus infinity, which JSON cannot hold, becomes null.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        value = list(value) if value.ndim else value[()]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.floating):
        return None if np.isneginf(value) else float(str(np.float32(value)))
    if isinstance(value, np.integer):
        return int(value)
    return value


def write_json(file: Path, data: Any) -> None:
    """One line for each top-level entry: small files whose differences can be read."""
    data = plain(data)
    if isinstance(data, dict):
        items = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in data.items()]
        text = "{\n" + ",\n".join(items) + "\n}\n"
    else:
        text = "[\n" + ",\n".join(json.dumps(value) for value in data) + "\n]\n"
    file.write_text(text)


def read_json(file: Path) -> Any:
    return json.loads(file.read_text())


def write_audio(file: Path, samples: np.ndarray, rate: int = SAMPLING_RATE, subtype: str = "FLOAT") -> None:
    """Subtype FLOAT (mono) keeps f32 samples as they are; PCM_16 makes files half as big."""
    if subtype == "FLOAT":
        file.write_bytes(float_wav(samples, rate))
    else:
        soundfile.write(file, samples, rate, subtype=subtype)


def float_wav(samples: np.ndarray, rate: int) -> bytes:
    """A mono f32 WAV; libsndfile's would hold the time of day in its PEAK chunk, and differ each time."""
    data = samples.astype("<f4").tobytes()
    ieee_float, channels, width = 3, 1, 4
    form = struct.pack("<HHIIHHH", ieee_float, channels, rate, rate * width, width, 8 * width, 0)
    chunks = [(b"fmt ", form), (b"fact", struct.pack("<I", len(samples))), (b"data", data)]
    body = b"WAVE" + b"".join(name + struct.pack("<I", len(part)) + part for name, part in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def read_audio(file: Path) -> np.ndarray:
    """Mono f32 at 24 kHz: channels are averaged, then resampled with soxr's HQ recipe."""
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    return mono if rate == SAMPLING_RATE else soxr.resample(mono, rate, SAMPLING_RATE, quality="HQ")


def synthetic_speech(seconds: float, seed: int, rate: int = SAMPLING_RATE, channels: int = 1) -> np.ndarray:
    """Voiced glides with noise, [samples] or [samples, channels]: rich enough to give varied codes."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    tracks = []
    for _ in range(channels):
        pitch = rng.uniform(90, 240) * (1 + 0.3 * np.sin(2 * np.pi * rng.uniform(1, 3) * time))
        phase = 2 * np.pi * np.cumsum(pitch) / rate
        voice = sum(np.sin(h * phase + rng.uniform(0, 6)) / h for h in range(1, 12))
        envelope = 0.15 * (1.1 + np.sin(2 * np.pi * rng.uniform(2, 5) * time + rng.uniform(0, 6)))
        tracks.append(envelope * voice + 0.02 * rng.standard_normal(len(time)))
    audio = np.stack(tracks, axis=1).astype(np.float32)
    return np.clip(audio[:, 0] if channels == 1 else audio, -0.99, 0.99)
