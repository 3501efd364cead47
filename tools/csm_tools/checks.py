"""Compares csm with Hugging Face, conversation by conversation, and holds the limits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from transformers import CsmForConditionalGeneration, CsmProcessor

from csm_tools import reference as hf
from csm_tools.files import SAMPLING_RATE, read_audio, read_json
from csm_tools.program import Csm, ProgramError

LOGITS_LIMIT = 1e-3  # of the row's largest |logit|
AUDIO_LIMIT = 1e-4  # times max(1, peak)
CODEC_CODES_LIMIT = 0.01  # share of a clip's codes that may differ: near-ties of distances


@dataclass(frozen=True)
class Check:
    subject: str
    what: str
    ok: bool
    figure: str
    limit: str = ""


@dataclass(frozen=True)
class Pair:
    """A checkpoint loaded by both."""

    name: str
    csm: Csm
    model: CsmForConditionalGeneration
    processor: CsmProcessor


def check_conversation(pair: Pair, file: Path, max_new_tokens: int) -> list[Check]:
    """Token ids, first logits, greedy codes, finish reasons and audio of a conversation file."""
    subject = f"{pair.name}/{file.parent.name}"
    inputs = hf.prepare(pair.processor, file)
    expected = hf.generate(pair.model, inputs, max_new_tokens)
    parse_special = golden_of(file).get("parse_special", False)
    flags = ["--parse-special"] if parse_special else []
    exact = clips_need_no_resampling(file)
    try:
        checks = [] if parse_special else check_forward(subject, pair, file, inputs, expected, exact)
        got = pair.csm.generate(file, max_new_tokens, *flags)
    except ProgramError as error:
        return [Check(subject, "csm runs", False, str(error))]
    if exact:
        checks.append(check_codes(subject, got.sequences, expected))
        checks.append(check_equal(subject, "finish reasons", got.finish_reason, expected["finish_reason"]))
    audio = [hf.decode_audio(pair.model, codes).numpy() for codes in got.sequences]
    checks.append(check_audio(subject, "audio of its codes", got.audio, audio))
    return checks


def golden_of(file: Path) -> dict[str, Any]:
    reference = file.parent / "reference.json"
    return read_json(reference) if reference.exists() else {}


def clips_of(file: Path) -> list[Path]:
    batch = read_json(file)
    messages = [message for row in (batch if isinstance(batch[0], list) else [batch]) for message in row]
    items = [item for message in messages for item in message["content"] if item["type"] == "audio"]
    return sorted({file.parent / item["path"] for item in items})


def clips_need_no_resampling(file: Path) -> bool:
    """Resamplers differ in the last bits, so codes of a resampled clip may differ in near-ties."""
    return all(soundfile.info(clip).samplerate == SAMPLING_RATE for clip in clips_of(file))


def check_forward(
    subject: str,
    pair: Pair,
    file: Path,
    inputs: dict[str, torch.Tensor],
    expected: dict[str, Any],
    exact: bool,
) -> list[Check]:
    got = pair.csm.forward(file)
    ids = [row[mask == 1].tolist() for row, mask in zip(inputs["input_ids"], inputs["attention_mask"])]
    checks = [check_equal(subject, "input ids", got["input_ids"], ids)]
    if exact:
        wanted = expected["first_logits"].numpy()
        errors = np.abs(np.array(got["first_logits"], np.float32) - wanted).max(1) / np.abs(wanted).max(1)
        checks.append(check_limit(subject, "first logits", float(errors.max()), LOGITS_LIMIT))
    return checks


def check_equal(subject: str, what: str, got: Any, expected: Any) -> Check:
    figure = "equal" if got == expected else f"{str(got)[:60]} instead of {str(expected)[:60]}"
    return Check(subject, what, got == expected, figure, "equal")


def check_limit(subject: str, what: str, error: float, limit: float) -> Check:
    return Check(subject, what, bool(error <= limit), f"{error:.1e}", f"{limit:.0e}")  # NaN is not ok


def check_codes(subject: str, got: list[list[list[int]]], expected: dict[str, Any]) -> Check:
    """Equality of greedy codes; names the first difference and how close a choice HF ever made."""
    wanted = expected["sequences"]
    if got == wanted:
        frames = sum(len(row) for row in wanted)
        return Check(
            subject, "greedy codes", True, f"equal, {frames} frames (gap {expected['min_gap']:.0e})", "equal"
        )
    return Check(
        subject,
        "greedy codes",
        False,
        f"{first_difference(got, wanted)} (gap {expected['min_gap']:.0e})",
        "equal",
    )


def first_difference(got: list[list[list[int]]], wanted: list[list[list[int]]]) -> str:
    if len(got) != len(wanted):
        return f"{len(got)} rows instead of {len(wanted)}"
    for row, (ours, theirs) in enumerate(zip(got, wanted)):
        for frame, (our_frame, their_frame) in enumerate(zip(ours, theirs)):
            for codebook, (our_code, their_code) in enumerate(zip(our_frame, their_frame)):
                if our_code != their_code:
                    return f"row {row} frame {frame} codebook {codebook}: {our_code} instead of {their_code}"
        if len(ours) != len(theirs):
            return f"row {row}: {len(ours)} frames instead of {len(theirs)}"
    return "frames of another width"


def check_audio(subject: str, what: str, got: list[np.ndarray], expected: list[np.ndarray]) -> Check:
    lengths = [len(row) for row in got], [len(row) for row in expected]
    if lengths[0] != lengths[1]:
        return Check(subject, what, False, f"{lengths[0]} samples instead of {lengths[1]}")
    errors = [
        float(np.abs(ours - theirs).max()) / max(1.0, float(np.abs(theirs).max()))
        for ours, theirs in zip(got, expected)
        if len(theirs)
    ]
    return check_limit(subject, what, max(errors, default=0.0), AUDIO_LIMIT)


def check_codec(pair: Pair, clip: Path) -> list[Check]:
    """Codes of an audio file, and the audio of Hugging Face's codes."""
    subject = f"{pair.name}/{clip.parent.name}/{clip.name}"
    config = pair.model.config
    samples = torch.from_numpy(read_audio(clip))[None, None]
    with torch.no_grad():
        codes = pair.model.codec_model.encode(samples, num_quantizers=config.num_codebooks).audio_codes[0].T
        audio = pair.model.codec_model.decode(codes.T[None]).audio_values[0, 0].numpy()
    try:
        got = np.array(pair.csm.encode(clip))
        decoded = pair.csm.decode(codes.tolist())
    except ProgramError as error:
        return [Check(subject, "csm runs", False, str(error))]
    if got.shape != tuple(codes.shape):
        return [Check(subject, "encode", False, f"shape {got.shape} instead of {tuple(codes.shape)}")]
    share = float((got != codes.numpy()).mean())
    return [
        Check(subject, "encode", share <= CODEC_CODES_LIMIT, f"{100 * (1 - share):.2f} % equal", "99 %"),
        check_audio(subject, "decode", [decoded], [audio]),
    ]


def print_table(checks: list[Check]) -> None:
    rows = [("", "subject", "check", "found", "limit")]
    rows += [("ok" if c.ok else "FAIL", c.subject, c.what, c.figure, c.limit) for c in checks]
    widths = [min(60, max(len(row[i]) for row in rows)) for i in range(4)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) + "  " + row[4])
