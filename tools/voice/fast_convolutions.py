"""The codec's convolutional networks with channels last, compiled, and in bf16 where the processor can compute in it.

Of a step's time on CPUs: channels last and bf16 about half on a Zen 4; compiled two thirds on a Sapphire Rapids that
shows no bf16, where bf16 would take 1.8 times as long. The weights stay those of transformers' modules, in f32. Whole
frames only: no layer then needs padding at the end.
Small transformers are left in f32, since products of their size are slower in bf16 on the CPUs that were tried.
"""

import types

import torch
from torch import nn
from torch.nn import functional
from transformers import MimiModel
from transformers.models.mimi.modeling_mimi import MimiConv1d, MimiConvTranspose1d, MimiResnetBlock

_LAST = torch.channels_last


def _run(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """[batch, channels, 1, time]."""
    if isinstance(layer, MimiConv1d):
        conv = layer.conv
        left = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1 - conv.stride[0]
        weight = conv.weight.unsqueeze(2).contiguous(memory_format=_LAST)
        x = functional.pad(x, (left, 0))
        return functional.conv2d(x, weight, conv.bias, (1, conv.stride[0]), dilation=(1, conv.dilation[0]))
    if isinstance(layer, MimiConvTranspose1d):
        conv = layer.conv
        weight = conv.weight.unsqueeze(2).contiguous(memory_format=_LAST)
        out = functional.conv_transpose2d(x, weight, conv.bias, (1, conv.stride[0]))
        return out[..., : x.shape[-1] * conv.stride[0]]
    if isinstance(layer, MimiResnetBlock):
        out = x
        for part in layer.block:
            out = _run(part, out)
        return x + out
    return layer(x)


def has_bf16(device: torch.device) -> bool:
    return device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()


def _forward(network: nn.Module, x: torch.Tensor, padding_cache: None = None) -> torch.Tensor:
    """[batch, channels, time], as the module's own."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=has_bf16(x.device)):
        x = x.unsqueeze(2).contiguous(memory_format=_LAST)
        for layer in network.layers:
            x = _run(layer, x)
    return x.squeeze(2).float()


def use(codec: MimiModel) -> None:
    """For training alone: a model in bf16 makes other codes than one in f32."""
    for network in (codec.encoder.encoder_seanet, codec.decoder.decoder_seanet):
        network.forward = torch.compile(types.MethodType(_forward, network), dynamic=False)
