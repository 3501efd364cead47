#!/usr/bin/env python3
"""Compares csm with Hugging Face transformers live, both reading the same checkpoint.

Hugging Face computes in f32, whatever the weights are stored in. Compared are token ids, the prompt's
logits, greedy codes, the codec in both directions, and for the full-size checkpoint speed and memory.
Prints a table; the exit code is 1 if a limit is exceeded, 2 if the arguments are wrong.

  tools/compare_hf.py --cases tests/goldens    every checkpoint below a folder, on its conversations
  tools/compare_hf.py --model DIR              one checkpoint
  tools/compare_hf.py --full-size              csm-1b's geometry with random bf16 weights, which it makes
                                               itself once: 3.3 GB on disk, 12 GB of memory, minutes
  tools/compare_hf.py --bench                  how much faster csm is on that checkpoint: frames, prompts,
                                               codec, taking turns; 9 minutes on two idle cores, 3 GB
                                               more on disk meanwhile
  tools/compare_hf.py --bench --device cuda    the same on a GPU: batches of 1 to 64, Hugging Face eager and
                                               compiled; --csm build/release-torch/bin/csm
"""

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is local

import torch
import transformers
from tokenizers import Tokenizer
from transformers import CsmProcessor

from csm_tools import bench, gpu_speed
from csm_tools import reference as hf
from csm_tools.checks import Check, Pair, check_codec, check_conversation, clips_of, golden_of, print_table
from csm_tools.conversations import ONE_CLIP, PLAIN, TEXT_BATCH, Scenario, Turn, write_scenario
from csm_tools.files import write_json
from csm_tools.geometry_1b import INDEX, make_full_size_checkpoint
from csm_tools.program import Csm
from csm_tools.speed import check_speed
from csm_tools.tokenizer import CORPUS, SPECIAL_TOKENS, train_tokenizer

ROOT = Path(__file__).resolve().parent.parent
SCENARIOS = {"plain": PLAIN, "context": ONE_CLIP, "batch": TEXT_BATCH}
FULL_SIZE_SCENARIOS = {"plain": PLAIN, "context": ONE_CLIP}
# About 490 positions of the small tokenizer: with the frames, the 512 that memory is measured at.
SPEED_SCENARIO = Scenario(((Turn("0", " ".join(CORPUS * 3)[:870]),),))


def note(progress: str) -> None:
    print(f"compare_hf.py: {progress}", file=sys.stderr, flush=True)


def refuse(reason: str) -> NoReturn:
    note(reason)
    sys.exit(2)


def compare_checkpoint(csm: Csm, conversations: list[Path], frames: int | None) -> list[Check]:
    """Checks one checkpoint on conversation files, and its codec on the clips they name."""
    pair = Pair(csm.model.name, csm, hf.load_model(csm.model), CsmProcessor.from_pretrained(csm.model))
    checks = []
    for file in conversations:
        note(f"{pair.name}/{file.parent.name}")
        checks += check_conversation(pair, file, frames or golden_of(file).get("max_new_tokens", 8))
    clips = {clip.name: clip for file in conversations for clip in clips_of(file)}
    for clip in clips.values():
        checks += check_codec(pair, clip)
    return checks


def compare_cases(args: argparse.Namespace) -> list[Check]:
    folders = sorted(config.parent for config in args.cases.rglob("config.json"))
    checks = []
    for folder in folders:
        conversations = sorted(folder.glob("*/conversation.json"))
        if conversations:
            checks += compare_checkpoint(Csm(args.csm, folder, args.threads), conversations, args.frames)
    if not checks:
        refuse(f"no checkpoint with conversations below {args.cases}")
    return checks


def compare_model(args: argparse.Namespace) -> list[Check]:
    csm = Csm(args.csm, args.model, args.threads)
    if args.conversation:
        return compare_checkpoint(csm, args.conversation, args.frames)
    with tempfile.TemporaryDirectory() as folder:
        files = [write_scenario(Path(folder) / name, scenario) for name, scenario in SCENARIOS.items()]
        return compare_checkpoint(csm, files, args.frames)


def full_size_checkpoint(args: argparse.Namespace) -> Path:
    folder = args.dir
    if not (folder / INDEX).exists():
        note(f"making {folder}")
        make_full_size_checkpoint(folder, load_tokenizer(args.tokenizer), args.seed)
    return folder


def compare_speed(args: argparse.Namespace) -> None:
    note(f"times mean little on a busy machine; its load is {os.getloadavg()[0]:.1f}")
    plan = bench.Plan(args.csm, full_size_checkpoint(args), args.threads, tuple(args.types.split(",")))
    if args.hf_f32:
        plan = replace(plan, hf_types=("bf16", "f32"))
    if args.quick:
        plan = replace(plan, rounds=1, frames=4, with_prompts_and_codec=False)
    samples = bench.measure(plan, note)
    bench.print_bench(plan, samples)
    if args.json:
        write_json(args.json, bench.report(plan, samples))
    if args.remove:
        shutil.rmtree(args.dir)


def compare_gpu_speed(args: argparse.Namespace) -> None:
    batches = (1,) if args.quick else gpu_speed.BATCHES
    figures = gpu_speed.measure(args.csm, full_size_checkpoint(args), args.device, batches, note)
    gpu_speed.print_figures(figures)
    if args.json:
        write_json(args.json, figures)
    if args.remove:
        shutil.rmtree(args.dir)


def compare_full_size(args: argparse.Namespace) -> list[Check]:
    folder = full_size_checkpoint(args)
    csm = Csm(args.csm, folder, args.threads)
    checks: list[Check] = []
    with tempfile.TemporaryDirectory() as name:
        talks = Path(name)
        if args.only != "equality":
            note(f"times mean little on a busy machine; its load is {os.getloadavg()[0]:.1f}")
            speech = write_scenario(talks / "speed", SPEED_SCENARIO)
            checks += check_speed(csm, folder.name, speech, args.speed_frames)
        if args.only != "speed":
            files = [write_scenario(talks / name, scenario) for name, scenario in FULL_SIZE_SCENARIOS.items()]
            checks += compare_checkpoint(csm, files, args.frames or 4)
    if args.remove:
        shutil.rmtree(folder)
    return checks


def load_tokenizer(file: Path | None) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(file)) if file else train_tokenizer(num_merges=44)
    missing = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None]
    if missing:
        refuse(f"{file} has no token {', '.join(missing)}")
    return tokenizer


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--cases", type=Path, help="folder with checkpoints that have conversations beside them"
    )
    what.add_argument("--model", type=Path, help="folder of a checkpoint in Hugging Face form")
    what.add_argument(
        "--full-size", action="store_true", help="csm-1b's geometry, random weights; speed and memory too"
    )
    what.add_argument("--bench", action="store_true", help="speed alone, on the checkpoint of --full-size")
    parser.add_argument(
        "--csm", type=Path, default=ROOT / "build/release/bin/csm", help="program (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of either (default: %(default)s)")
    parser.add_argument(
        "--frames", type=int, help="frames to generate (default: the case's own, 8; full size 4)"
    )
    parser.add_argument(
        "--conversation", type=Path, action="append", help="with --model: conversation file; repeatable"
    )
    add_full_size_options(parser)
    add_bench_options(parser)
    args = parser.parse_args()
    if not args.csm.exists():
        parser.error(
            f"--csm: there is no {args.csm}; build it with cmake --preset release && cmake --build --preset release"
        )
    if not set(args.types.split(",")) <= set(bench.TYPES):
        parser.error(f"--types: {args.types}; there are {', '.join(bench.TYPES)}")
    return args


def add_bench_options(parser: argparse.ArgumentParser) -> None:
    options = parser.add_argument_group("with --bench, which takes --dir, --seed, --remove too")
    options.add_argument("--types", default="bf16,bf16 fast,q8_0,q4", help="of csm's weights (default: %(default)s)")
    options.add_argument("--device", default="cpu", help="cuda, cuda:N: bf16 on a GPU (default: %(default)s)")
    options.add_argument("--hf-f32", action="store_true", help="Hugging Face in f32 too; 7 GB more memory")
    options.add_argument("--quick", action="store_true", help="frames only, one turn each")
    options.add_argument("--json", type=Path, help="file for the figures")


def add_full_size_options(parser: argparse.ArgumentParser) -> None:
    full = parser.add_argument_group("with --full-size")
    full.add_argument(
        "--dir",
        type=Path,
        default=Path(tempfile.gettempdir()) / "csm-1b-random",
        help="where the checkpoint is or goes (default: %(default)s)",
    )
    full.add_argument(
        "--tokenizer", type=Path, help="tokenizer.json to put into it (default: a small one, trained)"
    )
    full.add_argument("--seed", type=int, default=0, help="of the weights (default: %(default)s)")
    full.add_argument("--speed-frames", type=int, default=12, help="frames to time (default: %(default)s)")
    full.add_argument("--only", choices=["speed", "equality"], help="leave out the other")
    full.add_argument("--remove", action="store_true", help="remove the checkpoint afterwards")


def main() -> int:
    args = parse_args()
    torch.set_num_threads(args.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if args.bench:
        (compare_speed if args.device == "cpu" else compare_gpu_speed)(args)
        return 0
    if args.cases:
        checks = compare_cases(args)
    elif args.model:
        checks = compare_model(args)
    else:
        checks = compare_full_size(args)
    print_table(checks)
    failed = sum(not check.ok for check in checks)
    print(f"{len(checks)} checks, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
