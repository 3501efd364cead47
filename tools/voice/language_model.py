"""The stage `language-model`: `csm init` and `csm train`, on conversations of the teachers' recordings.

`csm train` takes audio files, encodes each once with the model's codec and keeps the codes: WORK/lm/codes.
"""

import json
import signal
import subprocess
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import codec
import csm_files
import speech
from csm_tools.recipes import RecipeError, run_program, write_json
from progress import Progress, Slot, say
from settings import SAMPLING_RATE, Settings

INTERRUPTED = 130  # csm train's exit code after it has saved a checkpoint


def message(written: str, speaker: int, audio: Path | str | None = None) -> dict[str, Any]:
    """A turn in Hugging Face's chat form."""
    content = [{"type": "text", "text": written}]
    if audio is not None:
        content.append({"type": "audio", "path": str(audio)})
    return {"role": str(speaker), "content": content}


def write_flac(file: Path, samples: np.ndarray) -> None:
    partial = file.with_suffix(".partial")
    soundfile.write(partial, samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    partial.rename(file)


def write_conversations(speech_folder: Path, folder: Path, name: str, slot: Slot) -> None:
    """FOLDER/NAME.jsonl, a conversation a line, and the audio files of its turns."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    conversations = []
    shards = speech.shards(speech_folder, name)
    progress = Progress(f"language-model: audio of {name}", len(shards), "shards", slot)
    for shard in shards:
        if slot.is_over():
            slot.stop("language-model")
        audio = shard.audio()
        for _, turns in groupby(shard.recordings(), key=lambda each: each.conversation):
            messages = []
            for turn in turns:
                file = folder / "audio" / f"{turn.id}.flac"
                if not file.exists():
                    first = turn.first_frame * speech.FRAME
                    write_flac(file, audio[first : first + turn.num_frames * speech.FRAME])
                messages.append(message(turn.written, turn.speaker, f"audio/{file.name}"))
            conversations.append(messages)
        progress.step(f"{len(conversations)} conversations")
    lines = [json.dumps(conversation, ensure_ascii=False) for conversation in conversations]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


class LanguageModel:
    def __init__(self, csm: Path, threads: int, work: Path, settings: Settings) -> None:
        self._csm, self._threads, self._settings = csm, threads, settings
        self._folder = work / "lm"
        self._speech = work / "speech"
        self._frozen = work / "codec" / "frozen.pt"

    @property
    def result(self) -> Path:
        return self._folder / "run" / "model"

    def make(self, slot: Slot) -> None:
        if not (self._folder / "initial" / "config.json").exists():
            self._init()
        for name in ("train", "dev"):
            if not (self._folder / f"{name}.jsonl").exists():
                write_conversations(self._speech, self._folder, name, slot)
        if not (self.result / "config.json").exists():
            self._train(slot)

    def _init(self) -> None:
        """Random weights around the codec, whose waveform decoder may still be in training: it plays no part."""
        csm_files.write_base(self._folder / "base", self._settings)
        codec.load_codec(self._frozen, self._settings).save_pretrained(self._folder / "codec")
        base, initial = self._folder / "base", self._folder / "initial"
        command = [self._csm, "init", "--config", base, "--tokenizer", base, "--codec", self._folder / "codec"]
        run_program([*command, "--output", initial, "--seed", self._settings.seed])

    def options(self) -> dict[str, Any]:
        """Of csm train, by the names of Hugging Face's TrainingArguments."""
        settings = self._settings
        return {
            "num_train_epochs": settings.lm_epochs,
            "per_device_train_batch_size": settings.lm_batch,
            "per_device_eval_batch_size": settings.lm_batch,
            "learning_rate": settings.lm_learning_rate,
            "weight_decay": settings.lm_weight_decay,
            "lr_scheduler_type": "cosine",
            "warmup_ratio": settings.lm_warmup_ratio,
            "adam_beta2": 0.98,
            "depth_decoder_labels_ratio": 1,
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
        command = [self._csm, "train", "--model", self._folder / "initial", "--config", config]
        command += ["--train-data", self._folder / "train.jsonl", "--eval-data", self._folder / "dev.jsonl"]
        command += ["--output", run, "--cache", self._folder / "codes", "--threads", self._threads]
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
