"""What a CSM checkpoint has beside its weights: config, byte-level tokenizer, chat template, processor."""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CsmConfig, CsmProcessor, EncodecFeatureExtractor, PreTrainedTokenizerFast

from codec import HELD_CODE, make_config
from settings import SAMPLING_RATE, Settings

BEGIN, END, AUDIO, AUDIO_END = range(256, 260)  # ids; those below are bytes
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>"]
MAX_POSITIONS = 2048
MAX_FRAMES = 125  # ten seconds, as csm-1b

# Llama 3's, although no merge crosses anything here: csm and transformers then need no special case.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)

_CHAT_TEMPLATE = """{%- for message in messages %}
    {%- if not (message['role'] is string and message['role'].isdigit()) %}
        {{- raise_exception("The role must be a stringified integer (e.g. '0') designating the speaker id") }}
    {%- endif %}
    {%- set ns = namespace(text='', audio=false) %}
    {%- if message['content'] is string %}
        {%- set ns.text = message['content'] %}
    {%- else %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'text' %}
                {%- set ns.text = part['text'] %}
            {%- elif part['type'] == 'audio' %}
                {%- set ns.audio = true %}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|begin_of_text|>[' + message['role'] + ']' + ns.text + '<|end_of_text|>' }}
    {%- if ns.audio %}
        {{- '<|AUDIO|><|audio_eos|>' }}
    {%- endif %}
{%- endfor %}"""


def _rope(original: int) -> dict[str, Any]:
    """csm-1b's form, but no stretching: texts here are short."""
    return {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 1.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": original,
    }


def make_csm_config(settings: Settings) -> CsmConfig:
    vocabulary = settings.codebook_size + 3  # as in csm-1b: two that are never said, and padding
    depth = {
        "model_type": "csm_depth_decoder_model",
        "num_codebooks": settings.num_codebooks,
        "backbone_hidden_size": settings.backbone_hidden,
        "vocab_size": vocabulary,
        "hidden_size": settings.depth_hidden,
        "intermediate_size": settings.depth_ffn,
        "num_hidden_layers": settings.depth_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": settings.depth_hidden // 4,
        "max_position_embeddings": settings.num_codebooks + 1,
        "rope_parameters": _rope(4),
    }
    return CsmConfig(
        num_codebooks=settings.num_codebooks,
        vocab_size=vocabulary,
        text_vocab_size=256 + len(SPECIAL),
        hidden_size=settings.backbone_hidden,
        intermediate_size=settings.backbone_ffn,
        num_hidden_layers=settings.backbone_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=settings.backbone_hidden // 4,
        max_position_embeddings=MAX_POSITIONS,
        bos_token_id=BEGIN,
        eos_token_id=None,
        pad_token_id=AUDIO,
        audio_token_id=AUDIO,
        audio_eos_token_id=AUDIO_END,
        codebook_pad_token_id=vocabulary - 1,
        codebook_eos_token_id=HELD_CODE,
        rope_parameters=_rope(1024),
        depth_decoder_config=depth,
        codec_config=make_config(settings).to_dict(),
    )


def generation_config(settings: Settings) -> dict[str, Any]:
    codes = settings.num_codebooks - 1
    return {
        "bos_token_id": BEGIN,
        "pad_token_id": AUDIO,
        "do_sample": True,
        "temperature": settings.temperature,
        "top_k": settings.top_k,
        "max_new_tokens": MAX_FRAMES,
        "depth_decoder_do_sample": True,
        "depth_decoder_temperature": settings.depth_temperature,
        "depth_decoder_top_k": settings.top_k,
        "depth_decoder_min_new_tokens": codes,
        "depth_decoder_max_new_tokens": codes,
    }


def _tokenizer() -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())  # one for each byte
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, [], ignore_merges=True))
    split = pre_tokenizers.Split(Regex(_SPLIT), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    begin, end = SPECIAL[:2]
    around = processors.TemplateProcessing(
        single=f"{begin}:0 $A:0 {end}:0",
        pair=f"{begin}:0 $A:0 {end}:0 {begin}:1 $B:1 {end}:1",
        special_tokens=[(begin, BEGIN), (end, END)],
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), around])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=begin,
        eos_token=end,
        pad_token=SPECIAL[2],
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def write_processor(folder: Path) -> None:
    extractor = EncodecFeatureExtractor(
        feature_size=1, sampling_rate=SAMPLING_RATE, padding_value=0.0, return_attention_mask=True
    )
    tokenizer = _tokenizer()
    processor = CsmProcessor(feature_extractor=extractor, tokenizer=tokenizer, chat_template=_CHAT_TEMPLATE)
    for part in (processor, tokenizer, extractor):
        part.save_pretrained(folder)


def write_base(folder: Path, settings: Settings) -> None:
    """What `csm init` begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    config = make_csm_config(settings)
    config.architectures = ["CsmForConditionalGeneration"]
    config.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(generation_config(settings), indent=2) + "\n")
    write_processor(folder)
