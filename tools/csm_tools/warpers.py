"""Sampling distributions: logits and options in, HF's probabilities out."""

from pathlib import Path
from typing import Any

import torch
from transformers import CsmDepthDecoderConfig, CsmDepthDecoderForCausalLM, GenerationConfig

from csm_tools.files import write_json

# HF's defaults, unlike those of SamplingConfig written out: everything off.
OFF = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
SINGLE = [
    {},
    {"temperature": 0.9},
    {"temperature": 0.05},
    {"temperature": 3.0},
    {"top_h": 0.01},
    {"top_h": 0.4},
    {"top_h": 0.9},
    {"top_k": 1},
    {"top_k": 3},
    {"top_k": 5},
    {"top_k": 20},
    {"top_k": 1000},
    {"top_p": 0.0},
    {"top_p": 0.01},
    {"top_p": 0.5},
    {"top_p": 0.9},
    {"top_p": 0.999},
    {"min_p": 0.0},
    {"min_p": 0.02},
    {"min_p": 0.3},
    {"min_p": 1.0},
    {"typical_p": 0.05},
    {"typical_p": 0.5},
    {"typical_p": 0.95},
    {"epsilon_cutoff": 0.0003},
    {"epsilon_cutoff": 0.03},
    {"epsilon_cutoff": 0.9},
    {"eta_cutoff": 0.0003},
    {"eta_cutoff": 0.03},
    {"eta_cutoff": 0.9},
]
COMBINED = [
    {"temperature": 0.9, "top_k": 50},
    {"temperature": 0.7, "top_k": 10, "top_p": 0.8},
    {"temperature": 1.3, "top_p": 0.9, "min_p": 0.05},
    {"temperature": 0.8, "top_h": 0.6, "top_k": 12},
    {"top_k": 8, "typical_p": 0.7},
    {"top_p": 0.95, "typical_p": 0.9, "epsilon_cutoff": 0.01, "eta_cutoff": 0.02},
    {
        "temperature": 1.1,
        "top_h": 0.8,
        "top_k": 25,
        "top_p": 0.97,
        "min_p": 0.01,
        "typical_p": 0.95,
        "epsilon_cutoff": 0.005,
        "eta_cutoff": 0.005,
    },
]


def logits_rows() -> dict[str, torch.Tensor]:
    """Rows that tell the rules apart; equal logits stand at the places where a rule cuts."""
    generator = torch.Generator().manual_seed(0)
    spread = 2 * torch.randn(31, generator=generator)
    ties = torch.tensor([0.5, 2.0, 2.0, -1.0, 2.0, 0.5, 3.0, 0.5, -1.0, 2.0, -3.0, 0.5])
    masked = spread[:16].clone()
    masked[[0, 3, 15]] = -torch.inf
    return {
        "spread": spread,
        "flat": 0.3 * torch.randn(19, generator=generator),
        "peaked": torch.randn(13, generator=generator) * 0.5
        + torch.nn.functional.one_hot(torch.tensor(7), 13) * 9,
        "ties": ties,
        "masked": masked,
        # More ids than the 100 that top_h looks at.
        "wide": 1.5 * torch.randn(150, generator=generator),
    }


def equal_logits_cut(row: str, options: dict[str, Any]) -> bool:
    """Whether equal logits straddle a rule's cut: then torch's unstable sort decides, not the rule."""
    return row == "ties" and any(key in options for key in ("top_p", "typical_p", "top_h"))


def tiny_stack() -> CsmDepthDecoderForCausalLM:
    """Any stack that generates: its own method builds the list of processors in HF's order."""
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "backbone_hidden_size": 8}
    config = CsmDepthDecoderConfig(num_codebooks=2, vocab_size=4, **heads, **sizes)
    return CsmDepthDecoderForCausalLM(config)


def probabilities(
    stack: CsmDepthDecoderForCausalLM, logits: torch.Tensor, options: dict[str, Any]
) -> torch.Tensor:
    config = GenerationConfig(do_sample=True, **(OFF | options))
    config, _ = stack._prepare_generation_config(config)
    stack._prepare_special_tokens(config, False, device=torch.device("cpu"))
    input_ids = torch.zeros(1, 2, dtype=torch.long)
    processors = stack._get_logits_processor(
        config,
        input_ids_seq_length=2,
        encoder_input_ids=input_ids,
        prefix_allowed_tokens_fn=None,
        logits_processor=[],
        device="cpu",
    )
    return processors(input_ids, logits[None].clone()).softmax(-1)[0]


def make_warpers(file: Path) -> None:
    stack = tiny_stack()
    rows = logits_rows()
    cases = [
        {"logits": row, "options": options, "probabilities": probabilities(stack, logits, options)}
        for row, logits in rows.items()
        for options in (SINGLE if row != "wide" else SINGLE[4:7]) + COMBINED
        if not equal_logits_cut(row, options)
    ]
    write_json(file, {"defaults": OFF, "logits": rows, "cases": cases})
    print(f"{file.name}: {len(cases)} distributions, {file.stat().st_size / 1000:.0f} kB")
