"""Example sentences and common words of WordNet, as Debian's package wordnet-base has it."""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from csm_tools.recipes import RecipeError

FOLDER = Path("/usr/share/wordnet")
_PARTS = ["adj", "adv", "noun", "verb"]
_ALLOWED = re.compile(r"[A-Za-z',.?!;: -]+")
_MAX_WORD = 14  # letters
_MAX_LENGTH = 130
_MIN_WORDS, _MAX_WORDS = 4, 22
_MIN_USES = 2  # of each word, over all examples: rarer ones are names and foreign words mostly
_OFFENSIVE = re.compile(r"slur|obscen|vulgar|offensive (term|name|word)|slang for sexual")  # in a definition
_ORDINARY_USES = 5  # of a word that has a harmless sense too, such as "tie"


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def examples(folder: Path = FOLDER) -> list[str]:
    """Sentences and phrases, each with a capital and a full stop, in the order of the files."""
    found = dict.fromkeys(_clean(text) for text in _quoted(folder))
    unwanted = offensive_words(folder)
    usable = [text for text in found if _is_usable(text) and not unwanted.intersection(words_of(text))]
    uses = Counter(word for text in usable for word in words_of(text))
    return [text for text in usable if all(uses[word] >= _MIN_USES for word in words_of(text))]


def common_words(number: int, folder: Path = FOLDER) -> list[str]:
    """Lemmas that were met most often in texts whose words WordNet's makers had marked."""
    counts, unwanted = _uses(folder), offensive_words(folder)
    usable = [word for word in counts if 3 <= len(word) <= _MAX_WORD and word not in unwanted]
    return sorted(usable, key=lambda word: (-counts[word], word))[:number]


def offensive_words(folder: Path = FOLDER) -> set[str]:
    """Those that WordNet defines as such and that are hardly used otherwise."""
    found = set()
    for line in _synsets(folder):
        head, _, definition = line.partition("|")
        if _OFFENSIVE.search(definition):
            _, _, _, count, *rest = head.split()
            found.update(word.lower() for word in rest[: 2 * int(count, 16) : 2])
    counts = _uses(folder)
    return {word for word in found if counts[word] < _ORDINARY_USES}


def _uses(folder: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in _read(folder / "cntlist.rev"):
        sense, _, count = line.split()
        lemma = sense.partition("%")[0]
        if lemma.isalpha():
            counts[lemma] += int(count)
    return counts


def joined(sentences: Sequence[str], number: int, rng: random.Random) -> list[str]:
    """Longer texts, of two short sentences each."""
    short = [text for text in sentences if len(text) < 50]
    return [" ".join(rng.sample(short, 2)) for _ in range(number)] if len(short) > 1 else []


def _read(file: Path) -> list[str]:
    if not file.exists():
        raise RecipeError(f"there is no {file}: apt-get install wordnet-base (Debian, Ubuntu)")
    return file.read_text(encoding="latin-1").splitlines()


def _synsets(folder: Path) -> Iterator[str]:
    for part in _PARTS:
        for line in _read(folder / f"data.{part}"):
            if not line.startswith("  "):  # the licence
                yield line


def _quoted(folder: Path) -> Iterator[str]:
    for line in _synsets(folder):
        definition = line.partition("|")[2]
        if not _OFFENSIVE.search(definition):
            yield from re.findall(r'"([^"]+)"', definition)


def _clean(text: str) -> str:
    text = re.sub(r"\s+", " ", text.replace("`", "'").replace("--", ", ")).strip(" ;,-")
    text = re.sub(r"\s+([,.?!;:])", r"\1", text)
    if text and text[-1] not in ".?!":
        text += "."
    return text[:1].upper() + text[1:]


def _is_usable(text: str) -> bool:
    words = text.split()
    return (
        _ALLOWED.fullmatch(text) is not None
        and _MIN_WORDS <= len(words) <= _MAX_WORDS
        and len(text) <= _MAX_LENGTH
        and all(len(word) <= _MAX_WORD for word in words)
        and not any(word.isupper() and len(word) > 1 for word in words)
    )
