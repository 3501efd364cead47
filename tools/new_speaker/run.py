#!/usr/bin/env python3
"""Teaches a CSM checkpoint a new speaker from 190 sentences of a speech synthesiser, and measures it.

  tools/new_speaker/run.py --model DIR --work DIR
  tools/new_speaker/run.py --model DIR --work DIR --name lora --method lora
  tools/new_speaker/run.py --model DIR --work DIR --name slow --set learning_rate=1e-4

Stages, each of which leaves alone what is there already:

  speech   flite speaks the sentences: WORK/data/{train,dev,held_out}
  before   the model speaks the held-out sentences, and its codec repeats flite's recordings of them
  train    `csm train`: WORK/runs/NAME; the best checkpoint by the loss on the dev sentences counts
  after    the trained model speaks the held-out sentences
  report   Whisper and Resemblyzer judge them all: WORK/results.json, WORK/results.md

Several trainings (--name) share a work folder; the report has a row for each.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import dataset
from csm_program import Csm, Model
from csm_tools.recipes import (
    ROOT,
    RecipeError,
    add_csm_option,
    need_csm,
    need_packages,
    parse_stages,
    read_json,
    write_json,
)
from report import CODEC_ROW, markdown

STAGES = ["speech", "before", "train", "after", "report"]
NUM_DEV = 10
NUM_FORMER = 20  # training sentences that tell what the model sounded like
NUM_NEW = 20  # and what the new speaker does
JUDGES = ["faster_whisper", "resemblyzer", "whisper_normalizer", "jiwer"]
LOSSES = ("loss", "backbone_loss", "depth_decoder_loss")


def say(text: str) -> None:
    print(f"new_speaker: {text}", file=sys.stderr, flush=True)


class Recipe:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.work: Path = args.work
        self.csm = Csm(args.csm, args.threads)
        self.run_dir = self.work / "runs" / args.name

    def once(self, part: str, options: dict[str, Any], make: Callable[[], None]) -> None:
        """Makes a part of the work folder unless it is there, made with the same options."""
        stamp = self.stamp(part)
        if not stamp.exists():
            say(f"{part} ...")
            start = time.monotonic()
            make()
            write_json(stamp, options)
            say(f"{part}: {time.monotonic() - start:.0f} s")
        elif read_json(stamp) == options:
            say(f"{part}: is there already")
        else:
            raise RecipeError(
                f"{part} in {self.work} was made with other options ({stamp} has them): "
                "give those, another --work, or for another training another --name"
            )

    def need(self, part: str, stage: str) -> Any:
        """The options that the part was made with."""
        stamp = self.stamp(part)
        if not stamp.exists():
            raise RecipeError(f"{part} is not in {self.work}, or not complete: run the stage {stage} first")
        return read_json(stamp)

    def stamp(self, part: str) -> Path:
        return self.work / "done" / f"{part.replace('/', '-')}.json"

    # speech

    def speech(self) -> None:
        dataset.need_programs("flite", "sox")
        train, dev = dataset.split(dataset.read_sentences(HERE / "sentences.txt"), NUM_DEV)
        held_out = dataset.read_sentences(HERE / "held_out.txt")
        for name, texts in (("train", train), ("dev", dev), ("held_out", held_out)):
            options = {"voice": self.args.voice, "speaker": self.args.speaker, "texts": texts}
            folder = self.work / "data" / name
            self.once(f"data/{name}", options, lambda f=folder, o=options: dataset.write_dataset(f, **o))

    def recordings(self, name: str) -> list[dataset.Recording]:
        folder = self.work / "data" / name
        self.need(f"data/{name}", "speech")
        return dataset.read_dataset(folder)

    # before

    def before(self) -> None:
        model = {"model": str(self.args.model.resolve())}
        former = [recording.text for recording in self.recordings("train")[:NUM_FORMER]]
        untrained = Model(self.args.model)
        self.once("spoken/former", model, lambda: self.speak(untrained, former, "former", [0]))
        self.speak_held_out(untrained, "before", model)
        self.once("codec", model, self.codec)
        self.once("losses/before", model, lambda: self.losses(untrained, "before"))

    def speak(self, model: Model, texts: list[str], name: str, seeds: list[int]) -> None:
        for seed in seeds:
            folder = self.work / "spoken" / name / f"seed_{seed}"
            self.csm.generate(model, texts, self.args.speaker, seed, folder)

    def speak_held_out(self, model: Model, name: str, options: dict[str, Any]) -> None:
        texts = [recording.text for recording in self.recordings("held_out")]
        seeds = list(range(1, self.args.seeds + 1))
        options = {**options, "seeds": seeds}
        self.once(f"spoken/{name}", options, lambda: self.speak(model, texts, name, seeds))

    def codec(self) -> None:
        """What the model could say at best, had it learnt every code."""
        for name, number in (("held_out", None), ("train", NUM_NEW)):
            folder = self.work / "codec" / name
            folder.mkdir(parents=True, exist_ok=True)
            for recording in self.recordings(name)[:number]:
                self.csm.round_trip(self.args.model, recording.audio, folder / recording.audio.name)

    def losses(self, model: Model, name: str) -> None:
        """Of sentences that were not learnt, with the recordings' codes as history."""
        found = {}
        for part in ("dev", "held_out"):
            found[part] = self.csm.losses(model, self.work / "data" / part)
        write_json(self.work / "losses" / f"{name}.json", found)

    # train

    def train(self) -> None:
        options = self.train_options()
        self.once(f"runs/{self.args.name}", options, lambda: self.train_once(options))

    def train_options(self) -> dict[str, Any]:
        options = read_json(HERE / f"train_{self.args.method}.json")
        for setting in self.args.set:
            name, is_set, value = setting.partition("=")
            if not is_set:
                raise RecipeError(f"--set {setting} should be NAME=VALUE, by a name of `csm train --help`")
            try:
                options[name] = json.loads(value)
            except json.JSONDecodeError:
                options[name] = value
        return options

    def train_once(self, options: dict[str, Any]) -> None:
        config = self.work / "runs" / f"{self.args.name}.json"
        write_json(config, options)
        data = self.work / "data"
        start = time.monotonic()
        self.csm.train(
            self.args.model, data / "train", data / "dev", config, self.run_dir, self.work / "codes"
        )
        write_json(self.run_dir / "training.json", self.training_record(options, time.monotonic() - start))

    def training_record(self, options: dict[str, Any], seconds: float) -> dict[str, Any]:
        lines = [json.loads(line) for line in (self.run_dir / "metrics.jsonl").read_text().splitlines()]
        evaluations = [line for line in lines if "eval_loss" in line]
        state = read_json(self.run_dir / f"checkpoint-{evaluations[-1]['step']}" / "trainer_state.json")
        best = next(line for line in evaluations if line["step"] == state["best_step"])
        return {
            "options": options,
            "seconds": seconds,
            "steps": evaluations[-1]["step"],
            "best_step": best["step"],
            "best": {name: best[f"eval_{name}"] for name in LOSSES},
            "last": {name: evaluations[-1][f"eval_{name}"] for name in LOSSES},
        }

    # after

    def after(self) -> None:
        self.need(f"runs/{self.args.name}", "train")
        options = {"step": read_json(self.run_dir / "training.json")["best_step"]}
        adapter = self.run_dir / "adapter"
        model = Model(self.args.model, adapter) if adapter.exists() else Model(self.run_dir / "model")
        self.speak_held_out(model, self.args.name, options)
        self.once(f"losses/{self.args.name}", options, lambda: self.losses(model, self.args.name))

    # report

    def report(self) -> None:
        self.need("losses/before", "before")  # the last of that stage
        trainings = self.trainings()
        measured = self.judge([name for name in trainings if self.is_measured(name)])
        results = {
            "model": self.args.model.name,
            "voice": self.args.voice,
            "speaker": self.args.speaker,
            **measured,
            "losses": {file.stem: read_json(file) for file in sorted((self.work / "losses").glob("*.json"))},
            "trainings": trainings,
        }
        write_json(self.work / "results.json", results)
        table = markdown(results)
        (self.work / "results.md").write_text(table)
        print(table)

    def trainings(self) -> dict[str, Any]:
        files = sorted(self.work.glob("runs/*/training.json"))
        return {file.parent.name: read_json(file) for file in files}

    def is_measured(self, name: str) -> bool:
        return self.stamp(f"losses/{name}").exists()

    def judge(self, trained: list[str]) -> dict[str, Any]:
        measure = import_measure()
        texts = [recording.text for recording in self.recordings("held_out")]
        files = [recording.audio for recording in self.recordings("held_out")]
        codec = [self.work / "codec/held_out" / file.name for file in files]
        rows = [measure.Row("recordings", texts, files), measure.Row(CODEC_ROW, texts, codec)]
        for name in ("before", *trained):
            seeds = self.need(f"spoken/{name}", "after")["seeds"]
            title = name if name == "before" else f"after: {name}"
            rows.append(measure.load_row(self.work / "spoken" / name, title, texts, seeds))
        voices = {
            "new": [recording.audio for recording in self.recordings("train")[:NUM_NEW]],
            "codec": sorted((self.work / "codec/train").glob("*.wav")),
            "former": sorted((self.work / "spoken/former/seed_0").glob("*.wav")),
        }
        judges = measure.Judges(self.work / "whisper", self.args.threads, voices)
        return {
            "voices_alike": judges.voices_alike(),
            "rows": {row.name: self.judge_row(judges, row) for row in rows},
        }

    def judge_row(self, judges: Any, row: Any) -> dict[str, Any]:
        file = self.work / "judged" / f"{row.name.replace(': ', '-').replace(' ', '-')}.json"

        def progress(number: int) -> None:
            if number % 40 == 0 or number == len(row.files):
                say(f"judging {row.name}: {number} of {len(row.files)}")

        if not file.exists():
            write_json(file, judges(row, progress))
        return read_json(file)


def import_measure() -> Any:
    """The judges' packages are needed by the last stage alone."""
    need_packages(JUDGES, "tools/new_speaker/requirements.txt")
    import measure

    return measure


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="CSM checkpoint to teach")
    parser.add_argument("--work", type=Path, default=ROOT / "build/new_speaker", help="default: %(default)s")
    add_csm_option(parser)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--voice", default="rms", help="flite's: rms, slt, awb, kal16 (default: %(default)s)")
    parser.add_argument("--speaker", type=int, default=0, help="the new one's number (default: %(default)s)")
    parser.add_argument("--name", default="full", help="of this training (default: %(default)s)")
    parser.add_argument(
        "--method", choices=["full", "lora"], default="full", help="options of train_METHOD.json"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option of csm train, over the method's",
    )
    parser.add_argument("--seeds", type=int, default=3, help="times each sentence is spoken")
    parser.add_argument("--stages", default=",".join(STAGES), help="which of them (default: %(default)s)")
    args = parser.parse_args()
    args.stages = parse_stages(parser, args.stages, STAGES)
    return args


def main() -> int:
    args = parse_args()
    try:
        if set(args.stages) & {"before", "train", "after"}:
            need_csm(args.csm)
        recipe = Recipe(args)
        for stage in STAGES:
            if stage in args.stages:
                getattr(recipe, stage)()
    except RecipeError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
