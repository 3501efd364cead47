#!/usr/bin/env python3
"""Trains the small two-speaker CSM that ships with csm.cpp, from nothing: texts, teachers, codec, language model.

  tools/voice/run.py --work DIR                          all of it
  tools/voice/run.py --work DIR --minutes 150            as much as fits; the same command goes on
  tools/voice/run.py --work DIR --stages text,synthesis
  tools/voice/run.py --work DIR --scale 0.02             a small one, to see that everything works

Stages, each of which leaves alone what is there already and goes on where it was cut off:

  text            sentences and conversations, and who says them: WORK/text
  synthesis       the teachers say them: WORK/speech
  codec           encoder, quantizer and the decoder's transformer: WORK/codec/frozen.pt
  codes           all recordings as codes: WORK/codes
  waveform        the waveform decoder, by mel spectra: WORK/codec/waveform.pt
  adversarial     the same, against discriminators: WORK/codec/adversarial.pt
  language-model  `csm init` and `csm train`: WORK/lm/run/model; needs codes, not the waveform decoder
  export          one folder, in 16 bits, that csm and transformers load: WORK/csm-tiny
  report          judges listen to held-out sentences: WORK/report/results.md, WORK/csm-tiny/README.md
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from csm_tools.recipes import (
    RecipeError,
    add_csm_option,
    need_csm,
    need_packages,
    parse_stages,
    read_json,
    write_json,
)
from progress import Slot, SlotOver, say
from settings import Settings

STAGES = [
    "text",
    "synthesis",
    "codec",
    "codes",
    "waveform",
    "adversarial",
    "language-model",
    "export",
    "report",
]
TO_BE_CONTINUED = 3  # exit code
PACKAGES = {  # that a stage needs, by the names they are imported by
    "synthesis": ["numpy", "soxr"],
    "codec": ["numpy", "torch", "transformers"],
    "codes": ["numpy", "torch", "transformers"],
    "waveform": ["numpy", "torch", "transformers"],
    "adversarial": ["numpy", "torch", "transformers"],
    "language-model": ["numpy", "torch", "transformers"],
    "export": ["torch", "transformers"],
    "report": ["faster_whisper", "resemblyzer", "speechmos", "whisper_normalizer", "jiwer", "soundfile"],
}


class Recipe:
    def __init__(self, args: argparse.Namespace, settings: Settings, slot: Slot) -> None:
        self.args, self.settings, self.slot = args, settings, slot
        self.work: Path = args.work
        self.speech = self.work / "speech"
        self.codec_folder = self.work / "codec"

    @property
    def device(self) -> Any:
        import torch

        torch.set_num_threads(self.args.threads)
        if self.args.device.startswith("cuda") and not torch.cuda.is_available():
            raise RecipeError(f"--device {self.args.device}: torch finds no such device here")
        return torch.device(self.args.device)

    def once(self, stage: str, make: Callable[[], None]) -> None:
        done = self.work / "done" / f"{stage}.json"
        if done.exists():
            say(f"{stage}: is there already")
            return
        need_packages(PACKAGES.get(stage, []), "tools/voice/requirements.txt")
        say(f"{stage} ...")
        make()
        write_json(done, asdict(self.settings))
        say(f"{stage}: done")

    def need(self, file: Path, stage: str) -> Path:
        if not (self.work / "done" / f"{stage}.json").exists():
            raise RecipeError(f"{file} is not there, or not complete: run the stage {stage} first")
        return file

    def text(self) -> None:
        import texts

        counts = texts.write_texts(self.work / "text", self.settings)
        say("text: " + ", ".join(f"{count} {name}" for name, count in counts.items()))

    def synthesis(self) -> None:
        import synthesis

        text = self.need(self.work / "text", "text")
        synthesis.synthesise(text, self.speech, self.settings, self.args.threads, self.slot)

    def codec(self) -> None:
        import train_codec

        self.need(self.speech, "synthesis")
        if self.args.start is not None:
            train_codec.take_codec(self.args.start, self.codec_folder, self.settings)
            return
        train_codec.train_codec(
            self.speech, self.codec_folder, self.settings, self.device, self.slot, self.args.transfer
        )

    def codes(self) -> None:
        import codes

        frozen = self.need(self.codec_folder / "frozen.pt", "codec")
        processes = self.args.threads
        codes.make_codes(
            self.speech, frozen, self.work / "codes", self.settings, processes, self.device, self.slot
        )

    def waveform(self) -> None:
        import train_waveform

        self.need(self.work / "codes", "codes")
        self._train_decoder(train_waveform.WaveformTraining, self.codec_folder / "frozen.pt")

    def adversarial(self) -> None:
        import train_waveform

        start = self.need(self.codec_folder / "waveform.pt", "waveform")
        self._train_decoder(train_waveform.AdversarialTraining, start)

    def _train_decoder(self, kind: Any, start: Path) -> None:
        import train_waveform

        options = {"settings": self.settings, "device": self.device}
        train_waveform.train(kind, self.speech, self.codec_folder, start, self.slot, **options)

    def language_model(self) -> None:
        self._language_model().make(self.slot)

    def _language_model(self) -> Any:
        from language_model import LanguageModel

        self.need(self.work / "codes", "codes")
        beginning = {"start": self.args.start, "transferred": self.args.transfer}
        return LanguageModel(self.args.csm, self.args.threads, self.work, self.settings, **beginning)

    def export(self) -> None:
        import codec
        import numpy as np
        import speech
        from export import centre, export

        self.need(self.work / "lm", "language-model")
        decoder = codec.load_codec(self.need(self.codec_folder / "adversarial.pt", "adversarial"), self.settings)
        [shard, *_] = speech.shards(self.speech, "dev")
        centre(decoder, shard, np.load(self.work / "codes" / f"{shard.name}.npy"))
        export(self._language_model().result, decoder, self.model, self.settings)

    @property
    def model(self) -> Path:
        return self.work / "csm-tiny"

    def report(self) -> None:
        from report import Report
        from speaking import Csm

        self.need(self.model, "export")
        csm = Csm(self.args.csm, self.model, self.args.threads)
        origin = self.args.start or self.args.transfer
        Report(self.work, self.model, csm, self.settings, self.args.threads, self.args.limit, origin).make(self.slot)


def keep_settings(work: Path, settings: Settings) -> None:
    """A work folder holds one model; only how long to train may be changed in between."""
    file = work / "settings.json"
    wanted = asdict(settings)
    if file.exists():
        before = read_json(file)
        changed = [name for name in wanted if before.get(name) != wanted[name]]
        fixed = [name for name in changed if not is_changeable(name)]
        if fixed:
            raise RecipeError(
                f"{work} was begun with another {fixed[0]} ({file} has all): give that, or another --work"
            )
        if not changed:  # another process may be at work on other stages
            return
    write_json(file, wanted)


def is_changeable(name: str) -> bool:
    return name.endswith(("_steps", "learning_rate", "temperature")) or name in ("lm_epochs", "top_k", "draws")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of all that is made")
    add_csm_option(parser)
    parser.add_argument("--stages", default=",".join(STAGES), help="which of them (default: all)")
    parser.add_argument("--minutes", type=float, help="stop and save after so long (exit code 3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: %(default)s")
    parser.add_argument("--device", default="cpu", help="that the codec trains on: cpu, cuda (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="of texts and steps (default: %(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a number of settings.py, after --scale"
    )
    beginning = parser.add_mutually_exclusive_group()
    beginning.add_argument(
        "--start", type=Path, metavar="MODEL", help="train a voice of this recipe further; its codes keep their meaning"
    )
    beginning.add_argument(
        "--transfer", type=Path, metavar="MODEL", help="begin with the networks of such a voice, but make new codes"
    )
    parser.add_argument("--limit", type=int, help="report: so many sentences of each held-out set (default: all)")
    args = parser.parse_args()
    args.stages = parse_stages(parser, args.stages, STAGES)
    return args


def main() -> int:
    args = parse_args()
    slot = Slot(args.minutes)
    slot.listen()
    try:
        settings = Settings().scaled(args.scale).with_values(args.set)
        keep_settings(args.work, settings)
        if set(args.stages) & {"language-model", "report"}:
            need_csm(args.csm)
        recipe = Recipe(args, settings, slot)
        for stage in STAGES:
            if stage in args.stages:
                recipe.once(stage, getattr(recipe, stage.replace("-", "_")))
    except SlotOver as over:
        say(str(over))
        return 130 if slot.is_interrupted else TO_BE_CONTINUED
    except RecipeError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
