"""Runs the csm program: speech, losses, codec, training.

Not csm_tools.program, which compares greedy codes with Hugging Face's and needs its packages.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csm_tools.recipes import run_program


def turn(text: str, speaker: int) -> dict[str, Any]:
    """A turn of a conversation in Hugging Face's chat form, to be spoken."""
    return {"role": str(speaker), "content": [{"type": "text", "text": text}]}


@dataclass(frozen=True)
class Model:
    checkpoint: Path
    adapter: Path | None = None

    def arguments(self) -> list[Any]:
        adapter = [] if self.adapter is None else ["--adapter", self.adapter]
        return ["--model", self.checkpoint, *adapter]


@dataclass(frozen=True)
class Csm:
    binary: Path
    threads: int

    def generate(self, model: Model, texts: Sequence[str], speaker: int, seed: int, folder: Path) -> list[str]:
        """Speaks each text on its own into folder/N.wav; how each ended ("stop": by itself).

        All texts are a batch, whose rows do not influence each other.
        """
        folder.mkdir(parents=True, exist_ok=True)
        batch, codes = folder / "texts.json", folder / "codes.json"
        batch.write_text(json.dumps([[turn(text, speaker)] for text in texts], indent=1))
        output = ["--output", folder / "speech.wav", "--codes", codes]
        self._run("generate", *model.arguments(), "--conversation", batch, *output, "--seed", seed, "--quiet")
        for index in range(len(texts)):
            (folder / f"speech_{index}.wav").rename(folder / f"{index:03}.wav")
        return json.loads(codes.read_text())["finish_reason"]

    def round_trip(self, model: Path, audio: Path, output: Path) -> None:
        """The audio through the codec's codes and back."""
        codes = output.with_suffix(".json")
        self._run("encode", "--model", model, audio, "--codes", codes, "--quiet")
        self._run("decode", "--model", model, codes, "--output", output, "--quiet")

    def losses(self, model: Model, data: Path) -> dict[str, float]:
        """Of a dataset, as csm train's evaluation has them."""
        return json.loads(self._run("eval", *model.arguments(), "--conversation", data, "--json"))

    def train(self, model: Path, data: Path, dev: Path, config: Path, output: Path, cache: Path) -> None:
        command = [self.binary, "train", "--model", model, "--train-data", data, "--eval-data", dev]
        command += ["--config", config, "--output", output, "--cache", cache, "--threads", self.threads]
        if list(output.glob("checkpoint-*[0-9]")):
            command.append("--resume")
        print("$", *command, file=sys.stderr)
        run_program(command, is_shown=True)

    def _run(self, command: str, *options: Any) -> str:
        return run_program([self.binary, command, "--threads", self.threads, *options])
