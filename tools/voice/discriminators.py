"""Tell real waveforms from made ones: by periods (as in HiFi-GAN), and by spectra at three resolutions."""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

PERIODS = (2, 3, 5, 7, 11)
SPECTRA = ((1024, 256), (512, 128), (256, 64))  # of fft and hop

Judged = tuple[torch.Tensor, list[torch.Tensor]]  # scores, and what each layer saw


class _Stack(nn.Module):
    """Convolutions of which all but the last are followed by a leaky ReLU."""

    def __init__(self, layers: list[nn.Conv2d]) -> None:
        super().__init__()
        self._layers = nn.ModuleList(weight_norm(layer) for layer in layers)

    def forward(self, x: torch.Tensor) -> Judged:
        seen = []
        for layer in self._layers[:-1]:
            x = functional.leaky_relu(layer(x), 0.1)
            seen.append(x)
        return self._layers[-1](x), seen


class PeriodDiscriminator(nn.Module):
    def __init__(self, period: int) -> None:
        super().__init__()
        self._period = period
        widths = (1, 8, 32, 64)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        layers = [nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in pairs]
        layers += [nn.Conv2d(64, 64, (5, 1), 1, (2, 0)), nn.Conv2d(64, 1, (3, 1), 1, (1, 0))]
        self._stack = _Stack(layers)

    def forward(self, samples: torch.Tensor) -> Judged:
        padded = functional.pad(samples, (0, -samples.shape[1] % self._period))
        return self._stack(padded.view(len(samples), 1, -1, self._period))


class SpectrumDiscriminator(nn.Module):
    def __init__(self, fft: int, hop: int, width: int = 16) -> None:
        super().__init__()
        self._fft, self._hop = fft, hop
        self.register_buffer("window", torch.hann_window(fft), persistent=False)
        layers = [nn.Conv2d(2, width, (3, 7), (1, 2), (1, 3))]
        layers += [nn.Conv2d(width, width, (3, 7), (1, 2), (1, 3)) for _ in range(2)]
        layers += [nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, 1, 3, 1, 1)]
        self._stack = _Stack(layers)

    def forward(self, samples: torch.Tensor) -> Judged:
        spectrum = torch.stft(
            samples.float(), self._fft, self._hop, window=self.window, normalized=True, return_complex=True
        )
        return self._stack(torch.view_as_real(spectrum).permute(0, 3, 2, 1))


class Discriminators(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.all = nn.ModuleList(PeriodDiscriminator(period) for period in PERIODS)
        self.all.extend(SpectrumDiscriminator(fft, hop) for fft, hop in SPECTRA)

    def forward(self, samples: torch.Tensor) -> list[Judged]:
        return [each(samples) for each in self.all]


def own_loss(real: list[Judged], made: list[Judged]) -> torch.Tensor:
    """Least squares: 1 for real, 0 for made."""
    pairs = [((1 - a.float()) ** 2).mean() + (b.float() ** 2).mean() for (a, _), (b, _) in zip(real, made, strict=True)]
    return torch.stack(pairs).mean()


def deceived_loss(made: list[Judged]) -> torch.Tensor:
    return torch.stack([((1 - scores.float()) ** 2).mean() for scores, _ in made]).mean()


def feature_loss(real: list[Judged], made: list[Judged]) -> torch.Tensor:
    """How differently the layers see the two, relative to what they see."""
    distances = []
    for (_, wanted), (_, got) in zip(real, made, strict=True):
        for a, b in zip(wanted, got, strict=True):
            a = a.detach().float()
            distances.append((a - b.float()).abs().mean() / (a.abs().mean() + 1e-3))
    return torch.stack(distances).mean()
