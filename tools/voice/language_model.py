"""The stage `language-model`: `csm init` and `csm train`, on conversations that hold the recordings' codes."""

import json
import signal
import subprocess
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import MimiModel

import code_transfer
import codec
import csm_files
import speech
from codes import encode
from csm_tools.recipes import RecipeError, run_program, write_json
from progress import Slot, say
from settings import Settings

INTERRUPTED = 130  # csm train's exit code after it has saved a checkpoint
SHARDS_TO_COMPARE = 8  # of training speech: an hour and a half


def message(written: str, speaker: int, **audio: Any) -> dict[str, Any]:
    """A turn in Hugging Face's chat form; its audio as path=FILE or, which is csm's alone, codes=[[...], ...]."""
    content: list[dict[str, Any]] = [{"type": "text", "text": written}]
    if audio:
        content.append({"type": "audio", **audio})
    return {"role": str(speaker), "content": content}


def write_conversations(speech_folder: Path, codes_folder: Path, file: Path, name: str) -> None:
    """A conversation a line."""
    partial = file.with_suffix(".partial")
    with partial.open("w") as lines:
        for shard in speech.shards(speech_folder, name):
            codes = np.load(codes_folder / f"{shard.name}.npy")
            for _, turns in groupby(shard.recordings(), key=lambda each: each.conversation):
                messages = []
                for turn in turns:
                    own = codes[turn.first_frame : turn.first_frame + turn.num_frames]
                    messages.append(message(turn.written, turn.speaker, codes=own.tolist()))
                lines.write(json.dumps(messages, ensure_ascii=False) + "\n")
    partial.rename(file)


# What belongs to codes: another codec's mean something else (code_transfer.py).
OF_CODES = (
    "backbone_model.embed_tokens.",
    "lm_head.",
    "depth_decoder.codebooks_head.",
    "depth_decoder.model.embed_tokens.",
    "codec_model.",
)


def codes_of_both(former: MimiModel, speech_folder: Path, codes_folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the same frames by a former codec and by the new one: [frames, codebooks] each."""
    before, after = [], []
    for shard in speech.shards(speech_folder, "train")[:SHARDS_TO_COMPARE]:
        before.append(encode(former, shard, torch.device("cpu")))
        after.append(np.load(codes_folder / f"{shard.name}.npy"))
    return np.concatenate(before), np.concatenate(after)


def transfer(voice: Path, model: Path, speech_folder: Path, codes_folder: Path, size: int) -> None:
    """What another voice's model knows, in a folder that `csm init` made. `size`: codes of a codebook."""
    file = model / "model.safetensors"
    weights, others = load_file(file), load_file(voice / "model.safetensors")
    others = {name: value.float() for name, value in others.items()}
    former = codec.whole_codec_of(voice)
    if former.config.codebook_size == size:
        before, after = codes_of_both(former, speech_folder, codes_folder)
        weights |= code_transfer.carry_over(others, weights, before, after, size)
    for name, weight in weights.items():
        if name.startswith(OF_CODES):
            continue
        if name not in others or others[name].shape != weight.shape:
            raise RecipeError(f"{voice} has other sizes than these settings': {name}")
        weights[name] = others[name]
    save_file(weights, file, {"format": "pt"})


class LanguageModel:
    """`start`: a voice to be trained further; `transferred`: one whose layers it begins with; none: random weights."""

    def __init__(
        self,
        csm: Path,
        threads: int,
        work: Path,
        settings: Settings,
        start: Path | None = None,
        transferred: Path | None = None,
    ) -> None:
        self._csm, self._threads, self._settings = csm, threads, settings
        self._folder = work / "lm"
        self._speech, self._codes = work / "speech", work / "codes"
        self._frozen = work / "codec" / "frozen.pt"
        self._is_fresh, self._transferred = start is None, transferred
        self._initial = start or self._folder / "initial"

    @property
    def result(self) -> Path:
        return self._folder / "run" / "model"

    def make(self, slot: Slot) -> None:
        self._folder.mkdir(exist_ok=True)
        if self._is_fresh and not (self._initial / "config.json").exists():
            self._init()
        for name in ("train", "dev"):
            if not (self._folder / f"{name}.jsonl").exists():
                write_conversations(self._speech, self._codes, self._folder / f"{name}.jsonl", name)
        if not (self.result / "config.json").exists():
            self._train(slot)

    def _init(self) -> None:
        """Random weights around the codec, whose waveform decoder may still be in training: it plays no part."""
        csm_files.write_base(self._folder / "base", self._settings)
        codec.load_codec(self._frozen, self._settings).save_pretrained(self._folder / "codec")
        base = self._folder / "base"
        command = [self._csm, "init", "--config", base, "--tokenizer", base, "--codec", self._folder / "codec"]
        made = self._folder / "made"
        run_program([*command, "--output", made, "--seed", self._settings.seed])
        if self._transferred is not None:
            say("language-model: begins with what that voice knows of its own codes")
            transfer(self._transferred, made, self._speech, self._codes, self._settings.codebook_size)
        made.rename(self._initial)

    def options(self) -> dict[str, Any]:
        """Of csm train, by the names of Hugging Face's TrainingArguments."""
        settings = self._settings
        return {
            "num_train_epochs": settings.lm_epochs,
            "per_device_train_batch_size": settings.lm_batch,
            "gradient_accumulation_steps": settings.lm_accumulation,
            "per_device_eval_batch_size": settings.lm_batch,
            "optim": "muon",
            "learning_rate": settings.lm_learning_rate,
            "weight_decay": settings.lm_weight_decay,
            "lr_scheduler_type": "cosine",
            "warmup_ratio": settings.lm_warmup_ratio,
            "adam_beta2": 0.98,
            "depth_decoder_labels_ratio": settings.lm_depth_ratio,
            "guided_attention": settings.lm_guided_attention,
            "code_noise": settings.lm_code_noise,
            "bf16": settings.lm_bf16,
            "save_steps": settings.lm_save_steps,
            "logging_steps": 25,
            "save_total_limit": 2,
            "load_best_model_at_end": True,
            "num_samples": 2,
            "seed": settings.seed,
        }

    def _train(self, slot: Slot) -> None:
        run, config = self._folder / "run", self._folder / "train.json"
        write_json(config, self.options())
        command = [self._csm, "train", "--model", self._initial, "--config", config]
        command += ["--train-data", self._folder / "train.jsonl", "--eval-data", self._folder / "dev.jsonl"]
        command += ["--output", run, "--threads", self._threads]
        if list(run.glob("checkpoint-*")):
            command.append("--resume")
        parts = [str(part) for part in command]
        say(f"$ {' '.join(parts)}")
        # In a group of its own: Ctrl-C reaches it through this program alone, once.
        process = subprocess.Popen(parts, start_new_session=True)
        try:
            while process.poll() is None:
                try:
                    process.wait(timeout=2)
                except subprocess.TimeoutExpired:
                    if slot.is_over():
                        process.send_signal(signal.SIGTERM)
                        process.wait()
        except KeyboardInterrupt:
            process.kill()
            raise
        if process.returncode == INTERRUPTED or (process.returncode != 0 and slot.is_over()):
            slot.stop("language-model")
        if process.returncode != 0:
            raise RecipeError(f"csm train ended with exit code {process.returncode}")
