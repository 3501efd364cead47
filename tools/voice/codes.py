"""The stage `codes`: every recording through the frozen encoder. WORK/codes/SHARD.npy, [frames, codebooks], int16."""

from collections.abc import Iterator
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


def make_codes(
    speech_folder: Path, frozen: Path, folder: Path, settings: Settings, device: torch.device, slot: Slot
) -> None:
    model = codec.load_codec(frozen, settings).to(device).eval()
    folder.mkdir(parents=True, exist_ok=True)
    rest = [shard for name in SETS for shard in speech.shards(speech_folder, name)]
    rest = [shard for shard in rest if not (folder / f"{shard.name}.npy").exists()]
    progress = Progress("codes", len(rest), "shards", slot)
    frames = 0
    for shard in rest:
        if slot.is_over():
            slot.stop("codes")
        codes = encode(model, shard, device)
        partial = folder / f"{shard.name}.partial.npy"
        np.save(partial, codes)
        partial.rename(folder / f"{shard.name}.npy")
        frames += len(codes)
        bits = " ".join(f"{bits:.1f}" for bits in entropy(codes, settings.codebook_size))
        rate = frames * FRAME / SAMPLING_RATE / progress.seconds
        progress.step(f"{rate:.0f} s of audio a second, bits of the codebooks {bits}")
