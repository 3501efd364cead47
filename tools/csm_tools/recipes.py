"""What the training recipes (new_speaker, voice) share: errors in a sentence, options, programs, JSON files.

Needs Python's standard library alone.
"""

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parents[2]


class RecipeError(RuntimeError):
    """What went wrong, in a sentence for the person at the terminal."""


def run_program(command: Sequence[Any], is_shown: bool = False) -> str:
    """Its standard output. With is_shown, its messages go to the terminal."""
    parts = [str(part) for part in command]
    errors = None if is_shown else subprocess.PIPE
    try:
        done = subprocess.run(parts, stdout=subprocess.PIPE, stderr=errors, text=True)
    except FileNotFoundError:
        raise RecipeError(f"there is no program {parts[0]}") from None
    if done.returncode != 0:
        reason = "" if is_shown else f": {done.stderr.strip()[-500:]}"
        raise RecipeError(f"`{' '.join(parts[:2])}` ended with exit code {done.returncode}{reason}")
    return done.stdout


def add_csm_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--csm", type=Path, default=ROOT / "build/release-torch/bin/csm", help="the program")


def need_csm(csm: Path) -> None:
    if not csm.exists():
        raise RecipeError(f"there is no {csm}: build it (docs/training.md), or give --csm")


def need_packages(packages: Sequence[str], requirements: str) -> None:
    """By the names that they are imported by."""
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise RecipeError(
                f"the Python package {error.name} is missing: pip install -r {requirements}"
            ) from None


def parse_stages(parser: argparse.ArgumentParser, text: str, stages: Sequence[str]) -> list[str]:
    """Some of the stages, as they are given: with commas between them."""
    chosen = text.split(",")
    unknown = [stage for stage in chosen if stage not in stages]
    if unknown:
        parser.error(f"there is no stage {unknown[0]}; there are {', '.join(stages)}")
    return chosen


def read_json(file: Path) -> Any:
    return json.loads(file.read_text())


def write_json(file: Path, data: Any) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps(data, indent=1) + "\n")
    partial.rename(file)
