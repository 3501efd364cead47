"""The stage `codes`: every recording through the frozen encoder. WORK/codes/SHARD.npy, [frames, codebooks], int16."""

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import MimiModel

import codec
import speech
from progress import Progress, Slot
from settings import FRAME, SAMPLING_RATE, Settings
from texts import SETS

BATCH_FRAMES = 300  # of a batch, padding included: what a processor's caches hold


def batches(recordings: list[speech.Recording]) -> Iterator[list[speech.Recording]]:
    """Of like length."""
    batch: list[speech.Recording] = []
    for recording in sorted(recordings, key=lambda each: each.num_frames):
        if batch and (len(batch) + 1) * recording.num_frames > BATCH_FRAMES:
            yield batch
            batch = []
        batch.append(recording)
    if batch:
        yield batch


@torch.no_grad()
def encode(model: MimiModel, shard: speech.Shard, device: torch.device) -> np.ndarray:
    """Each recording on its own: padding comes after it, and the encoder is causal."""
    audio = shard.audio()
    codes = np.zeros((len(audio) // FRAME, model.config.num_quantizers), np.int16)
    for batch in batches(shard.recordings()):
        samples = np.zeros((len(batch), 1, batch[-1].num_frames * FRAME), np.float32)
        for row, each in enumerate(batch):
            first, count = each.first_frame * FRAME, each.num_frames * FRAME
            samples[row, 0, :count] = audio[first : first + count] / 32768
        latents = model.encoder(torch.from_numpy(samples).to(device)).latents
        found = model.quantizer.encode(latents.float()).permute(1, 2, 0).cpu().numpy()
        for row, each in enumerate(batch):
            codes[each.first_frame : each.first_frame + each.num_frames] = found[row, : each.num_frames]
    return codes


def entropy(codes: np.ndarray, size: int) -> list[float]:
    """Bits of each codebook, of at most log2(size)."""
    bits = []
    for column in codes.T:
        share = np.bincount(column, minlength=size) / len(column)
        share = share[share > 0]
        bits.append(float(-(share * np.log2(share)).sum()))
    return bits


@dataclass
class Encoder:
    """Writes the codes of shards with the codec in `frozen`."""

    frozen: Path
    folder: Path
    settings: Settings
    device: torch.device

    def begin(self) -> None:
        self._model = codec.load_codec(self.frozen, self.settings).to(self.device).eval()

    def write(self, shard: speech.Shard) -> np.ndarray:
        codes = encode(self._model, shard, self.device)
        partial = self.folder / f"{shard.name}.partial.npy"
        np.save(partial, codes)
        partial.rename(self.folder / f"{shard.name}.npy")
        return codes


_encoder: Encoder  # of a process of the pool


def _begin_worker(encoder: Encoder) -> None:
    global _encoder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the whole through this program's own process
    torch.set_num_threads(1)
    _encoder = encoder
    _encoder.begin()


def _work(shard: speech.Shard) -> np.ndarray:
    return _encoder.write(shard)


def encode_all(encoder: Encoder, shards: list[speech.Shard], processes: int) -> Iterator[np.ndarray]:
    """On CPUs, two processes of one thread encode 74 s of audio a second where one of two encodes 52."""
    if encoder.device.type != "cpu" or processes == 1:
        encoder.begin()
        yield from map(encoder.write, shards)
        return
    with multiprocessing.get_context("spawn").Pool(processes, _begin_worker, (encoder,)) as pool:
        yield from pool.imap_unordered(_work, shards)


def make_codes(
    speech_folder: Path,
    frozen: Path,
    folder: Path,
    settings: Settings,
    processes: int,
    device: torch.device,
    slot: Slot,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rest = [shard for name in SETS for shard in speech.shards(speech_folder, name)]
    rest = [shard for shard in rest if not (folder / f"{shard.name}.npy").exists()]
    progress = Progress("codes", len(rest), "shards", slot)
    frames = 0
    with closing(encode_all(Encoder(frozen, folder, settings, device), rest, processes)) as all_codes:
        for codes in all_codes:
            frames += len(codes)
            bits = " ".join(f"{bits:.1f}" for bits in entropy(codes, settings.codebook_size))
            rate = frames * FRAME / SAMPLING_RATE / progress.seconds
            progress.step(f"{rate:.0f} s of audio a second, bits of the codebooks {bits}")
            if slot.is_over():
                slot.stop("codes")
