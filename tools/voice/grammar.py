"""Expands the templates of data/*.txt: {slot}, {slot#1} and [either|or]."""

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from spoken_numbers import NumberSlots, Phrase

_INNERMOST = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)(#\d+)?\}")


def content_lines(file: Path) -> list[str]:
    """Without comments; empty lines are kept, since they part conversations."""
    return [line.strip() for line in file.read_text().splitlines() if not line.startswith("#")]


def read_slots(file: Path) -> dict[str, list[str]]:
    slots = {}
    for line in content_lines(file):
        if line:
            name, _, words = line.partition("=")
            slots[name.strip()] = [word.strip() for word in words.split("|")]
    return slots


def read_dialogues(file: Path) -> list[list[str]]:
    dialogues: list[list[str]] = [[]]
    for line in content_lines(file):
        if line:
            dialogues[-1].append(line)
        elif dialogues[-1]:
            dialogues.append([])
    return [turns for turns in dialogues if turns]


class Grammar:
    def __init__(self, slots: Mapping[str, Sequence[str]], words: Sequence[str], rng: random.Random) -> None:
        self._rng = rng
        self._numbers = NumberSlots(rng)
        self._slots = {**slots, "word": words}

    def expand(self, turns: Sequence[str]) -> list[Phrase]:
        """The lines of one conversation, which share what numbered slots stand for."""
        bound: dict[str, Phrase] = {}
        return [self._expand_line(line, bound) for line in turns]

    def _expand_line(self, line: str, bound: dict[str, Phrase]) -> Phrase:
        while _INNERMOST.search(line):
            line = _INNERMOST.sub(lambda match: self._rng.choice(match[1].split("|")), line)
        written, spoken, end = [], [], 0
        for match in _SLOT.finditer(line):
            phrase = self._fill(match[1], match[2], bound)
            for parts, text in ((written, phrase.written), (spoken, phrase.spoken)):
                parts += [line[end : match.start()], text]
            end = match.end()
        return Phrase(_tidy("".join([*written, line[end:]])), _tidy("".join([*spoken, line[end:]])))

    def _fill(self, slot: str, mark: str | None, bound: dict[str, Phrase]) -> Phrase:
        key = f"{slot}{mark}"
        if mark and key in bound:
            return bound[key]
        if slot in self._slots:
            word = self._rng.choice(self._slots[slot])
            phrase = Phrase(word, word)
        else:
            phrase = self._numbers.draw(slot)
        if mark:
            bound[key] = phrase
        return phrase


def _tidy(text: str) -> str:
    """A capital at the beginning of each sentence, and one full stop after "a.m."."""
    text = re.sub(r"\.([.?!])", lambda match: "." if match[1] == "." else f".{match[1]}", text.strip())
    return re.sub(r"(^|[^.\s][^.\s][.?!] )([a-z])", lambda match: match[1] + match[2].upper(), text)
