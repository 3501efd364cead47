"""What Hugging Face computes for a conversation: the content of a reference.json."""

from pathlib import Path
from typing import Any

import torch
from transformers import CsmForConditionalGeneration, CsmProcessor

from csm_tools.files import read_audio, read_json

Codes = list[list[int]]  # [frames][codebooks]


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> CsmForConditionalGeneration:
    """Loads a checkpoint and makes sure that no tensor was missing, unknown or of another shape."""
    model, info = CsmForConditionalGeneration.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    wrong = {what: names for what, names in info.items() if names}
    if wrong:
        raise ValueError(f"{folder}: Hugging Face does not load all of it: {wrong}")
    return model.eval()


def load_batch(file: Path) -> list[list[dict[str, Any]]]:
    """Conversations of a JSON file, their audio read as 24 kHz mono arrays."""
    batch = read_json(file)
    batch = [batch] if isinstance(batch[0], dict) else batch
    for message in (message for conversation in batch for message in conversation):
        for item in message["content"]:
            if item["type"] == "audio":
                item["path"] = read_audio(file.parent / item["path"])
    return batch


def prepare(processor: CsmProcessor, file: Path, **kwargs: Any) -> dict[str, torch.Tensor]:
    return dict(processor.apply_chat_template(load_batch(file), tokenize=True, return_dict=True, **kwargs))


def undecodable_ids(model: CsmForConditionalGeneration) -> list[int]:
    """Ids that the heads can emit and the codec has no entry for; HF would crash on one."""
    return list(range(model.config.codec_config.codebook_size, model.config.vocab_size))


def frames_until_stop(codes: torch.Tensor, end: int) -> int:
    """Frames of [T, K] up to the first whose codes but the last are all `end`, that one included."""
    stops = (codes[:, :-1] == end).all(dim=1).nonzero()
    return len(codes) if len(stops) == 0 else int(stops[0]) + 1


class LogitsRecorder:
    """Records every row's logits of both stacks while generate() runs."""

    def __init__(self, model: CsmForConditionalGeneration) -> None:
        self.backbone: list[torch.Tensor] = []  # per frame [B, V]
        self.depth: list[torch.Tensor] = []  # per frame and codebook 1.. [B, V]
        self._hooks = [
            model.lm_head.register_forward_hook(lambda _m, _i, out: self.backbone.append(out[:, -1].float())),
            model.depth_decoder.codebooks_head.register_forward_hook(
                lambda _m, _i, out: self.depth.append(out[:, -1].float())
            ),
        ]

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def frame(self, t: int) -> torch.Tensor:
        """Logits of frame t: [B, K, V]."""
        heads = len(self.depth) // len(self.backbone)
        return torch.stack([self.backbone[t], *self.depth[t * heads : (t + 1) * heads]], dim=1)


def relative_gap(logits: torch.Tensor, num_decodable: int) -> float:
    """Least distance of the best to the second-best id, over the largest |logit| of its row."""
    best = logits[..., :num_decodable].topk(2).values
    return float(((best[..., 0] - best[..., 1]) / logits.abs().amax(-1)).min())


def generate(
    model: CsmForConditionalGeneration, inputs: dict[str, torch.Tensor], max_new_tokens: int
) -> dict[str, Any]:
    """Greedy codes of each row up to its stop, HF's rules made safe: no undecodable id is chosen."""
    banned = undecodable_ids(model) or None
    depth = {"depth_decoder_do_sample": False, "depth_decoder_suppress_tokens": banned}
    recorder = LogitsRecorder(model)
    with torch.no_grad():
        output = model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, suppress_tokens=banned, **depth
        )
    recorder.close()
    end, decodable = model.config.codebook_eos_token_id, model.config.codec_config.codebook_size
    counts = [frames_until_stop(row, end) for row in output]
    gaps, undecodable = [], 0
    for t in range(max(counts)):
        live = recorder.frame(t)[[row for row, count in enumerate(counts) if t < count]]
        gaps.append(relative_gap(live, decodable))
        undecodable += int((live.argmax(-1) >= decodable).sum())
    return {
        "max_new_tokens": max_new_tokens,
        "sequences": [row[:count].tolist() for row, count in zip(output, counts)],
        "finish": counts,
        "finish_reason": [
            "stop" if bool((row[count - 1, :-1] == end).all()) else "length"
            for row, count in zip(output, counts)
        ],
        "min_gap": min(gaps),
        "undecodable_argmax": undecodable,
        "first_logits": recorder.backbone[0],
    }


def decode_audio(model: CsmForConditionalGeneration, codes: Codes) -> torch.Tensor:
    """Samples of a row: frames before the first whose codes are all the end code."""
    end = model.config.codebook_eos_token_id
    cut = next((t for t, frame in enumerate(codes) if all(code == end for code in frame)), len(codes))
    if cut == 0:
        return torch.zeros(0)
    with torch.no_grad():
        return model.codec_model.decode(torch.tensor(codes[:cut]).T[None]).audio_values[0, 0]


def losses(model: CsmForConditionalGeneration, inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The losses, and the norm of the gradient of every parameter that has one."""
    model.zero_grad()
    output = model(**inputs)
    output.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    return {
        "labels": inputs["labels"],
        "loss": output.loss.detach(),
        "backbone_loss": output.backbone_loss.detach(),
        "depth_decoder_loss": output.depth_decoder_loss.detach(),
        "grad_norms": {name: grad.norm() for name, grad in gradients.items() if grad is not None},
    }


def hidden_states(
    model: CsmForConditionalGeneration, inputs: dict[str, torch.Tensor], frame: list[int]
) -> dict[str, Any]:
    """Hidden states of both stacks for one row: the prompt, then the depth decoder on `frame`.

    A list holds the input of each layer, then the output after the final norm.
    """
    with torch.no_grad():
        backbone = model(**inputs, output_hidden_states=True)
        last = backbone.hidden_states[-1][:, -1]
        depth_ids = torch.tensor([[0, *frame[:-1]]])
        depth = model.depth_decoder(
            input_ids=depth_ids, backbone_last_hidden_state=last, output_hidden_states=True
        )
    return {
        "backbone": {
            "hidden_states": [layer[0] for layer in backbone.hidden_states],
            "logits": backbone.logits[0],
        },
        "depth_decoder": {
            "input_ids": depth_ids[0],
            "hidden_states": [layer[0] for layer in depth.hidden_states],
            "logits": depth.logits[0],
        },
    }
