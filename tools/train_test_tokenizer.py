#!/usr/bin/env python3
"""Trains the tokenizer of the tests and writes what the `tokenizers` library makes of many strings.

Writes into OUT (tests/goldens/tokenizer):
  tokenizer.json  byte-level BPE with Llama-3's split pattern and CSM's special tokens; a third of
                  the merges is left out, so that `ignore_merges` matters as it does for Llama-3
  cases.json      strings and their ids, also for variants of the file (see VARIANTS); decodings;
                  long strings; hashes of the ids that Llama-3's own tokenizer gives
  classes.json    the code points that \\s, \\p{L} and \\p{N} hold, as ranges
  utf8.json       ill-formed UTF-8 (hexadecimal) and its repair, by Python's errors="replace"

Usage: train_test_tokenizer.py OUT [--llama3 FILE]   (FILE: Llama-3's tokenizer.json)
"""

import argparse
import copy
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers import trainers

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>"]
NUM_CASES = 10_100  # distinct
NUM_VARIANT_CASES = 700
HASH_BLOCK = 500  # strings per hash of Llama-3's ids

CORPUS = """
A conversation is a list of turns, and every turn is spoken by somebody. The model hears what was
said before, and it's asked to say one more line in the same voice. We don't know what they'll say,
and that's the point: she'd have said it differently, I'm sure, and you've heard it, they're there.
There was a time when machines read numbers aloud, 1234567890 and 3.14159, one digit after another;
nobody would have called that a voice. Now the question is how soon the first sound can be heard,
and whether the second speaker may begin before the first has ended. "Wait," he said; "what?!"
Die Stimme klingt über die Straße, größer als gedacht. Où est la fenêtre du théâtre français ?
¿Dónde está el niño? Привет, как дела? Γειά σου, τι κάνεις; こんにちは、世界。 你好，世界。 안녕하세요.
नमस्ते दुनिया। مرحبا بالعالم. שלום עולם. สวัสดีชาวโลก 😀 👩‍👩‍👧 naïve café résumé.
    if (x == 0) { return y[i] + 1; }  // code has\ttabs and    spaces
"""


def train():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=760,
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([CORPUS] * 4, trainer)
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    bos, eos = (tokenizer.token_to_id(s) for s in SPECIALS[:2])
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{SPECIALS[0]} $A {SPECIALS[1]}",
                pair=f"{SPECIALS[0]} $A {SPECIALS[0]} $B:1 {SPECIALS[1]}:1",
                special_tokens=[(SPECIALS[0], bos), (SPECIALS[1], eos)],
            ),
        ]
    )
    file = json.loads(tokenizer.to_str())
    merges = file["model"]["merges"]
    file["model"]["merges"] = [m for i, m in enumerate(merges) if i < 60 or i % 3 != 0]
    made = {c for c in file["model"]["vocab"] if len(c) == 1}
    kept = []
    for left, right in file["model"]["merges"]:  # only of tokens that can still be reached
        if left in made and right in made:
            kept.append([left, right])
            made.add(left + right)
    file["model"]["merges"] = kept
    return file


def byte_level(prefix, regex):
    return {
        "type": "ByteLevel",
        "add_prefix_space": prefix,
        "trim_offsets": True,
        "use_regex": regex,
    }


# What each variant changes in tokenizer.json. tokenizer_test.cc makes the same changes.
ADDED = [
    {"content": "[word]", "single_word": True},
    {"content": "[left]", "lstrip": True},
    {"content": "[right]", "rstrip": True},
    {"content": "[both]", "lstrip": True, "rstrip": True, "single_word": True},
    {"content": "[norm]", "normalized": True},
    {"content": "[norm][word]", "normalized": True, "rstrip": True},
    {"content": "<|AUDIO|><|", "special": True},
    {"content": "voice", "single_word": True, "special": True},
    {"content": " é "},
]


def use_added_tokens(file):
    defaults = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    for token in ADDED:
        file["added_tokens"].append({"id": 5000, **defaults, **token})


def use_merges(file):
    file["model"]["ignore_merges"] = False


def use_gpt2_split(file):
    file["pre_tokenizer"] = byte_level(True, True)


def use_prefix_space(file):
    file["pre_tokenizer"]["pretokenizers"][1] = byte_level(True, False)


def use_no_split(file):
    file["pre_tokenizer"] = byte_level(False, False)


VARIANTS = {
    "merges": use_merges,
    "added_tokens": use_added_tokens,
    "gpt2_split": use_gpt2_split,
    "prefix_space": use_prefix_space,
    "no_split": use_no_split,
}


class Strings:
    """Random strings of everything that tokenizers are known to disagree about."""

    SPACES = "\t\n\v\f\r \x85\xa0\u1680\u180e\u2000\u2005\u200a\u200b\u2028\u2029\u202f\u205f\u3000"
    SPACES += "\ufeff\x1c\x1d\x1e\x1f"
    NEWER = [0x1C89, 0xA7CB, 0xA7DC, 0x105C0, 0x10D4A, 0x10D40, 0x11BF0, 0x13460, 0x16D40, 0x1E5D0]
    NEWER += [0x1E5F1, 0x2EBF0, 0x31350, 0x323AF, 0x323B0, 0x3347A, 0x0558, 0x088F, 0x11DE0]
    SCRIPTS = [(0x20, 0x7E), (0xA0, 0x17F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F)]
    SCRIPTS += [(0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0x980, 0xDFF), (0xE00, 0xEFF)]
    SCRIPTS += [(0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x1780, 0x18AF)]
    SCRIPTS += [(0x2000, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3)]
    SCRIPTS += [(0xF900, 0xFFFF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF)]

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.words = CORPUS.split()

    def code_point(self):
        while True:
            c = self.random.randrange(0x110000)
            if not 0xD800 <= c <= 0xDFFF:
                return chr(c)

    def part(self):
        r = self.random
        kind = r.randrange(15)
        if kind < 3:
            return r.choice(self.words)
        if kind == 3:
            return " "
        if kind == 4:
            return "".join(r.choice(self.SPACES) for _ in range(r.randrange(1, 5)))
        if kind == 5:
            return r.choice(" \n\t\u3000") * r.randrange(1, 9)
        if kind == 6:
            letters = r.choice(["s", "t", "re", "ve", "m", "ll", "d", "\u017f", "x", "l", "\u212a"])
            quote = r.choice(["'", "'", "'", "\u2019", "''"])
            return quote + "".join(r.choice([c, c.upper()]) for c in letters)
        if kind == 7:
            return "".join(r.choice("0123456789") for _ in range(r.randrange(1, 9)))
        if kind == 8:
            return r.choice("٣৪๕Ⅻ²½①𝟘") * r.randrange(1, 5)
        if kind == 9:
            special = r.choice(SPECIALS)
            cut = r.randrange(len(special))
            return r.choice([special, special, special[:cut], special[cut:], special.lower()])
        if kind == 10:
            emoji = ["😀", "👩‍👩‍👧", "🇩🇪", "👍🏽", "e\u0301", "n\u0303\u0323", "क्षि", "각", "ﬅ", "ß"]
            return r.choice(emoji)
        if kind == 11:
            return chr(r.randrange(0x20)) if r.random() < 0.5 else chr(r.randrange(0x7F, 0xA0))
        if kind == 12:
            return chr(r.choice(self.NEWER)) if r.random() < 0.5 else self.code_point()
        if kind == 13:
            return "".join(r.choice("!?.,;:-()[]{}\"'#@/\\_*&^%$~`|<>") for _ in range(r.randrange(1, 5)))
        first, last = r.choice(self.SCRIPTS)
        return "".join(chr(r.randint(first, last)) for _ in range(r.randrange(1, 5)))

    def text(self, extra=()):
        parts = []
        for _ in range(self.random.randrange(1, 7)):
            parts.append(self.part())
            if extra and self.random.random() < 0.5:
                parts.append(self.random.choice(["", " ", "a", "_", "\u3000", "é", "."]))
                parts.append(self.random.choice(extra))
        return "".join(parts)


def encode(tokenizer, strings):
    return [e.ids for e in tokenizer.encode_batch(strings, add_special_tokens=False)]


def fnv1a(ids_of_strings):
    """64-bit FNV-1a over the ids as little-endian int32, each string ended by -1."""
    value = 0xCBF29CE484222325
    for ids in ids_of_strings:
        for byte in b"".join(i.to_bytes(4, "little", signed=True) for i in [*ids, -1]):
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def variant_cases(file):
    result = {}
    for name, change in VARIANTS.items():
        changed = copy.deepcopy(file)
        change(changed)
        tokenizer = Tokenizer.from_str(json.dumps(changed))
        extra = [t["content"] for t in ADDED] if name == "added_tokens" else ()
        generator = Strings(len(result) + 10)
        texts = [generator.text(extra) for _ in range(NUM_VARIANT_CASES)]
        result[name] = list(zip(texts, encode(tokenizer, texts)))
    return result


def decode_cases(tokenizer):
    rng = random.Random(3)
    cases = []
    for _ in range(500):
        size = tokenizer.get_vocab_size()
        low, high = rng.choice([(0, 256), (0, size), (size - 6, size + 2)])
        ids = [rng.randrange(low, high) for _ in range(rng.randrange(12))]
        cases.append([ids, tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids)])
    return cases


def long_cases(tokenizer):
    """[unit, repetitions, end, number of ids, hash]: what is one piece, or many, must be linear."""
    cases = []
    for unit, count, end in [
        ("a", 100_000, ""), ("the", 33_333, "!"), ("1", 100_000, ""), (" ", 100_000, ""),
        (" ", 100_000, "x"), ("\n", 100_000, ""), ("\t \r\n", 25_000, "x"), ("!", 100_000, ""),
        ("\u3000", 50_000, "\n"), ("語", 50_000, ""), ("😀", 25_000, ""), ("'s", 50_000, ""),
        ("<|", 50_000, "AUDIO|>"), ("\u0301", 50_000, ""),
    ]:  # fmt: skip
        ids = tokenizer.encode(unit * count + end, add_special_tokens=False).ids
        cases.append([unit, count, end, len(ids), fnv1a([ids])])
    return cases


def utf8_cases():
    rng = random.Random(4)
    edges = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0]
    edges += [0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]
    cases = []
    for _ in range(2000):
        data = bytes(rng.choice(edges) for _ in range(rng.randrange(1, 9)))
        cases.append([data.hex(), data.decode("utf-8", errors="replace")])
    return cases


def class_ranges():
    code_points = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    result = {}
    for pattern in [r"\s", r"\p{L}", r"\p{N}"]:
        split = pre_tokenizers.Split(Regex(pattern), "removed")
        pieces = split.pre_tokenize_str("".join(map(chr, code_points)))
        outside = {c for piece, _ in pieces for c in piece}
        ranges = []
        for c in code_points:
            if chr(c) in outside:
                continue
            if ranges and ranges[-1][1] == c - 1:
                ranges[-1][1] = c
            else:
                ranges.append([c, c])
        result[pattern] = ranges
    return result


def write_json(path, value):
    """One line per element of a list, so that a change shows as one."""

    def dump(item):
        return json.dumps(item, ensure_ascii=False, separators=(",", ":"))

    def lines(item):
        return "[\n" + ",\n".join(map(dump, item)) + "\n]" if isinstance(item, list) else dump(item)

    if isinstance(value, dict):
        members = [f"{dump(key)}:{lines(item)}" for key, item in value.items()]
        text = "{\n" + ",\n".join(members) + "\n}"
    else:
        text = lines(value)
    path.write_text(text + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--llama3", type=pathlib.Path, help="without it, its test is left out")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    file = train()
    tokenizer = Tokenizer.from_str(json.dumps(file))
    generator = Strings(1)
    distinct = {"": None}
    while len(distinct) < NUM_CASES:
        distinct[generator.text()] = None
    strings = list(distinct)
    cases = {"cases": list(zip(strings, encode(tokenizer, strings)))}
    for name, pairs in variant_cases(file).items():
        cases[f"variant {name}"] = pairs
    cases["decode"] = decode_cases(tokenizer)
    cases["long"] = long_cases(tokenizer)
    if args.llama3:
        llama3 = Tokenizer.from_file(str(args.llama3))
        ids = encode(llama3, strings)
        blocks = range(0, len(ids), HASH_BLOCK)
        cases["llama3 hashes"] = [fnv1a(ids[i : i + HASH_BLOCK]) for i in blocks]
        cases["llama3 long"] = long_cases(llama3)

    text = json.dumps(file, ensure_ascii=False, separators=(",", ":"))
    (args.out / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    write_json(args.out / "cases.json", cases)
    write_json(args.out / "classes.json", class_ranges())
    write_json(args.out / "utf8.json", utf8_cases())


if __name__ == "__main__":
    main()
