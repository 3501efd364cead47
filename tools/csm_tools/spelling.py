"""Rewrites a saved checkpoint in the ways that checkpoints in the wild are written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from csm_tools.files import read_json, write_json

Tensors = dict[str, torch.Tensor]
Edit = Callable[[Path], None]
BACKBONE_CODES = "backbone_model.embed_tokens.embed_audio_tokens.weight"
DEPTH_CODES = "depth_decoder.model.embed_tokens.weight"


def edit_json(name: str, change: Callable[[dict[str, Any]], None]) -> Edit:
    def apply(folder: Path) -> None:
        data = read_json(folder / name)
        change(data)
        write_json(folder / name, data)

    return apply


def edit_tensors(change: Callable[[Tensors], Tensors]) -> Edit:
    def apply(folder: Path) -> None:
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})

    return apply


def cast(choose: Callable[[int, str], torch.dtype]) -> Edit:
    """Casts each tensor to the dtype chosen by its rank in name order and its name."""

    def change(tensors: Tensors) -> Tensors:
        return {name: tensors[name].to(choose(i, name)) for i, name in enumerate(sorted(tensors))}

    return edit_tensors(change)


def store_code_embedding_as(*names: str) -> Edit:
    """A tied embedding under the given names, whichever it was saved under."""

    def change(tensors: Tensors) -> Tensors:
        found = [tensors.pop(name) for name in (BACKBONE_CODES, DEPTH_CODES) if name in tensors]
        return tensors | {name: found[0].clone() for name in names}

    return edit_tensors(change)


def shard(folder: Path, num_shards: int = 3) -> None:
    """Shards with an index, named by the config's `transformers_weights` as in the published csm-1b."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards: list[Tensors] = [{} for _ in range(num_shards)]
    for i, name in enumerate(sorted(tensors)):
        shards[i * num_shards // len(tensors)][name] = tensors[name]
    weight_map = {}
    for i, part in enumerate(shards, 1):
        file = f"transformers-{i:05}-of-{num_shards:05}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    file = "transformers.safetensors.index.json"
    write_json(folder / file, index)
    edit_json("config.json", lambda config: config.update(transformers_weights=file))(folder)


def spell_as_v4(folder: Path) -> None:
    """config.json as transformers 4 wrote it: rope_theta, rope_scaling, torch_dtype, frame_rate."""

    def rope(config: dict[str, Any], type_key: str) -> None:
        parameters = config.pop("rope_parameters")
        config["rope_theta"] = parameters.pop("rope_theta")
        rope_type = parameters.pop("rope_type")
        config["rope_scaling"] = None if rope_type == "default" else parameters | {type_key: rope_type}

    def change(config: dict[str, Any]) -> None:
        config["torch_dtype"] = config.pop("dtype")
        rope(config, "rope_type")
        rope(config["depth_decoder_config"], "type")  # the legacy key
        rope(config["codec_config"], "rope_type")
        config["codec_config"].pop("_frame_rate")
        config["codec_config"]["frame_rate"] = 12.5
        config["tie_word_embeddings"] = False  # as published, though the code embeddings are tied
        config["transformers_version"] = "4.52.0"

    edit_json("config.json", change)(folder)


def null_fields(folder: Path) -> None:
    """Null where HF allows it: head_dim and num_key_value_heads derive from others, RoPE is plain."""

    def change(config: dict[str, Any]) -> None:
        for stack in (config, config["depth_decoder_config"]):
            stack |= {"head_dim": None, "num_key_value_heads": None, "rope_parameters": None}
        config["bos_token_id"] = None
        config["dtype"] = None

    edit_json("config.json", change)(folder)


def generation_config(options: dict[str, Any]) -> Edit:
    """generation_config.json as published: without save_pretrained's `depth_decoder__from_model_config`,
    which makes HF forget the other depth_decoder_* options at the first generate()."""

    def apply(folder: Path) -> None:
        config = read_json(folder / "config.json")
        ids = {key: config[key] for key in ("bos_token_id", "pad_token_id")}
        write_json(folder / "generation_config.json", dict(sorted((ids | options).items())))

    return apply
