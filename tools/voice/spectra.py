"""Mel spectrograms, as targets and as losses."""

import numpy as np
import torch
from torch import nn

from settings import SAMPLING_RATE

FLOOR = 3e-3  # of magnitudes, before the logarithm: silence


def mel_filters(fft: int, bands: int) -> torch.Tensor:
    """[bands, fft / 2 + 1]: triangles of area 1 up to half the sampling rate; empty ones are left out."""
    top = 2595 * np.log10(1 + SAMPLING_RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    frequencies = np.linspace(0, SAMPLING_RATE / 2, fft // 2 + 1)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising = (frequencies - low) / (middle - low)
    falling = (high - frequencies) / (high - middle)
    filters = np.maximum(0, np.minimum(rising, falling))
    filters = filters[filters.sum(axis=1) > 0]
    return torch.tensor(filters / filters.sum(axis=1, keepdims=True), dtype=torch.float32)


class Mel(nn.Module):
    """[batch, samples] to [batch, bands, frames]: magnitudes."""

    def __init__(self, fft: int, hop: int, bands: int) -> None:
        super().__init__()
        self._fft, self._hop = fft, hop
        self.register_buffer("window", torch.hann_window(fft), persistent=False)
        self.register_buffer("filters", mel_filters(fft, bands), persistent=False)

    @property
    def bands(self) -> int:
        return self.filters.shape[0]

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(samples, self._fft, self._hop, window=self.window, return_complex=True)
        power = torch.view_as_real(spectrum).square().sum(-1)
        return self.filters @ (power + 1e-6).sqrt()


class LogMelTarget(nn.Module):
    """What the first stage learns: 8 spectra a frame, of about unit variance. [batch, 8 * frames, bands]

    Bands of long windows show harmonics, which is pitch; those of short ones how a sound begins, and its formants."""

    PER_FRAME = 8

    def __init__(self) -> None:
        super().__init__()
        self._mels = nn.ModuleList([Mel(1024, 240, 80), Mel(512, 240, 60)])

    @property
    def bands(self) -> int:
        return sum(mel.bands for mel in self._mels)

    @torch.no_grad()
    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        mel = torch.cat([mel(samples)[..., : samples.shape[-1] // 240] for mel in self._mels], dim=1)
        return ((mel.clamp(min=FLOOR).log() + 2) / 2).transpose(1, 2)


class MelLoss(nn.Module):
    """Distances of mel spectra at several resolutions, their logarithms' above all."""

    RESOLUTIONS = ((2048, 512, 128), (1024, 256, 80), (512, 128, 64), (256, 64, 32), (128, 32, 16))
    LINEAR = 0.3  # weight of magnitudes as they are, which tell loud parts from louder ones

    def __init__(self) -> None:
        super().__init__()
        self._mels = nn.ModuleList(Mel(*resolution) for resolution in self.RESOLUTIONS)
        self._gains = [(1024 / fft) ** 0.5 for fft, _, _ in self.RESOLUTIONS]  # of alike levels

    def forward(self, made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        total = made.new_zeros(())
        for mel, gain in zip(self._mels, self._gains, strict=True):
            a = mel(made) * gain
            with torch.no_grad():
                b = mel(wanted) * gain
            logarithms = (a.clamp(min=FLOOR).log() - b.clamp(min=FLOOR).log()).abs().mean()
            linear = (a - b).abs().mean() / (b.mean() + 1e-2)
            total = total + logarithms + self.LINEAR * linear
        return total / len(self._mels)
