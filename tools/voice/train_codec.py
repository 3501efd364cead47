"""The stage `codec`: encoder, quantizer and the decoder's transformer, without the costly waveform decoder.

Two linear heads, thrown away afterwards, say whether the codes hold what matters: log-mel spectra from the decoder's
transformer, and phonemes from the semantic code (which Mimi learns from another speech model instead).
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import codec
import fast_convolutions
import speech
from progress import Slot, say
from settings import FRAME, SAMPLING_RATE, Settings
from spectra import LogMelTarget
from training import Training, apply_gradients, learning_rate, optimiser, set_rate
from windows import Windows, phone_names, step_rng

UNQUANTIZED_STEPS = 200  # before the codebooks are made
START_VECTORS = 16_384  # latents that the codebooks are made of
SQUARED, PHONES, LATENT_PHONES = 0.3, 0.3, 0.2  # weights of losses beside the spectra's and the commitment


class Heads(nn.Module):
    def __init__(self, settings: Settings, num_phones: int, bands: int) -> None:
        super().__init__()
        num = speech.PHONES_PER_FRAME * num_phones
        self.semantic = nn.Linear(settings.codebook_dim, num)
        self.latent = nn.Linear(settings.codec_hidden, num)
        self.mel = nn.Linear(settings.codec_hidden, LogMelTarget.PER_FRAME // 2 * bands)
        self._num_phones = num_phones

    def phone_loss(self, head: nn.Linear, inputs: torch.Tensor, phones: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(head(inputs).reshape(-1, self._num_phones), phones.reshape(-1))


class CodecTraining:
    def __init__(
        self, speech_folder: Path, settings: Settings, device: torch.device, transferred: Path | None = None
    ) -> None:
        self._settings, self._device = settings, device
        names = phone_names(speech_folder)
        self._windows = Windows(speech_folder, "train", phones=names)
        self._target = LogMelTarget().to(device)
        self.model = codec.make_codec(settings).to(device).train()
        if transferred is not None:
            codec.transfer(transferred, self.model)
        fast_convolutions.use(self.model)
        self.heads = Heads(settings, len(names), self._target.bands).to(device)
        self._quantizer = codec.QuantizerTraining(self.model, settings.quantizer_dropout)
        trained = [value for name, value in self.model.named_parameters() if "decoder_seanet" not in name]
        self.optimiser = optimiser([*trained, *self.heads.parameters()], 0.0, (0.9, 0.98))
        say(f"codec: {self._windows.hours:.1f} h of speech, {len(names)} phonemes")

    def _draw(self, step: int) -> dict[str, torch.Tensor]:
        rng = step_rng(self._settings.seed, step)
        drawn = self._windows.draw(rng, self._settings.codec_batch, self._settings.codec_frames)
        return {name: values.to(self._device) for name, values in drawn.items()}

    def _latents(self, samples: torch.Tensor) -> torch.Tensor:
        return self.model.encoder(samples[:, None]).latents

    @torch.no_grad()
    def _start_codebooks(self, step: int) -> None:
        per_batch = self._settings.codec_batch * self._settings.codec_frames
        count = -(-START_VECTORS // per_batch)
        drawn = [self._latents(self._draw(10**9 + step + index)["samples"]) for index in range(count)]
        self._quantizer.start(torch.cat(drawn))

    def step(self, step: int) -> dict[str, float]:
        settings = self._settings
        set_rate(self.optimiser, settings.codec_learning_rate * learning_rate(step, settings.codec_steps))
        if step == UNQUANTIZED_STEPS:
            self._start_codebooks(step)
        drawn = self._draw(step)
        latents = self._latents(drawn["samples"])
        is_quantized = step >= UNQUANTIZED_STEPS
        quantized = self._quantizer(latents) if is_quantized else self._quantizer.unquantized(latents)
        wanted = self._target(drawn["samples"])
        difference = self._spectra(quantized.latents, wanted.shape) - wanted
        losses = {
            "mel": difference.abs().mean(),
            "phones": self.heads.phone_loss(self.heads.semantic, quantized.semantic, drawn["phones"]),
            "latent_phones": self.heads.phone_loss(self.heads.latent, latents.transpose(1, 2), drawn["phones"]),
            "commitment": quantized.commitment,
        }
        total = losses["mel"] + SQUARED * difference.square().mean() + PHONES * losses["phones"]
        total = total + LATENT_PHONES * losses["latent_phones"] + codec.COMMITMENT * losses["commitment"]
        total.backward()
        norm = apply_gradients(self.optimiser, 1.0)
        return {**{name: loss.item() for name, loss in losses.items()}, "norm": norm}

    def _spectra(self, latents: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        decoder = self.model.decoder
        positions = decoder.upsample(latents).transpose(1, 2)
        hidden = decoder.decoder_transformer(positions).last_hidden_state
        return self.heads.mel(hidden).view(shape)


def take_codec(voice: Path, folder: Path, settings: Settings) -> None:
    """FOLDER/frozen.pt: the codec of a voice that was made before; its waveform decoder may learn more."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(codec.codec_of(voice, settings).state_dict(), folder / "frozen.pt")


def train_codec(
    speech_folder: Path,
    folder: Path,
    settings: Settings,
    device: torch.device,
    slot: Slot,
    transferred: Path | None = None,
) -> None:
    """FOLDER/frozen.pt: the codec, whose codes stay from here on. `transferred`: a voice that lends its networks."""
    trained = CodecTraining(speech_folder, settings, device, transferred)
    parts = {"model": trained.model, "heads": trained.heads, "optimiser": trained.optimiser}
    training = Training(folder, "codec", settings.codec_steps, parts, slot)
    seconds = settings.codec_batch * settings.codec_frames * FRAME / SAMPLING_RATE
    training.run(settings.seed, seconds, trained.step)
    codec.freeze(trained.model)
    torch.save(trained.model.cpu().state_dict(), folder / "frozen.pt")
