"""csm beside Hugging Face in one run, taking turns, so that a busy machine slows both down."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers

from csm_tools.hf_speed import HuggingFace, HuggingFaceCodec
from csm_tools.program import run_measured

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}
TYPES = ("f32", "f16", "bf16", "bf16 fast", "q8_0", "q4")  # of csm; fast: --precision
PROMPTS = (100, 512)
FRAME, DECODE, ENCODE = "frame_ms", "decode_rtf", "encode_rtf"
RATES = {f"prefill_{n}_per_s": n for n in PROMPTS}  # where more is better
ROWS = {
    FRAME: "ms a frame",
    **{rate: f"prompt of {n}, positions a second" for rate, n in RATES.items()},
    DECODE: "codec, decode, of real time",
    ENCODE: "codec, encode, of real time",
}


@dataclass(frozen=True)
class Plan:
    binary: Path
    folder: Path  # of the checkpoint
    threads: int
    types: tuple[str, ...]
    hf_types: tuple[str, ...] = ("bf16",)
    rounds: int = 3
    frames: int = 8  # of Hugging Face each turn
    with_prompts_and_codec: bool = True


class Samples:
    """All that was measured, by who and what."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, who: str, what: str, *values: float) -> None:
        self._values[who, what] += values

    def get(self, who: str, what: str) -> float | None:
        values = self._values.get((who, what))
        return median(values) if values else None

    def times(self, csm: str, hf: str, what: str) -> float | None:
        """How many times as fast csm is."""
        ours, theirs = self.get(csm, what), self.get(hf, what)
        if ours is None or theirs is None:
            return None
        return ours / theirs if what in RATES else theirs / ours


class CsmBench:
    """`csm bench` on one type of the checkpoint, e.g. "q4" or "bf16 fast"."""

    def __init__(self, plan: Plan, name: str, scratch: Path) -> None:
        self._plan = plan
        dtype, *precision = name.split()
        self._source = ["--model", str(plan.folder), "--type", dtype]
        if precision:
            self._source += ["--precision", *precision]
        if dtype in ("q8_0", "q4"):  # once, not at each turn
            file = scratch / f"{dtype}.gguf"
            options = ["--model", str(plan.folder), "--type", dtype, "--output", str(file)]
            run_measured([str(plan.binary), "quantize", *options])
            self._source = ["--model", str(file)]

    def run(self, *parts: str) -> dict[str, Any]:
        options = ["--threads", str(self._plan.threads), "--only", ",".join(parts), "--json", "-"]
        return json.loads(run_measured([str(self._plan.binary), "bench", *self._source, *options]).stdout)


def measure(plan: Plan, note: Callable[[str], None]) -> Samples:
    samples = Samples()
    models = {name: HuggingFace(plan.folder, DTYPES[name]) for name in plan.hf_types}
    with tempfile.TemporaryDirectory(dir=plan.folder.parent) as scratch:
        note("quantizing")
        programs = {name: CsmBench(plan, name, Path(scratch)) for name in plan.types}
        for turn in range(plan.rounds):
            for name, program in programs.items():
                note(f"frames, turn {turn + 1} of {plan.rounds}: {name}")
                add_hf_frames(samples, models, plan.frames)
                samples.add(name, FRAME, program.run("frame")["frame_ms"]["median"])
        if plan.with_prompts_and_codec:
            codecs = {name: HuggingFaceCodec(plan.folder, dtype) for name, dtype in DTYPES.items()}
            for name, program in programs.items():
                note(f"prompts and codec: {name}")
                add_hf_prompts_and_codec(samples, models, codecs)
                add_csm_prompts_and_codec(samples, name, program.run("prefill", "codec"))
    return samples


def add_hf_frames(samples: Samples, models: dict[str, HuggingFace], frames: int) -> None:
    for name, model in models.items():
        samples.add(f"hf {name}", FRAME, *model.frame_ms(frames))


def add_hf_prompts_and_codec(
    samples: Samples, models: dict[str, HuggingFace], codecs: dict[str, HuggingFaceCodec]
) -> None:
    for name, model in models.items():
        for rate, positions in RATES.items():
            samples.add(f"hf {name}", rate, model.positions_per_second(positions))
    for name, codec in codecs.items():
        decode, encode = codec.rtf()
        samples.add(f"hf {name}", DECODE, decode)
        samples.add(f"hf {name}", ENCODE, encode)


def add_csm_prompts_and_codec(samples: Samples, name: str, figures: dict[str, Any]) -> None:
    for rate, positions in RATES.items():
        samples.add(name, rate, figures["prefill"][str(positions)]["tokens_per_s"])
    samples.add(name, DECODE, figures["codec"]["decode_rtf"])
    samples.add(name, ENCODE, figures["codec"]["encode_rtf"])


def report(plan: Plan, samples: Samples) -> dict[str, Any]:
    """What --json writes."""
    return {
        "threads": plan.threads,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "hf": {name: figures_of(samples, f"hf {name}", ()) for name in DTYPES},
        "csm": {name: figures_of(samples, name, DTYPES) for name in plan.types},
    }


def figures_of(samples: Samples, who: str, against: Iterable[str]) -> dict[str, Any]:
    """What was measured, and how many times as fast as Hugging Face in each of `against` it is."""

    def figure(what: str, key: str) -> dict[str, float]:
        times = {f"times_hf_{hf}": samples.times(who, f"hf {hf}", what) for hf in against}
        figures = {key: samples.get(who, what)} | times
        return {name: value for name, value in figures.items() if value is not None}

    parts = {
        "prefill": {str(n): figure(rate, "tokens_per_s") for rate, n in RATES.items()},
        "codec": {"decode": figure(DECODE, "rtf"), "encode": figure(ENCODE, "rtf")},
    }
    return figure(FRAME, FRAME) | {name: part for name, part in parts.items() if any(part.values())}


def print_bench(plan: Plan, samples: Samples) -> None:
    hf = [f"hf {name}" for name in DTYPES]
    rows = [["", *hf, *(f"csm {name}" for name in plan.types)]]
    for what, label in ROWS.items():
        if samples.get(plan.types[0], what) is None:
            continue
        theirs = [number(samples.get(name, what), what) for name in hf]
        rows.append([label, *theirs, *(with_times(samples, name, what) for name in plan.types)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for label, *cells in rows:
        print("  ".join([label.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]))
    print("In brackets: times as fast as Hugging Face in bf16, or for the codec in its faster type.")


def number(value: float | None, what: str) -> str:
    return "-" if value is None else f"{value:.3f}" if what in (DECODE, ENCODE) else f"{value:.0f}"


def with_times(samples: Samples, csm: str, what: str) -> str:
    """A codec's type is free to choose, since csm's is f32 whatever the model's."""
    against = DTYPES if what in (DECODE, ENCODE) else ["bf16"]
    times = [samples.times(csm, f"hf {hf}", what) for hf in against]
    known = [value for value in times if value is not None]
    text = number(samples.get(csm, what), what)
    return f"{text} ({min(known):.1f} ×)" if known else text
