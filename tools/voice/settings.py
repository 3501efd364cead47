"""Every number that can be chosen, in one place. `run.py --set NAME=VALUE` changes one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from csm_tools.recipes import RecipeError

SAMPLING_RATE = 24000
FRAME = 1920  # samples of a frame: 80 ms
FRAMES_PER_SECOND = 12.5
SPEAKERS = ["slt", "rms"]  # the teacher of speaker 0, of speaker 1
NUM_SPEAKERS = len(SPEAKERS)


@dataclass(frozen=True)
class Settings:
    seed: int = 1

    # text and synthesis
    num_utterances: int = 34_000  # for training: about 26 hours
    edition: int = 1  # each has other sentences for training; those of the other sets stay
    num_dev: int = 160
    num_held_style: int = 160
    utterances_per_shard: int = 250

    # sizes of the codec: Mimi's structure
    codec_filters: int = 16
    codec_hidden: int = 256
    codec_layers: int = 3
    codec_ffn: int = 768
    codec_window: int = 32  # positions of 40 ms that a layer looks back on
    num_codebooks: int = 8
    codebook_size: int = 512
    codebook_dim: int = 64

    # codec, first stage: all but the waveform decoder
    codec_steps: int = 9_000
    codec_batch: int = 16
    codec_frames: int = 16  # of a window
    codec_learning_rate: float = 1.5e-3
    quantizer_dropout: float = 0.5  # share of windows that have only some of the codebooks

    # codec, second stage: waveforms from codes that stay
    waveform_steps: int = 24_000
    waveform_batch: int = 8
    waveform_frames: int = 10
    waveform_learning_rate: float = 1.2e-3

    # codec, third stage: against discriminators
    adversarial_steps: int = 12_000
    adversarial_batch: int = 6
    adversarial_frames: int = 8
    adversarial_learning_rate: float = 3e-4

    # sizes of the language model: CSM's structure
    backbone_hidden: int = 256
    backbone_ffn: int = 768
    backbone_layers: int = 6
    depth_hidden: int = 192
    depth_ffn: int = 512
    depth_layers: int = 2

    # language model
    lm_epochs: float = 9
    lm_batch: int = 16  # conversations
    lm_accumulation: int = 1  # batches of a step
    lm_depth_ratio: float = 0.5  # of the frames, that the depth decoder learns
    lm_guided_attention: float = 0.3
    lm_code_noise: float = 0.1
    lm_bf16: bool = True  # half the time on a Zen 5; slower without instructions for it
    lm_learning_rate: float = 2e-3
    lm_weight_decay: float = 0.05
    lm_warmup_ratio: float = 0.02
    lm_save_steps: int = 300  # with an evaluation each

    # the checkpoint's own sampling
    temperature: float = 0.3  # word errors on 40 dev sentences: 7.2 %, 9.9 % at 0.4 and 0.5, 8.7 % at 0.6 and 0.6
    depth_temperature: float = 0.4
    top_k: int = 50

    # report
    draws: int = 3

    def scaled(self, scale: float) -> "Settings":
        """Less (or more) of everything that takes time; held-out sentences stay as they are."""
        names = ["num_utterances", "codec_steps", "waveform_steps", "adversarial_steps"]
        return replace(self, **{name: max(1, round(scale * getattr(self, name))) for name in names})

    def with_values(self, assignments: Sequence[str]) -> "Settings":
        """Each NAME=VALUE."""
        types = {field.name: field.type for field in fields(self)}
        values = {}
        for assignment in assignments:
            name, _, value = assignment.partition("=")
            if name not in types:
                raise RecipeError(f"--set {assignment}: there is no {name}; settings.py has all names")
            try:
                values[name] = types[name](json.loads(value))
            except (ValueError, TypeError):
                raise RecipeError(f"--set {assignment}: the value should be a number") from None
        return replace(self, **values)
