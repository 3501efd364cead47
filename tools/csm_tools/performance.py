"""The figures of docs/performance.md, from files of `csm bench --json` and `compare_hf.py --bench --json`.

Python's standard library only: the tests run it.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TYPES = ("f32", "f16", "bf16", "bf16 fast", "q8_0", "q4")
BEGIN, END = "<!-- made by tools/make_performance.py -->", "<!-- end -->"
NOT_MEASURED = "not measured"


class InputError(Exception):
    """A file that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Measured:
    runs: dict[str, dict[str, Any]]  # csm bench by type, in the order of TYPES
    comparison: dict[str, Any] | None  # of compare_hf.py --bench


def load(files: Iterable[Path]) -> Measured:
    runs: dict[str, dict[str, Any]] = {}
    comparison = None
    for file in files:
        data = read(file)
        if "hf" in data:
            comparison = data
        elif label(data) not in TYPES:
            raise InputError(f"{file} is neither of csm bench --json nor of compare_hf.py --bench --json")
        elif label(data) in runs:
            raise InputError(f"{file} is a second run of {label(data)}")
        else:
            runs[label(data)] = data
    if not runs:
        raise InputError("there is no file of csm bench --json")
    return Measured({name: runs[name] for name in TYPES if name in runs}, comparison)


def label(run: dict[str, Any]) -> str | None:
    """The type, and the precision where it is not the type's own."""
    name = run.get("type")
    return "bf16 fast" if name == "bf16" and run.get("precision") == "fast" else name


def read(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is no JSON: {error}") from error
    return data if isinstance(data, dict) else {}


def markdown(measured: Measured) -> str:
    """What was measured on, and the table."""
    run = next(iter(measured.runs.values()))
    weights = "made-up weights" if run["made_up_weights"] else "its weights"
    lines = [
        f"{run['machine']} ({run['instruction_set']}, quantized products by {run['int8_kernel']}), "
        f"{run['threads']} threads, {run['model']} with {weights}.{hugging_face(measured)}",
        "",
        f"| | {' | '.join(measured.runs)} |",
        f"|---|{'---|' * len(measured.runs)}",
    ]
    for label, cell in rows(measured):
        lines.append(f"| {label} | {' | '.join(filled(cell, run) for run in measured.runs.values())} |")
    return "\n".join(lines) + "\n"


def hugging_face(measured: Measured) -> str:
    if measured.comparison is None:
        return ""
    theirs = measured.comparison["hf"]["bf16"]["frame_ms"]
    return f" In bf16, transformers {measured.comparison['transformers']} takes {theirs:.0f} ms a frame."


Cell = Callable[[dict[str, Any]], str]  # of a run; KeyError: that part was not measured


def filled(cell: Cell, run: dict[str, Any]) -> str:
    try:
        return cell(run)
    except KeyError:
        return NOT_MEASURED


def rows(measured: Measured) -> list[tuple[str, Cell]]:
    def times_hf(run: dict[str, Any]) -> str:
        ours = measured.comparison["csm"] if measured.comparison else {}
        return f"{ours[label(run)]['times_hf_bf16']:.1f} ×"

    def streams(run: dict[str, Any]) -> str:
        return " / ".join(f"{run['batches'][n]['audio_s_per_s']:.1f}" for n in ("4", "8", "16"))

    def prompt(positions: str) -> Cell:
        def cell(run: dict[str, Any]) -> str:
            figures = run["prefill"][positions]
            return f"{figures['tokens_per_s']:.0f} ({figures['peak_share']:.2f})"

        return cell

    def codec(run: dict[str, Any]) -> str:
        return " / ".join(
            f"{run['codec'][f'{what}_rtf']:.3f}" for what in ("decode", "decode_step", "encode")
        )

    return [
        ("ms a frame (median)", lambda run: f"{run['frame_ms']['median']:.0f}"),
        ("RTF of one stream", lambda run: f"{run['rtf']:.2f}"),
        ("against transformers in bf16", times_hf),
        ("GB read a frame", lambda run: f"{run['bytes_per_frame'] / 1e9:.2f}"),
        (
            "share of what memory reads in that time (GB/s in that run)",
            lambda run: f"{run['limit_share']:.2f} ({run['bandwidth_gb_s']:.0f})",
        ),
        ("first audio after, prompt of 22 positions", lambda run: f"{run['ttfa_ms']:.0f} ms"),
        ("peak memory", lambda run: f"{run['peak_memory_bytes'] / 1e9:.2f} GB"),
        ("4 / 8 / 16 streams, seconds of audio a second", streams),
        ("prompt of 100, positions a second (share of the peak)", prompt("100")),
        ("prompt of 512", prompt("512")),
        ("prompt of 2,000", prompt("2000")),
        ("codec: decode / one frame at a time / encode, of real time", codec),
    ]


def updated(document: str, text: str) -> str:
    """The document with `text` between the two markers."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"the document has no lines '{BEGIN}' and '{END}'")
    return f"{before}{BEGIN}\n{text}{END}{after}"


@dataclass(frozen=True)
class Point:
    """Some work as the roofline sees it."""

    label: str
    intensity: float  # multiply-adds a byte
    rate: float  # multiply-adds a second


def point(label: str, mul_adds: float, num_bytes: float, seconds: float) -> Point:
    return Point(label, mul_adds / num_bytes, mul_adds / seconds)


def frame_points(run: dict[str, Any]) -> list[Point]:
    """One stream as the program speaks alone, then more and more streams together; the codec, whose
    work is not counted, takes no time here."""
    points = []
    if "frame_ms" in run:
        seconds = (run["frame_ms"]["median"] - run["frame_ms"].get("codec", 0)) / 1000
        points.append(point("1", run["mul_adds_per_frame"], run["bytes_per_frame"], seconds))
    for streams, batch in sorted(run.get("batches", {}).items(), key=lambda item: int(item[0])):
        if streams != "1" or not points:
            seconds = (batch["frame_ms"] - batch.get("codec_ms", 0)) / 1000
            points.append(point(streams, batch["mul_adds"], batch["bytes"], seconds))
    return points


def prompt_points(run: dict[str, Any]) -> list[Point]:
    prompts = sorted(run.get("prefill", {}).items(), key=lambda item: int(item[0]))
    return [
        point(positions, prompt["mul_adds"], prompt["bytes"], int(positions) / prompt["tokens_per_s"])
        for positions, prompt in prompts
    ]
