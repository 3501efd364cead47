"""The stage `export`: language model and codec in one folder, in 16 bits, as transformers has it."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoProcessor, CsmForConditionalGeneration, MimiModel

import csm_files
import speech
from csm_tools import reference
from csm_tools.recipes import RecipeError, write_json
from progress import say
from settings import Settings

MAX_BYTES = 30_000_000
GREEDY = [("The past is just a story we tell ourselves.", 0), ("Is the train at half past nine?", 1)]
MAX_GREEDY_FRAMES = 60
RECORDINGS_TO_CENTRE = 40


@torch.no_grad()
def centre(model: MimiModel, shard: speech.Shard, codes: np.ndarray) -> None:
    """Takes the constant offset out of the decoder's sound, which nothing in its training looks at."""
    total, count = 0.0, 0
    for recording in shard.recordings()[:RECORDINGS_TO_CENTRE]:
        own = codes[recording.first_frame : recording.first_frame + recording.num_frames]
        samples = model.decode(torch.from_numpy(own.T.astype(np.int64))[None]).audio_values
        total += float(samples.sum())
        count += samples.numel()
    say(f"export: a constant offset of {total / count:.4f} is taken out")
    [*_, (name, bias)] = model.decoder.named_parameters()
    assert name.endswith("conv.bias") and bias.numel() == 1, name  # of the last convolution
    bias -= total / count


def export(language_model: Path, codec_model: MimiModel, output: Path, settings: Settings) -> None:
    model = CsmForConditionalGeneration(csm_files.make_csm_config(settings))
    weights = {}
    for file in sorted(language_model.glob("*.safetensors")):
        weights |= load_file(file)
    weights = {name: value.float() for name, value in weights.items() if not name.startswith("codec_model.")}
    result = model.load_state_dict(weights, strict=False)
    missing = [
        name
        for name in result.missing_keys
        if not name.startswith("codec_model.") and "embed_audio_tokens" not in name and "embed_tokens" not in name
    ]
    if missing or result.unexpected_keys:
        odd = [*missing, *result.unexpected_keys][0]
        raise RecipeError(f"{language_model} does not fit these settings: {odd}")
    model.codec_model.load_state_dict(codec_model.state_dict())
    model.tie_weights()
    model = model.to(torch.float16).eval()
    model.save_pretrained(output)
    csm_files.write_processor(output)
    # As the published checkpoint has it: both stacks in one file.
    generation = json.dumps(csm_files.generation_config(settings), indent=2)
    (output / "generation_config.json").write_text(generation + "\n")
    for file in output.iterdir():
        file.chmod(0o644)  # some are written for their owner alone
    _check(output)
    write_goldens(output, output.with_name("greedy.json"))


def write_goldens(folder: Path, file: Path) -> None:
    """FILE: what transformers says greedily, in f32. csm must say the same: tests/goldens/csm-tiny/greedy.json."""
    model, processor = reference.load_model(folder), AutoProcessor.from_pretrained(folder)
    goldens = []
    for text, speaker in GREEDY:
        inputs = processor(f"[{speaker}]{text}", add_special_tokens=True, return_tensors="pt")
        said = reference.generate(model, inputs, MAX_GREEDY_FRAMES)
        codes = said["sequences"][0]
        say(f"export: {said['finish']} after {len(codes)} frames, least gap {said['min_gap']:.1e}: {text}")
        goldens.append({"text": text, "speaker": speaker, "codes": codes})
    write_json(file, goldens)


def _check(folder: Path) -> None:
    """transformers loads it and speaks a word."""
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    if size > MAX_BYTES:
        raise RecipeError(f"{folder} has {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f}")
    model = CsmForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    inputs = processor("[0]Hello.", add_special_tokens=True, return_tensors="pt")
    torch.manual_seed(0)
    with torch.no_grad():
        [audio] = model.generate(**inputs, output_audio=True, max_new_tokens=40)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    seconds = len(audio) / 24000
    say(f"export: {parameters / 1e6:.1f} million parameters, {size / 1e6:.1f} MB; transformers speaks {seconds:.1f} s")
