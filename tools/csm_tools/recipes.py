"""What the training recipes (new_speaker, voice) share: errors in a sentence, programs, JSON files.

Needs Python's standard library alone.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


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


def read_json(file: Path) -> Any:
    return json.loads(file.read_text())


def write_json(file: Path, data: Any) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps(data, indent=1) + "\n")
    partial.rename(file)
