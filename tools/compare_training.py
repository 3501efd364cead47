#!/usr/bin/env python3
"""Trains a checkpoint with csm and with Hugging Face, and compares every step.

  tools/compare_training.py                        on the goldens that have conversations to learn
  tools/compare_training.py --dir MODEL --conversation FILE.json

Both see all conversations of the file as one batch, f32, AdamW, every frame learnt. Ends with an error
if a loss differs by more than 1e-4 of it, a gradient's norm by more than 1e-3 of it, or if a trained
weight differs by more than 1e-3 of its tensor's largest.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from csm_tools import training

ROOT = Path(__file__).resolve().parent.parent


def goldens() -> list[tuple[Path, Path]]:
    files = sorted((ROOT / "tests/goldens").glob("*/*/reference.json"))
    with_loss = [file.parent for file in files if '"grad_norms"' in file.read_text()]
    return [(folder.parent, folder / "conversation.json") for folder in with_loss]


def compare(args: argparse.Namespace, folder: Path, conversation: Path) -> bool:
    theirs, model = training.hugging_face_steps(folder, conversation, args.steps)
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "run"
        ours = training.csm_steps(args.csm, folder, conversation, args.steps, output, args.threads)
        weights = training.largest_difference(model, output / "model")
    loss = max(abs(a["loss"] / b["loss"] - 1) for a, b in zip(ours, theirs, strict=True))
    norm = max(abs(a["grad_norm"] / b["grad_norm"] - 1) for a, b in zip(ours, theirs, strict=True))
    good = loss < 1e-4 and norm < 1e-3 and weights < 1e-3
    print(
        f"{'ok    ' if good else 'FAILED'} {folder.name}/{conversation.parent.name}: loss {ours[0]['loss']:.4f} to "
        f"{ours[-1]['loss']:.4f} in {args.steps} steps; off by {loss:.0e} (loss), {norm:.0e} (gradients), "
        f"{weights:.0e} (weights)"
    )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csm", type=Path, default=ROOT / "build/release-torch/bin/csm")
    parser.add_argument("--dir", type=Path, help="a checkpoint")
    parser.add_argument("--conversation", type=Path, help="a conversation with audio, or a list of them")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if (args.dir is None) != (args.conversation is None):
        parser.error("--dir and --conversation belong together")
    torch.set_num_threads(args.threads)
    cases = [(args.dir, args.conversation)] if args.dir else goldens()
    results = [compare(args, *case) for case in cases]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
