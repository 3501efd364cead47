"""The stage `text`: what the teachers will say, who says it, and in which conversation.

WORK/text/SET.jsonl has an utterance a line, in the order of the conversations. The sets: `train`; `dev`, which
choices may be made on; `held_style` (sentences like those of training) and `held_everyday` (written by hand), which
are for the report alone. No sentence of one set is in another, whatever its case, punctuation and spelling of numbers.
"""

import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import wordnet
from csm_tools.recipes import write_json
from grammar import Grammar, content_lines, read_dialogues, read_slots
from settings import NUM_SPEAKERS, Settings
from spoken_numbers import NumberSlots, Phrase

DATA = Path(__file__).resolve().parent / "data"
SETS = ["train", "dev", "held_style", "held_everyday"]
_NUM_COMMON_WORDS = 6000  # for the templates that ask for {word}
_MAX_TRIES = 50  # in a row that gave nothing new: the templates are used up


@dataclass(frozen=True)
class Utterance:
    id: str
    written: str  # for the model
    spoken: str  # for the teachers: numbers in words
    speaker: int
    conversation: int
    turn: int


def key_of(phrase: Phrase) -> str:
    """What makes two sentences the same."""
    return " ".join(re.findall(r"[a-z0-9]+", phrase.spoken.lower().replace("'", "")))


class Collector:
    """Takes sentences that are nowhere yet."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, phrases: Sequence[Phrase]) -> bool:
        """All of a conversation's, or none. Set phrases such as "Yes." may come again in conversations."""
        keys = [key_of(phrase) for phrase in phrases]
        new = [key for key in keys if key not in self._taken]
        if not all(keys) or not new:
            return False
        self._taken.update(keys)
        return True

    def forbid(self, phrases: Iterable[Phrase]) -> None:
        self._taken.update(key_of(phrase) for phrase in phrases)


class Texts:
    """Draws the sentences of all sets; the same ones for the same settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rng = random.Random(settings.seed)
        slots = read_slots(DATA / "slots.txt")
        self._grammar = Grammar(slots, wordnet.common_words(_NUM_COMMON_WORDS), self._rng)
        self._templates = [line for line in content_lines(DATA / "templates.txt") if line]
        numbers = {f"{{{name}}}" for name in NumberSlots(self._rng).names()}
        # Digits are read by rules that must be learnt from few sentences: those come more often.
        self._weights = [2 if any(slot in line for slot in numbers) else 1 for line in self._templates]
        self._dialogues = read_dialogues(DATA / "dialogues.txt")
        everyday = [Phrase(line, line) for line in content_lines(DATA / "everyday.txt") if line]
        self._natural = [Phrase(text, text) for text in wordnet.examples()]
        self._rng.shuffle(self._natural)
        self._held_keys = {key_of(phrase) for phrase in everyday}
        self._everyday = everyday
        self._collector = Collector()
        self._collector.forbid(everyday)

    def sets(self) -> dict[str, list[list[Phrase]]]:
        """Conversations by set. The held-out ones are drawn first: they do not depend on the scale."""
        settings = self._settings
        held = self._singles(settings.num_held_style)
        dev = self._singles(settings.num_dev)
        self._held_keys |= {key_of(phrase) for [phrase] in [*held, *dev]}
        if settings.edition > 1:
            self._rng.seed(f"{settings.seed} {settings.edition}")
            self._rng.shuffle(self._natural)
        return {
            "held_everyday": [[phrase] for phrase in self._everyday],
            "held_style": held,
            "dev": dev,
            "train": self._train(),
        }

    def _singles(self, number: int) -> list[list[Phrase]]:
        """Half of WordNet's sentences, half from templates; no set phrases of one or two words."""
        natural = self._take_natural(number // 2)
        templates = self._take_templates(number - len(natural), min_words=3)
        return [[phrase] for phrase in _interleaved(natural, templates)]

    def _train(self) -> list[list[Phrase]]:
        number = self._settings.num_utterances
        dialogues = self._take_dialogues(round(0.16 * number))
        natural = self._take_natural(round(0.46 * number))
        texts = [phrase.written for phrase in natural]
        joined = [Phrase(text, text) for text in wordnet.joined(texts, round(0.1 * number), self._rng)]
        rest = number - len(natural) - len(joined) - sum(map(len, dialogues))
        singles = [*natural, *joined, *self._take_templates(rest, min_words=1)]
        self._rng.shuffle(singles)
        conversations = [*dialogues, *self._grouped(singles)]
        self._rng.shuffle(conversations)
        return conversations

    def _grouped(self, singles: Sequence[Phrase]) -> Iterator[list[Phrase]]:
        """Most stay alone; the others make up conversations without a topic, whose turns share only voices."""
        rest = iter(singles)
        while True:
            length = self._rng.choices([1, 2, 3, 4], weights=[70, 14, 10, 6])[0]
            group = [phrase for _, phrase in zip(range(length), rest, strict=False)]
            if not group:
                return
            yield group

    def _take_natural(self, number: int) -> list[Phrase]:
        taken = []
        while len(taken) < number and self._natural:
            phrase = self._natural.pop()
            if self._collector.take([phrase]):
                taken.append(phrase)
        return taken

    def _take_templates(self, number: int, min_words: int) -> list[Phrase]:
        taken, failures = [], 0
        while len(taken) < number and failures < _MAX_TRIES:
            phrases = self._grammar.expand(self._rng.choices(self._templates, self._weights))
            is_long_enough = len(phrases[0].spoken.split()) >= min_words
            if is_long_enough and self._collector.take(phrases):
                taken.append(phrases[0])
                failures = 0
            else:
                failures += 1
        return taken

    def _take_dialogues(self, num_turns: int) -> list[list[Phrase]]:
        taken: list[list[Phrase]] = []
        count = failures = 0
        while count < num_turns and failures < _MAX_TRIES:
            phrases = self._grammar.expand(self._rng.choice(self._dialogues))
            is_held = any(key_of(phrase) in self._held_keys for phrase in phrases)
            if not is_held and self._collector.take(phrases):
                taken.append(phrases)
                count, failures = count + len(phrases), 0
            else:
                failures += 1
        return taken


def _interleaved(first: Sequence[Phrase], second: Sequence[Phrase]) -> list[Phrase]:
    pairs = [phrase for pair in zip(first, second, strict=False) for phrase in pair]
    shorter = min(len(first), len(second))
    return [*pairs, *first[shorter:], *second[shorter:]]


def _speakers(length: int, first: int, rng: random.Random) -> list[int]:
    """Mostly they take turns; sometimes one goes on."""
    speakers = [first]
    while len(speakers) < length:
        stays = rng.random() < 0.15
        speakers.append(speakers[-1] if stays else (speakers[-1] + 1) % NUM_SPEAKERS)
    return speakers


def assign(name: str, conversations: Sequence[Sequence[Phrase]], seed: int) -> list[Utterance]:
    rng = random.Random(f"{seed} {name}")
    utterances = []
    for number, phrases in enumerate(conversations):
        first = number % NUM_SPEAKERS
        for turn, (phrase, speaker) in enumerate(zip(phrases, _speakers(len(phrases), first, rng), strict=True)):
            identity = f"{name}-{len(utterances):06}"
            utterances.append(Utterance(identity, phrase.written, phrase.spoken, speaker, number, turn))
    return utterances


def write_texts(folder: Path, settings: Settings) -> dict[str, int]:
    """How many utterances each set has."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name, conversations in Texts(settings).sets().items():
        utterances = assign(name, conversations, settings.seed)
        lines = [json.dumps(asdict(utterance), ensure_ascii=False) for utterance in utterances]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        counts[name] = len(utterances)
    write_json(folder / "counts.json", counts)
    return counts


def read_texts(folder: Path, name: str) -> list[Utterance]:
    names = [field.name for field in fields(Utterance)]
    lines = (folder / f"{name}.jsonl").read_text().splitlines()
    return [Utterance(**{name: row[name] for name in names}) for row in map(json.loads, lines)]
