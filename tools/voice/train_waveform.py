"""The stages `waveform` and `adversarial`: from the frozen codes to samples.

The decoder's transformer, cheap at 25 positions a second, sees frames before the window, as it will when it speaks;
the convolutions compute the window alone.
"""

from pathlib import Path

import torch

import codec
import fast_convolutions
from discriminators import Discriminators, deceived_loss, feature_loss, own_loss
from progress import Slot
from settings import FRAME, SAMPLING_RATE, Settings
from spectra import MelLoss
from training import Training, apply_gradients, learning_rate, optimiser, set_rate
from windows import Windows, step_rng

BEFORE = 8  # frames that the transformer sees before the window
SETTLING = 1  # frames at the beginning that do not count: the convolutions lack what came before
STARTS_EVERY = 3  # steps: then windows are beginnings, where nothing came before, and all counts
MEL, DECEIVED, FEATURES = 5.0, 1.0, 1.0  # weights of losses
OWN_RATE = 3.0  # of the discriminators, which are small, to that of the decoder
DISCRIMINATOR_START = 200  # steps that the discriminators learn alone
DISCRIMINATED = 8_192  # samples of each window that the discriminators hear
BETAS = (0.8, 0.98)


class WaveformTraining:
    """By mel spectra alone."""

    NAME, SEED = "waveform", 1

    def __init__(self, speech: Path, folder: Path, start: Path, settings: Settings, device: torch.device) -> None:
        self.settings, self.device = settings, device
        self.model = codec.load_codec(start, settings).to(device).train()
        fast_convolutions.use(self.model)
        self.model.encoder.requires_grad_(False)
        self.model.quantizer.requires_grad_(False)
        self.mel_loss = MelLoss().to(device)
        self.optimiser = optimiser(list(self.model.decoder.parameters()), 0.0, BETAS)
        self._windows = Windows(speech, "train", codes=folder.parent / "codes")

    @property
    def parts(self) -> dict[str, object]:
        return {"decoder": self.model.decoder, "optimiser": self.optimiser}

    def option(self, name: str) -> float:
        return getattr(self.settings, f"{self.NAME}_{name}")

    @property
    def audio_seconds(self) -> float:
        """Of a step."""
        return self.option("batch") * self.option("frames") * FRAME / SAMPLING_RATE

    def speak(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What the decoder makes of a batch, and the recordings: [batch, samples]."""
        rng = step_rng(self.settings.seed + 1000 * self.SEED, step)
        frames = self.option("frames") + SETTLING
        is_start = step % STARTS_EVERY == 0
        before, share = (0, 1.0) if is_start else (BEFORE, 0.0)
        drawn = self._windows.draw(rng, self.option("batch"), frames, before, share)
        codes, samples = drawn["codes"].to(self.device), drawn["samples"].to(self.device)
        decoder = self.model.decoder
        with torch.no_grad():
            latents = self.model.quantizer.decode(codes)
        positions = decoder.upsample(latents).transpose(1, 2)
        hidden = decoder.decoder_transformer(positions).last_hidden_state
        made = decoder.decoder_seanet(hidden[:, -2 * frames :].transpose(1, 2))
        kept = slice(-SETTLING * FRAME) if is_start else slice(SETTLING * FRAME, None)  # of one length
        return made[:, 0, kept], samples[:, kept]

    def step(self, step: int) -> dict[str, float]:
        set_rate(self.optimiser, self.option("learning_rate") * learning_rate(step, self.option("steps")))
        loss = self.mel_loss(*self.speak(step))
        loss.backward()
        return {"mel": loss.item(), "norm": apply_gradients(self.optimiser, 3.0)}


class AdversarialTraining(WaveformTraining):
    """Against discriminators that learn at the same time."""

    NAME, SEED = "adversarial", 2

    def __init__(self, speech: Path, folder: Path, start: Path, settings: Settings, device: torch.device) -> None:
        super().__init__(speech, folder, start, settings, device)
        torch.manual_seed(settings.seed)
        self.discriminators = Discriminators().to(device, memory_format=torch.channels_last)  # a tenth faster
        self.own_optimiser = optimiser(list(self.discriminators.parameters()), 0.0, BETAS)

    @property
    def parts(self) -> dict[str, object]:
        own = {"discriminators": self.discriminators, "own_optimiser": self.own_optimiser}
        return {**super().parts, **own}

    def _judge(self, samples: torch.Tensor) -> list:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=fast_convolutions.has_bf16(self.device)):
            return self.discriminators(samples)

    def step(self, step: int) -> dict[str, float]:
        rate = self.option("learning_rate") * learning_rate(step, self.option("steps"))
        set_rate(self.optimiser, rate)
        set_rate(self.own_optimiser, OWN_RATE * rate)
        made, real = self.speak(step)
        first = int(torch.randint(max(1, made.shape[1] - DISCRIMINATED + 1), ()))
        heard_made, heard_real = (x[:, first : first + DISCRIMINATED] for x in (made, real))
        losses = {"own": self._learn_to_tell(heard_made.detach(), heard_real)}
        mel = self.mel_loss(made, real)
        total = MEL * mel
        if step >= DISCRIMINATOR_START:
            self.discriminators.requires_grad_(False)
            with torch.no_grad():
                judged_real = self._judge(heard_real)
            judged_made = self._judge(heard_made)
            deceived, features = deceived_loss(judged_made), feature_loss(judged_real, judged_made)
            total = total + DECEIVED * deceived + FEATURES * features
            losses |= {"deceived": deceived.item(), "features": features.item()}
            self.discriminators.requires_grad_(True)
        total.backward()
        return {"mel": mel.item(), **losses, "norm": apply_gradients(self.optimiser, 10.0)}

    def _learn_to_tell(self, made: torch.Tensor, real: torch.Tensor) -> float:
        loss = own_loss(self._judge(real), self._judge(made))
        loss.backward()
        apply_gradients(self.own_optimiser, 5.0)
        return loss.item()


def train(kind: type[WaveformTraining], speech: Path, folder: Path, start: Path, slot: Slot, **options) -> None:
    """FOLDER/NAME.pt: the whole codec."""
    trained = kind(speech, folder, start, **options)
    training = Training(folder, kind.NAME, trained.option("steps"), trained.parts, slot)
    training.run(trained.settings.seed + 1000 * kind.SEED, trained.audio_seconds, trained.step)
    torch.save(trained.model.cpu().state_dict(), folder / f"{kind.NAME}.pt")
