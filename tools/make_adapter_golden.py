#!/usr/bin/env python3
"""Makes tests/goldens/adapter: a LoRA adapter of random-tiny by the peft package, and the greedy codes
that transformers speaks with it after random-tiny/context. Needs peft, see requirements.txt."""

import os
import shutil
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, get_peft_model
from transformers import CsmProcessor

from csm_tools import reference as hf
from csm_tools.files import write_json

GOLDENS = Path(__file__).resolve().parent.parent / "tests" / "goldens"
FRAMES = 8


def main() -> None:
    model_dir, out = GOLDENS / "random-tiny", GOLDENS / "adapter"
    torch.manual_seed(0)
    config = LoraConfig(
        r=3, lora_alpha=7, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False
    )
    model = get_peft_model(hf.load_model(model_dir), config)
    with torch.no_grad():  # peft adapts the codec too; no training changes it
        for name, parameter in model.named_parameters():
            if "codec_model" in name and "lora_B" in name:
                parameter.zero_()
    shutil.rmtree(out, ignore_errors=True)
    model.save_pretrained(out)
    (out / "README.md").unlink()
    text = (out / "adapter_config.json").read_text()
    (out / "adapter_config.json").write_text(text.replace(str(model_dir), "random-tiny") + "\n")
    processor = CsmProcessor.from_pretrained(model_dir)
    inputs = hf.prepare(processor, model_dir / "context" / "conversation.json")
    spoken = hf.generate(model.merge_and_unload(), inputs, FRAMES)
    write_json(out / "codes.json", {"max_new_tokens": FRAMES, **spoken})


if __name__ == "__main__":
    main()
