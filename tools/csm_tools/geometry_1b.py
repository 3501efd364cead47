"""A checkpoint of csm-1b's full size with random bf16 weights, made tensor by tensor.

At most one tensor exists in f32 at a time (1 GB, the text embedding) and one shard in bf16.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import CsmConfig, CsmForConditionalGeneration, MimiModel

from csm_tools.checkpoints import calibrate_codec, fill_randomly, random_tensor
from csm_tools.files import write_json
from csm_tools.tokenizer import save_processor

SHARD_BYTES = 1_000_000_000
INDEX = "model.safetensors.index.json"
# As published.
ROPE = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0}
BACKBONE_ROPE = {"low_freq_factor": 0.125, "high_freq_factor": 0.5, "original_max_position_embeddings": 1024}
DEPTH_ROPE = {
    "low_freq_factor": 0.001953125,
    "high_freq_factor": 0.0078125,
    "original_max_position_embeddings": 16,
}

Named = tuple[str, torch.Tensor]


def full_config(tokenizer: Tokenizer) -> CsmConfig:
    """The class defaults are csm-1b's sizes; special ids are the tokenizer's."""
    return CsmConfig(
        rope_parameters=ROPE | BACKBONE_ROPE,
        depth_decoder_config={"rope_parameters": ROPE | DEPTH_ROPE},
        codec_config={"model_type": "mimi"},
        bos_token_id=tokenizer.token_to_id("<|begin_of_text|>"),
        pad_token_id=tokenizer.token_to_id("<|AUDIO|>"),
        audio_token_id=tokenizer.token_to_id("<|AUDIO|>"),
        audio_eos_token_id=tokenizer.token_to_id("<|audio_eos|>"),
    )


def make_full_size_checkpoint(folder: Path, tokenizer: Tokenizer, seed: int) -> None:
    """Writes config, processor and weights; the index comes last and says that all is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    config = full_config(tokenizer)
    config.architectures = ["CsmForConditionalGeneration"]
    config.dtype = torch.bfloat16
    config.save_pretrained(folder)
    write_json(folder / "generation_config.json", {"max_new_tokens": 125})
    save_processor(folder, tokenizer)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weight_map, total_size = write_shards(folder, stream_tensors(folder, config, generator))
    write_json(folder / INDEX, {"metadata": {"total_size": total_size}, "weight_map": weight_map})


def stream_tensors(folder: Path, config: CsmConfig, generator: torch.Generator) -> Iterator[Named]:
    with torch.device("meta"):
        shapes = CsmForConditionalGeneration(config)
    for name, parameter in shapes.named_parameters():  # a tied embedding appears once
        if not name.startswith("codec_model."):
            yield name, random_tensor(name, parameter.shape, generator).bfloat16()
    for name, tensor in codec_tensors(folder / "codec", config, generator).items():
        yield f"codec_model.{name}", tensor.bfloat16() if tensor.is_floating_point() else tensor


def codec_tensors(scratch: Path, config: CsmConfig, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Mimi under its names on disk, which differ from those in memory: saved once to learn them."""
    codec = MimiModel(config.codec_config).float().eval()
    fill_randomly(codec, generator)
    calibrate_codec(codec)
    codec.save_pretrained(scratch)
    tensors = load_file(scratch / "model.safetensors")
    for file in scratch.iterdir():
        file.unlink()
    scratch.rmdir()
    return tensors


def write_shards(folder: Path, tensors: Iterator[Named]) -> tuple[dict[str, str], int]:
    weight_map: dict[str, str] = {}
    total_size, shard, shard_size = 0, {}, 0

    def flush() -> None:
        file = f"model-{len(set(weight_map.values())) + 1:05}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, file))

    for name, tensor in tensors:
        shard[name] = tensor
        shard_size += tensor.nbytes
        total_size += tensor.nbytes
        if shard_size >= SHARD_BYTES:
            flush()
            shard, shard_size = {}, 0
    if shard:
        flush()
    return weight_map, total_size
