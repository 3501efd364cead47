#!/usr/bin/env python3
"""Writes src/text/unicode_tables.h: the character classes of the `tokenizers` library.

The library is asked, code point by code point, what its \\p{L}, \\p{N} (of split patterns) and its
word characters (of `single_word` added tokens) are. PCRE2 10.42 knows Unicode 14, as Python 3.11
does, so only letters and numbers newer than that are written.

Usage: make_unicode_tables.py > src/text/unicode_tables.h
"""

import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def members(pattern):
    """The code points that a pattern of one character matches."""
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    kept = {c for piece, _ in split.pre_tokenize_str("".join(map(chr, CODE_POINTS))) for c in piece}
    return {c for c in CODE_POINTS if chr(c) not in kept}


def word_characters():
    """The code points beside which a `single_word` token is not found."""
    tokenizer = Tokenizer(models.BPE(vocab={"x": 0}, merges=[]))
    tokenizer.add_tokens([AddedToken("<t>", single_word=True, normalized=False)])
    return {c for c in CODE_POINTS if 1 not in tokenizer.encode(chr(c) + "<t>").ids}


def ranges(code_points):
    result = []
    for c in sorted(code_points):
        if result and result[-1][1] == c - 1:
            result[-1][1] = c
        else:
            result.append([c, c])
    return result


def table(name, comment, code_points):
    found = ranges(code_points)
    lines, line = [], " "
    for first, last in found:
        item = f" {{0x{first:X}, 0x{last:X}}},"
        if len(line) + len(item) > 100:
            lines.append(line)
            line = " "
        line += item
    body = "\n".join(lines + [line])
    return f"// {comment}\ninline constexpr CodePointRange {name}[] = {{\n{body}\n}};\n"


def main():
    if unicodedata.unidata_version != "14.0.0":
        sys.exit("Python 3.11 is needed: its Unicode 14 is PCRE2 10.42's")
    newer = {}
    for category in "LN":
        old = {c for c in CODE_POINTS if unicodedata.category(chr(c))[0] == category}
        new = members(rf"\p{{{category}}}")
        assert old <= new, "a class lost members since Unicode 14"
        newer[category] = new - old
    print(f"""\
// Character classes of the `tokenizers` library {tokenizers.__version__}.
// Written by tools/make_unicode_tables.py; do not edit.
#ifndef CSM_TEXT_UNICODE_TABLES_H_
#define CSM_TEXT_UNICODE_TABLES_H_

namespace csm::text {{

struct CodePointRange {{
  char32_t first;
  char32_t last;
}};

// clang-format off
{table("kNewLetters", "Letters (L) added after Unicode 14.", newer["L"])}
{table("kNewNumbers", "Numbers (N) added after Unicode 14.", newer["N"])}
{table("kWordCharacters", "Word characters of the Rust regex library, sorted.", word_characters())}
// clang-format on

}}  // namespace csm::text

#endif  // CSM_TEXT_UNICODE_TABLES_H_""")


if __name__ == "__main__":
    main()
