#!/usr/bin/env python3
"""Makes tests/goldens: tiny random CSM checkpoints and what Hugging Face computes with them.

Each case is a folder in Hugging Face form with one subfolder per conversation, see
tests/goldens/README.md. Seeds are fixed: the same versions (requirements.txt) give the same files up
to the last bits of f32 sums. Hugging Face reads the very files that are committed, in f32.

  tools/make_goldens.py                      all cases, and warpers.json
  tools/make_goldens.py early-end            some cases
  tools/make_goldens.py early-end --search   prints the first seed that shows what the case is about
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is local

import torch
import transformers
from transformers import CsmForConditionalGeneration, CsmProcessor

from csm_tools import reference as hf
from csm_tools.cases import CASES, Case, References
from csm_tools.checkpoints import random_model, tiny_config
from csm_tools.conversations import Scenario, every_row_has_audio, write_scenario
from csm_tools.files import read_audio, write_audio, write_json
from csm_tools.tokenizer import save_processor, train_tokenizer
from csm_tools.warpers import make_warpers

# Greedy codes are compared for equality: the best logit must lead by more than f32 sums differ, about
# 1e-6 of the largest logit.
MIN_GAP = 1e-4
DEFAULT_OUT = Path(__file__).resolve().parent.parent / "tests" / "goldens"


def make_checkpoint(folder: Path, case: Case, seed: int) -> None:
    tokenizer = train_tokenizer(num_merges=44)
    config = tiny_config(tokenizer, case.num_codebooks, case.backbone, case.depth, case.codec, **case.config)
    model = random_model(config, seed)
    case.adjust(model)
    model.generation_config.max_new_tokens = 20
    model.save_pretrained(folder)
    save_processor(folder, tokenizer)
    for edit in case.edits:
        edit(folder)


def make_reference(
    model: CsmForConditionalGeneration, processor: CsmProcessor, file: Path, scenario: Scenario
) -> dict[str, Any]:
    inputs = hf.prepare(processor, file)
    generated = hf.generate(model, inputs, scenario.max_new_tokens)
    result = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]} | generated
    if scenario.parse_special:
        result["parse_special"] = True
    if scenario.plain:
        turn = scenario.rows[0][0]
        result["prompt"] = f"[{turn.role}]{turn.text}"
        prompt_ids = processor(result["prompt"], add_special_tokens=True)["input_ids"]
        assert torch.equal(prompt_ids, inputs["input_ids"]), "the plain prompt must give the template's ids"
        result |= hf.hidden_states(model, inputs, generated["sequences"][0][0])
    if every_row_has_audio(scenario):
        torch.manual_seed(0)  # which frames keep their depth labels
        ratio = scenario.labels_ratio
        labelled = hf.prepare(processor, file, output_labels=True, depth_decoder_labels_ratio=ratio)
        result |= {"depth_decoder_labels_ratio": ratio} | hf.losses(model, labelled)
    return result


def make_case(folder: Path, case: Case, seed: int) -> References:
    """Writes a case and returns its references."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make_checkpoint(folder, case, seed)
    model, processor = hf.load_model(folder), CsmProcessor.from_pretrained(folder)
    references = {}
    for name, scenario in case.scenarios.items():
        file = write_scenario(folder / name, scenario)
        reference = references[name] = make_reference(model, processor, file, scenario)
        write_json(file.parent / "reference.json", reference)
        for row, codes in enumerate(reference["sequences"] if scenario.audio else []):
            write_audio(file.parent / f"audio_{row}.wav", hf.decode_audio(model, codes).numpy())
        write_resampled_clips(file.parent, scenario)
    return references


def write_resampled_clips(folder: Path, scenario: Scenario) -> None:
    """Beside a clip at another rate, the 24 kHz mono samples that Hugging Face was given."""
    for clip in (turn.clip for row in scenario.rows for turn in row if turn.clip):
        if clip.rate != 24000:
            write_audio(folder / f"{Path(clip.name).stem}_resampled.wav", read_audio(folder / clip.name))


def problems(case: Case, references: References) -> list[str]:
    """Why a seed does not do: ties too close, codes too uniform, or the case's point not shown."""
    found = []
    for name, reference in references.items():
        if reference["min_gap"] < MIN_GAP:
            found.append(f"{name}: least gap {reference['min_gap']:.1e} < {MIN_GAP}")
        codes = [code for row in reference["sequences"] for frame in row for code in frame]
        if len(codes) > 20 and len(set(codes)) < len(codes) / 8:
            found.append(f"{name}: {len(set(codes))} different codes among {len(codes)}")
    if not case.demands(references):
        found.append("does not show what the case is about")
    return found


def search_seed(case: Case, limit: int) -> int | None:
    for seed in range(limit):
        with tempfile.TemporaryDirectory() as folder:
            found = problems(case, make_case(Path(folder) / "case", case, seed))
        print(f"seed {seed}: {'; '.join(found) or 'good'}", file=sys.stderr)
        if not found:
            return seed
    return None


def report(name: str, folder: Path, references: References) -> None:
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    gap = min(reference["min_gap"] for reference in references.values())
    frames = {scenario: reference["finish"] for scenario, reference in references.items()}
    print(f"{name:20} {size / 1000:6.0f} kB  least gap {gap:.1e}  frames {frames}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*CASES, "warpers"]
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(names)}; default: all")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="folder to write to (default: %(default)s)"
    )
    parser.add_argument("--search", action="store_true", help="try seeds instead of writing anything")
    parser.add_argument("--limit", type=int, default=200, help="seeds to try (default: %(default)s)")
    args = parser.parse_args()
    unknown = set(args.cases) - set(names)
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    args.cases = args.cases or names
    return args


def main() -> int:
    args = parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    failed = False
    for name in args.cases:
        if name == "warpers":
            if not args.search:
                make_warpers(args.out / "warpers.json")
            continue
        case = CASES[name]
        if args.search:
            seed = search_seed(case, args.limit)
            print(f"{name}: {'no seed' if seed is None else f'seed {seed}'} below {args.limit}")
            failed |= seed is None
            continue
        references = make_case(args.out / name, case, case.seed)
        report(name, args.out / name, references)
        for problem in problems(case, references):
            print(f"{name}: {problem}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
