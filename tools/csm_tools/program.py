"""Runs the csm program and reads its results."""

import json
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from csm_tools.files import read_json, write_json


class ProgramError(RuntimeError):
    """csm ended with a non-zero exit code; the message has its standard error."""


@dataclass(frozen=True)
class Run:
    stdout: str
    seconds: float
    peak_bytes: int  # resident, mapped pages counted


def peak_resident_bytes(pid: int) -> int:
    """VmHWM of a process; 0 when it has ended.

    Not getrusage: a child's ru_maxrss starts at the size of the parent that forked it.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


def run_measured(command: list[str]) -> Run:
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        outputs: list[str] = []
        reader = threading.Thread(target=lambda: outputs.extend(process.communicate()))
        reader.start()
        while reader.is_alive():
            peak = max(peak, peak_resident_bytes(process.pid))
            reader.join(0.01)
    if process.returncode != 0:
        raise ProgramError(f"{' '.join(command)}: exit {process.returncode}: {outputs[1].strip()[-500:]}")
    return Run(outputs[0], time.perf_counter() - start, peak)


@dataclass(frozen=True)
class Generated:
    sequences: list[list[list[int]]]
    finish_reason: list[str]
    audio: list[np.ndarray]
    timing: dict[str, Any]  # of --timing-json
    run: Run


@dataclass(frozen=True)
class Csm:
    """The csm program on one model folder."""

    binary: Path
    model: Path
    threads: int

    def _run(self, command: str, *args: Any) -> Run:
        options = ["--model", self.model, "--threads", self.threads]
        return run_measured([str(part) for part in (self.binary, command, *options, *args)])

    def generate(
        self, conversation: Path, max_new_tokens: int, *flags: str, with_audio: bool = True
    ) -> Generated:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            codes, timing = folder / "codes.json", folder / "timing.json"
            output = ["--output", folder / "audio.wav", "--subtype", "FLOAT"] if with_audio else []
            run = self._run(
                "generate",
                "--conversation",
                conversation,
                "--greedy",
                "--max-new-tokens",
                max_new_tokens,
                "--codes",
                codes,
                "--timing-json",
                timing,
                *output,
                *flags,
            )
            result = read_json(codes)
            rows = range(len(result["sequences"]))
            # A batch is a list of conversations, and writes a file each, even a batch of one.
            names = [f"audio_{row}.wav" for row in rows] if is_batch(conversation) else ["audio.wav"]
            audio = [read_f32(folder / file) for file in names] if with_audio else []
            return Generated(result["sequences"], result["finish_reason"], audio, read_json(timing), run)

    def forward(self, conversation: Path) -> dict[str, Any]:
        """`input_ids` and `first_logits` of each row."""
        return json.loads(self._run("forward", "--conversation", conversation, "--json").stdout)

    def encode(self, audio: Path) -> list[list[int]]:
        with tempfile.TemporaryDirectory() as folder:
            codes = Path(folder) / "codes.json"
            self._run("encode", audio, "--codes", codes)
            return read_json(codes)["sequences"][0]

    def decode(self, codes: list[list[int]]) -> np.ndarray:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_json(folder / "codes.json", {"sequences": [codes]})
            self._run("decode", folder / "codes.json", "--output", folder / "out.wav", "--subtype", "FLOAT")
            return read_f32(folder / "out.wav")


def is_batch(conversation: Path) -> bool:
    return isinstance(read_json(conversation)[0], list)


def read_f32(file: Path) -> np.ndarray:
    return soundfile.read(file, dtype="float32")[0]
