"""Small CSM checkpoints with random weights whose outputs are varied and well apart."""

from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import CsmConfig, CsmForConditionalGeneration, MimiModel

from csm_tools.files import synthetic_speech

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 0.125,
    "high_freq_factor": 0.5,
    "original_max_position_embeddings": 64,
}
LLAMA3_DEPTH_ROPE = LLAMA3_ROPE | {
    "low_freq_factor": 0.001953125,
    "high_freq_factor": 0.0078125,
    "original_max_position_embeddings": 16,
}


def tiny_config(
    tokenizer: Tokenizer,
    num_codebooks: int,
    backbone: dict[str, Any],
    depth: dict[str, Any],
    codec: dict[str, Any],
    **rest: Any,
) -> CsmConfig:
    """The dicts override sizes; 64 decodable codes and 3 ids (64..66) that the codec cannot decode."""
    vocab_size = 67
    defaults = {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 12,
        "max_position_embeddings": 512,
        "rope_parameters": LLAMA3_ROPE,
    }
    backbone = defaults | backbone
    depth = defaults | {"hidden_size": 20, "head_dim": 10, "rope_parameters": LLAMA3_DEPTH_ROPE} | depth
    depth |= {
        "num_codebooks": num_codebooks,
        "vocab_size": vocab_size,
        "max_position_embeddings": num_codebooks + 1,
        "backbone_hidden_size": backbone["hidden_size"],
    }
    ids = {
        "bos_token_id": tokenizer.token_to_id("<|begin_of_text|>"),
        "pad_token_id": tokenizer.token_to_id("<|AUDIO|>"),
        "audio_token_id": tokenizer.token_to_id("<|AUDIO|>"),
        "audio_eos_token_id": tokenizer.token_to_id("<|audio_eos|>"),
        "codebook_pad_token_id": vocab_size - 1,
        "text_vocab_size": tokenizer.get_vocab_size(),
    }
    codec_config = tiny_codec_config(num_codebooks) | codec
    return CsmConfig(
        num_codebooks=num_codebooks,
        vocab_size=vocab_size,
        depth_decoder_config=depth,
        codec_config=codec_config,
        **backbone,
        **(ids | rest),
    )


def tiny_codec_config(num_quantizers: int) -> dict[str, Any]:
    return {
        "model_type": "mimi",
        "num_filters": 2,
        "hidden_size": 16,
        "upsample_groups": 16,
        "codebook_size": 64,
        "codebook_dim": 8,
        "vector_quantization_hidden_dimension": 8,
        "num_quantizers": num_quantizers,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 24,
        "sliding_window": 7,
    }


def random_model(config: CsmConfig, seed: int) -> CsmForConditionalGeneration:
    model = CsmForConditionalGeneration(config).float().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        fill_randomly(model, generator)
        calibrate_codec(model.codec_model)
        scale_undecodable(model, 0.1)
    return model


def fill_randomly(module: torch.nn.Module, generator: torch.Generator) -> None:
    for name, tensor in list(module.named_parameters()) + list(module.named_buffers()):
        if tensor.is_floating_point() and "inv_freq" not in name:
            tensor.copy_(random_tensor(name, tensor.shape, generator))


def random_tensor(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Scales that keep activations near 1, so that every layer matters to the output."""
    noise = torch.randn(shape, generator=generator)
    if name.endswith("initialized"):
        return torch.ones(shape)
    if name.endswith("cluster_usage"):
        return 0.5 + 20 * noise.abs()
    if name.endswith("embed_sum"):
        return 8 * noise
    if "norm" in name:
        return 1 + 0.2 * noise if name.endswith("weight") else 0.1 * noise
    if "layer_scale" in name:
        return 0.3 + 0.1 * noise
    if name.endswith("bias"):
        return 0.1 * noise
    if "embed" in name and "projector" not in name:
        # A frame's embedding is a sum over codebooks: about 1 in all, as a text token's.
        return noise * (0.6 if "tokens.embed_audio" in name or "model.embed_tokens" in name else 1.0)
    if name.endswith("codebooks_head.weight"):
        return 2.5 * noise / shape[1] ** 0.5
    fan_in = torch.Size(shape[1:]).numel()
    return (2.5 if name == "lm_head.weight" else 1.2) * noise / fan_in**0.5


def scale_undecodable(model: CsmForConditionalGeneration, factor: float) -> None:
    """Scales the logits of ids that the codec cannot decode: small ones never win, as in trained models."""
    first = model.config.codec_config.codebook_size
    with torch.no_grad():
        model.lm_head.weight[first:] *= factor
        model.depth_decoder.codebooks_head.weight[:, :, first:] *= factor


def calibrate_codec(codec: MimiModel) -> None:
    """Latents as large as the codebooks' entries (varied codes), and audio of peak 0.5."""
    generator = torch.Generator().manual_seed(0)
    audio = torch.from_numpy(synthetic_speech(1.0, seed=0))[None, None]
    for rvq in (
        codec.quantizer.semantic_residual_vector_quantizer,
        codec.quantizer.acoustic_residual_vector_quantizer,
    ):
        captured: list[torch.Tensor] = []
        hook = rvq.input_proj.register_forward_hook(lambda _m, _i, out: captured.append(out))
        codec.encode(audio)
        hook.remove()
        entries = rvq.layers[0].codebook
        size = (entries.embed_sum / entries.cluster_usage[:, None]).std()
        rvq.input_proj.weight.mul_(size / captured[0].std())
    codes = torch.randint(
        0, codec.config.codebook_size, (1, codec.config.num_quantizers, 25), generator=generator
    )
    last = [m for m in codec.modules() if isinstance(m, torch.nn.Conv1d) and m.out_channels == 1][-1]
    factor = 0.5 / codec.decode(codes).audio_values.abs().max()
    last.weight.mul_(factor)
    last.bias.mul_(factor)


def favour_ending(model: CsmForConditionalGeneration, c0_gain: float, last_codebook: bool = True) -> None:
    """Makes a frame that starts with the end code c consist of c only, as trained models' last frames do.

    One direction of each residual stream is set apart to say "the code before was c": only embeddings of
    c have it, no layer of the depth decoder writes it, each depth head's column of c reads it. lm_head's
    row of c does not read it; the row is scaled by `c0_gain`, which says how often a frame starts with c.
    `last_codebook` false leaves the last codebook free: [c, …, c, x].
    """
    config, depth = model.config, model.depth_decoder
    end, vocab = config.codebook_eos_token_id, config.vocab_size
    generator = torch.Generator().manual_seed(1)
    wide = torch.nn.functional.normalize(torch.randn(config.hidden_size, generator=generator), dim=0)
    narrow = torch.nn.functional.normalize(torch.randn(depth.config.hidden_size, generator=generator), dim=0)
    with torch.no_grad():
        embedding, projector = depth.model.embed_tokens.weight, depth.model.inputs_embeds_projector.weight
        embedding -= torch.outer(embedding @ wide, wide)
        embedding[end : (config.num_codebooks - 1) * vocab : vocab] += 4 * wide
        writers = [
            module for layer in depth.model.layers for module in (layer.self_attn.o_proj, layer.mlp.down_proj)
        ]
        for weight in (projector, *(module.weight for module in writers)):
            weight -= torch.outer(narrow, narrow @ weight)
        projector += 4 * torch.outer(narrow, wide)
        heads = config.num_codebooks - (1 if last_codebook else 2)
        depth.codebooks_head.weight[:heads, :, end] += 4 * narrow
        row = model.lm_head.weight[end]
        row.sub_((row @ wide) * wide).mul_(c0_gain)
