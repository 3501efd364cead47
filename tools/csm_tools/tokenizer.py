"""A small byte-level BPE that follows every rule of Llama 3's, and the files of a CsmProcessor."""

from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from csm_tools.files import write_json

# The split pattern of Llama 3's tokenizer.json.
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL_TOKENS = ["<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>"]
CORPUS = [
    "The past is just a story we tell ourselves, and every story ends where the next one begins.",
    "Hello there, how are you today? I'm fine, thanks; we'll see what they've said and what they'd do.",
    "The speaker listens to the speech, and then the other speaker answers the speaker in turn.",
    "In the morning the rain had stopped, the street was wet, and the bus at 10:45 was late again.",
    "Numbers such as 1, 12, 123 and 2024 are split in threes; naïve café is not.",
]
# Renders a message as "<|begin_of_text|>[role]text<|end_of_text|>" and its audio after it.
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|begin_of_text|>[' ~ message['role'] ~ ']' }}"
    "{%- for item in message['content'] if item['type'] == 'text' %}{{- item['text'] }}{%- endfor %}"
    "{{- '<|end_of_text|>' }}"
    "{%- for item in message['content'] if item['type'] == 'audio' %}{{- '<|AUDIO|><|audio_eos|>' }}{%- endfor %}"
    "{%- endfor %}"
)


def train_tokenizer(num_merges: int) -> Tokenizer:
    """256 bytes, `num_merges` merges of the corpus, the special tokens; BOS and EOS on request."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + num_merges, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS])
    bos, eos = SPECIAL_TOKENS[:2]
    ends = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {bos}:1 $B:1 {eos}:1",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in (bos, eos)],
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), ends])
    return tokenizer


def save_processor(folder: Path, tokenizer: Tokenizer) -> None:
    """Writes the files that CsmProcessor.from_pretrained reads."""
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer_config = {
        "backend": "tokenizers",
        "bos_token": "<|begin_of_text|>",
        "eos_token": None,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 2048,
        "pad_token": "<|end_of_text|>",
        "processor_class": "CsmProcessor",
        "tokenizer_class": "TokenizersBackend",
    }
    feature_extractor = {
        "chunk_length_s": None,
        "feature_extractor_type": "EncodecFeatureExtractor",
        "feature_size": 1,
        "overlap": None,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": 24000,
    }
    write_json(folder / "tokenizer_config.json", tokenizer_config)
    processor_config = {"feature_extractor": feature_extractor, "processor_class": "CsmProcessor"}
    write_json(folder / "processor_config.json", processor_config)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
