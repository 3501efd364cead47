#!/usr/bin/env python3
"""Makes tests/goldens/mimi: tiny random Mimi codecs and what transformers computes with them.

Needs torch and transformers (tools/requirements.txt); seeds are fixed. Every case is a folder with
  config.json, model.safetensors            a Mimi checkpoint as transformers saves it
  expected/model.safetensors                f32 tensors, batch dimension dropped:
    encode.N.samples [N], encode.N.latents [frames, hidden_size], encode.N.codes [frames, codebooks]
    decode.K.codes [frames, K], decode.K.samples [frames * frame_size]
"""

import argparse
import pathlib

import torch
from safetensors.torch import save_file
from transformers import MimiConfig, MimiModel
from transformers.models.mimi.modeling_mimi import MimiEuclideanCodebook

# Codes are compared for equality: the nearest codebook entry must be nearer than the next one by
# more than f32 sums differ.
MIN_GAP = 1e-4

TINY = dict(
    hidden_size=16,
    num_filters=4,
    upsampling_ratios=[3, 2],
    codebook_size=16,
    codebook_dim=8,
    vector_quantization_hidden_dimension=8,
    num_quantizers=4,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    intermediate_size=24,
    sliding_window=5,
    upsample_groups=16,
)

# Each case bends what the others leave straight.
CASES = {
    "residual": TINY
    | dict(
        num_residual_layers=3,
        dilation_growth_rate=2,
        num_semantic_quantizers=2,
        num_key_value_heads=1,
        head_dim=6,
        attention_bias=True,
    ),
    "shortcut": TINY
    | dict(
        upsampling_ratios=[2, 3, 2],
        upsample_groups=1,
        compress=4,
        kernel_size=5,
        last_kernel_size=5,
        residual_kernel_size=2,
        use_conv_shortcut=True,
        codebook_dim=16,
        vector_quantization_hidden_dimension=16,
        sliding_window=3,
    ),
    "replicate": TINY
    | dict(
        sampling_rate=21000,
        upsampling_ratios=[7],
        frame_rate=1000.0,  # three transformer steps a frame
        upsample_groups=4,
        num_residual_layers=0,
        pad_mode="replicate",
        norm_eps=1e-3,
        num_semantic_quantizers=3,
    ),
}
HALF = {"shortcut"}  # stored as f16; transformers computes in f32


def randomize(model: MimiModel) -> None:
    """transformers starts with empty codebooks and almost silent transformer layers."""
    for name, tensor in list(model.named_parameters()) + list(model.named_buffers()):
        if name.endswith("cluster_usage"):
            tensor.data.uniform_(0.5, 3.0)
            tensor.data[0] = 0.0  # a codebook entry never used: divided by 1e-5
        elif name.endswith("embed_sum"):
            tensor.data.normal_()
            tensor.data[0] *= 1e-5
        elif name.endswith("layer_scale.scale"):
            tensor.data.uniform_(-0.7, 0.7)
        elif "layernorm.weight" in name:
            tensor.data.uniform_(0.5, 1.5)
        elif name.endswith(".bias"):
            tensor.data.uniform_(-0.3, 0.3)


def quantize(codebook: MimiEuclideanCodebook, hidden_states: torch.Tensor) -> torch.Tensor:
    """MimiEuclideanCodebook.quantize, refusing near-ties."""
    distances = torch.cdist(hidden_states[None].float(), codebook.embed[None].float(), p=2)[0]
    nearest = distances.topk(2, largest=False).values
    gap = (nearest[:, 1] - nearest[:, 0]).min().item()
    assert gap > MIN_GAP, f"two entries differ by {gap} only; change the seed"
    return distances.argmin(dim=-1)


@torch.no_grad()
def make_case(folder: pathlib.Path, config: dict, half: bool) -> None:
    model = MimiModel(MimiConfig(**config))
    randomize(model)
    if half:
        model = model.half()
    model.save_pretrained(folder)
    model = MimiModel.from_pretrained(folder, dtype=torch.float32).eval()
    ratios = model.config.upsampling_ratios
    frame_size = int(torch.tensor(ratios).prod()) * model.config.latent_stride

    expected = {}
    for num_samples in (1, frame_size - 1, frame_size, frame_size + 1, 20 * frame_size + 5):
        samples = torch.randn(num_samples)
        latents = model.encoder(samples[None, None]).latents
        codes = model.encode(samples[None, None]).audio_codes
        expected[f"encode.{num_samples}.samples"] = samples
        expected[f"encode.{num_samples}.latents"] = latents[0].T
        expected[f"encode.{num_samples}.codes"] = codes[0].T.float()
    for num_codebooks in range(1, model.config.num_quantizers + 1):
        codes = torch.randint(model.config.codebook_size, (9, num_codebooks))
        audio = model.decode(codes.T[None]).audio_values[0, 0]
        expected[f"decode.{num_codebooks}.codes"] = codes.float()
        expected[f"decode.{num_codebooks}.samples"] = audio
    (folder / "expected").mkdir()
    expected = {name: tensor.contiguous() for name, tensor in expected.items()}
    save_file(expected, folder / "expected" / "model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    root = pathlib.Path(__file__).parent.parent / "tests" / "goldens" / "mimi"
    parser.add_argument("--output", type=pathlib.Path, default=root)
    args = parser.parse_args()
    MimiEuclideanCodebook.quantize = quantize
    for seed, (name, config) in enumerate(CASES.items()):
        torch.manual_seed(seed)
        make_case(args.output / name, config, name in HALF)
        print(args.output / name)


if __name__ == "__main__":
    main()
