"""The golden cases: what each checkpoint is like and what is asked of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import CsmForConditionalGeneration

from csm_tools import conversations as talk
from csm_tools.checkpoints import favour_ending, scale_undecodable
from csm_tools.conversations import Scenario
from csm_tools.spelling import (
    BACKBONE_CODES,
    DEPTH_CODES,
    Edit,
    cast,
    generation_config,
    null_fields,
    shard,
    spell_as_v4,
    store_code_embedding_as,
)

ALL_BF16 = cast(lambda _rank, _name: torch.bfloat16)
PLAIN_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
References = dict[str, dict[str, Any]]  # scenario name -> reference


@dataclass(frozen=True)
class Case:
    """`demands` says of the references whether a seed shows what the case is about."""

    seed: int
    scenarios: dict[str, Scenario]
    num_codebooks: int = 3
    backbone: dict[str, Any] = field(default_factory=dict)
    depth: dict[str, Any] = field(default_factory=dict)
    codec: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    adjust: Callable[[CsmForConditionalGeneration], None] = lambda model: None
    edits: tuple[Edit, ...] = ()
    demands: Callable[[References], bool] = lambda refs: all(
        ref["undecodable_argmax"] == 0 for ref in refs.values()
    )


def dtype_by_rank(rank: int, _name: str) -> torch.dtype:
    return (torch.float32, torch.float16, torch.bfloat16)[rank % 3]


SAMPLING = {"do_sample": True, "temperature": 0.9, "top_k": 50}
SAMPLING |= {f"depth_decoder_{key}": value for key, value in SAMPLING.items()}
SAMPLING |= {"depth_decoder_min_new_tokens": 7, "depth_decoder_max_new_tokens": 7, "max_new_tokens": 50}

CASES: dict[str, Case] = {
    "random-tiny": Case(
        seed=4,
        num_codebooks=8,
        backbone={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        depth={"hidden_size": 24, "num_attention_heads": 3, "head_dim": 8},
        adjust=lambda model: favour_ending(model, c0_gain=2.0),
        edits=(ALL_BF16, generation_config(SAMPLING)),
        demands=lambda refs: all(
            refs[name]["finish_reason"] == ["length"] for name in ("plain", "context", "stereo")
        ),
        scenarios={
            "plain": Scenario(talk.PLAIN.rows, 6, audio=True, plain=True),
            "context": Scenario(talk.CONTEXT.rows, audio=True),
            "batch": Scenario(talk.BATCH.rows, 5, audio=True),
            "empty": talk.EMPTY,
            "unicode": talk.UNICODE,
            "stereo": talk.STEREO,
            "training": talk.TRAINING,
            "special": talk.SPECIAL,
        },
    ),
    "v4-spelling": Case(
        seed=2,
        num_codebooks=5,
        backbone={"num_hidden_layers": 3},
        edits=(spell_as_v4,),
        scenarios={"plain": talk.PLAIN, "context": talk.ONE_CLIP},
    ),
    "null-fields": Case(
        seed=3,
        num_codebooks=2,
        backbone={
            "num_attention_heads": 3,
            "num_key_value_heads": 3,
            "head_dim": 8,
            "rope_parameters": PLAIN_ROPE,
        },
        depth={"num_key_value_heads": 2, "head_dim": 10, "rope_parameters": PLAIN_ROPE},
        edits=(null_fields,),
        scenarios={"plain": talk.PLAIN, "context": talk.ONE_CLIP},
    ),
    "untied-biased": Case(
        seed=4,
        num_codebooks=9,
        backbone={"attention_bias": True, "mlp_bias": True, "rope_parameters": PLAIN_ROPE},
        depth={"attention_bias": True, "mlp_bias": True, "num_hidden_layers": 3},
        config={"tie_codebooks_embeddings": False},
        scenarios={"plain": talk.PLAIN, "context": talk.ONE_CLIP},
    ),
    "bf16-tied-backbone": Case(
        seed=5,
        num_codebooks=5,
        backbone={"hidden_size": 40, "num_attention_heads": 5, "num_key_value_heads": 1, "head_dim": 6},
        edits=(ALL_BF16, store_code_embedding_as(BACKBONE_CODES)),
        scenarios={"plain": talk.PLAIN, "context": talk.ONE_CLIP, "batch": talk.TEXT_BATCH},
    ),
    "f16-tied-depth": Case(
        seed=6,
        edits=(cast(lambda _i, _n: torch.float16), store_code_embedding_as(DEPTH_CODES)),
        depth={"num_hidden_layers": 1, "num_attention_heads": 1},
        scenarios={"plain": talk.PLAIN, "context": talk.ONE_CLIP},
    ),
    "mixed-sharded": Case(
        seed=7,
        num_codebooks=5,
        backbone={"num_hidden_layers": 1, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 4},
        edits=(store_code_embedding_as(BACKBONE_CODES, DEPTH_CODES), cast(dtype_by_rank), shard),
        scenarios={"plain": talk.PLAIN, "context": talk.ONE_CLIP},
    ),
    "early-end": Case(
        seed=37,
        num_codebooks=5,
        adjust=lambda model: favour_ending(model, c0_gain=2.0),
        edits=(ALL_BF16,),
        scenarios={"batch": Scenario(talk.TEXT_BATCH.rows, 7, audio=True), "immediate": talk.EMPTY},
        demands=lambda refs: ends_apart(refs["batch"]) and refs["immediate"]["finish"] == [1],
    ),
    "stop-frame": Case(
        seed=2,
        num_codebooks=3,
        codec={"num_quantizers": 5},  # more than the model uses
        config={"codebook_eos_token_id": 3},
        adjust=lambda model: favour_ending(model, c0_gain=2.0, last_codebook=False),
        edits=(ALL_BF16,),
        scenarios={"batch": Scenario(talk.TEXT_BATCH.rows, 7, audio=True)},
        demands=lambda refs: ends_apart(refs["batch"]) and ends_in_free_code(refs["batch"], end=3),
    ),
    "undecodable": Case(
        seed=8,
        num_codebooks=3,
        adjust=lambda model: scale_undecodable(model, 30),
        edits=(ALL_BF16,),
        scenarios={"plain": Scenario(talk.PLAIN.rows, 6, audio=True, plain=True), "context": talk.ONE_CLIP},
        demands=lambda refs: all(ref["undecodable_argmax"] > 5 for ref in refs.values()),
    ),
}


def ends_apart(reference: dict[str, Any]) -> bool:
    """Rows stop at their first frame, at two or more different later ones, and at the limit."""
    counts = {count for count, why in zip(reference["finish"], reference["finish_reason"]) if why == "stop"}
    return "length" in reference["finish_reason"] and 1 in counts and len(counts) >= 2


def ends_in_free_code(reference: dict[str, Any], end: int) -> bool:
    """Some row stops at a frame [end, …, end, x] after the first, x another code."""
    rows = zip(reference["sequences"], reference["finish"], reference["finish_reason"])
    return any(codes[-1][-1] != end for codes, count, why in rows if why == "stop" and count > 1)
