"""tools/voice: the texts that the shipped voice learns from, and the words for numbers."""

import functools
import dataclasses
import itertools
import json
import pathlib
import random
import sys
import tempfile
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools/voice"), str(ROOT / "tools")]

import grammar
import spoken_numbers
import texts
import wordnet
from csm_tools.recipes import RecipeError
from settings import Settings

NOUNS = "cat dog house river song letter garden window teacher doctor market winter".split()
VERBS = "saw liked found watched followed painted wanted missed".split()
EXAMPLES = [f"the {a} {verb} the {b}" for a in NOUNS for verb in VERBS for b in NOUNS if a != b]


def write_wordnet(folder):
    """A database of WordNet's form with examples enough for a small run."""
    licence = "  1 This software and database is being provided to you\n"
    for part, number in (("adj", 0), ("adv", 1), ("noun", 2), ("verb", 3)):
        lines = [
            f'0000{i:04} 00 s 01 word 0 000 | a gloss; "{example}"; "{example}"\n'
            for i, example in enumerate(EXAMPLES[number::4])
        ]
        (folder / f"data.{part}").write_text(licence + "".join(lines))
    words = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(100)]
    senses = [f"{word}%1:00:00:: 1 {100 - i}\n" for i, word in enumerate(words)]
    (folder / "cntlist.rev").write_text("".join(senses) + "n't%4:02:00:: 1 5\n")


class SmallRun(unittest.TestCase):
    settings = Settings(num_utterances=900, num_dev=40, num_held_style=60)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        write_wordnet(self.folder)
        for name in ("examples", "common_words"):
            function = getattr(wordnet, name)
            bound = functools.partial(function, folder=self.folder)
            patch = mock.patch.object(wordnet, name, bound)
            patch.start()
            self.addCleanup(patch.stop)

    def write(self, name="text", settings=None):
        texts.write_texts(self.folder / name, settings or self.settings)
        return {part: texts.read_texts(self.folder / name, part) for part in texts.SETS}

    def test_is_the_same_again(self):
        self.assertEqual(self.write("a"), self.write("b"))
        self.assertNotEqual(self.write("a"), self.write("c", Settings(seed=2, num_utterances=900)))

    def test_has_the_sizes(self):
        sets = self.write()
        self.assertEqual(len(sets["held_style"]), 60)
        self.assertEqual(len(sets["dev"]), 40)
        self.assertGreaterEqual(len(sets["held_everyday"]), 100)
        self.assertGreater(len(sets["train"]), 850)
        counts = json.loads((self.folder / "text/counts.json").read_text())
        self.assertEqual(counts, {name: len(rows) for name, rows in sets.items()})

    def test_no_sentence_is_in_two_sets(self):
        keys = {
            name: {texts.key_of(spoken_numbers.Phrase(row.written, row.spoken)) for row in rows}
            for name, rows in self.write().items()
        }
        for name in texts.SETS:
            for other in texts.SETS:
                if name < other:
                    self.assertFalse(keys[name] & keys[other], f"{name}, {other}")

    def test_held_out_sentences_do_not_depend_on_the_scale(self):
        small, large = self.write("a", self.settings), self.write("b", self.settings.scaled(1.5))
        for name in ("dev", "held_style", "held_everyday"):
            self.assertEqual(small[name], large[name])

    def test_an_edition_has_other_sentences_for_training_alone(self):
        first, second = self.write("a"), self.write("b", dataclasses.replace(self.settings, edition=2))
        for name in ("dev", "held_style", "held_everyday"):
            self.assertEqual(first[name], second[name])
        written = [{row.written for row in rows["train"]} for rows in (first, second)]
        self.assertGreater(len(written[1] - written[0]), 0.1 * len(written[1]))
        held = {texts.key_of(spoken_numbers.Phrase(row.written, row.spoken)) for row in second["held_style"]}
        trained = {texts.key_of(spoken_numbers.Phrase(row.written, row.spoken)) for row in second["train"]}
        self.assertFalse(held & trained)

    def test_conversations_have_one_to_four_turns_of_both_speakers(self):
        conversations = {}
        for row in self.write()["train"]:
            conversations.setdefault(row.conversation, []).append(row)
        self.assertEqual({len(turns) for turns in conversations.values()}, {1, 2, 3, 4})
        for turns in conversations.values():
            self.assertEqual([row.turn for row in turns], list(range(len(turns))))
        firsts = [turns[0].speaker for turns in conversations.values()]
        self.assertAlmostEqual(sum(firsts) / len(firsts), 0.5, delta=0.01)
        changes = [a.speaker != b.speaker for turns in conversations.values() for a, b in itertools.pairwise(turns)]
        self.assertGreater(sum(changes) / len(changes), 0.7)
        self.assertLess(sum(changes) / len(changes), 1)

    def test_teachers_get_words_and_the_model_digits_too(self):
        rows = self.write()["train"]
        self.assertFalse([row.spoken for row in rows if any(c.isdigit() or c in "$%{}[]|#" for c in row.spoken)])
        self.assertGreater(sum(any(c.isdigit() for c in row.written) for row in rows), 50)
        self.assertFalse([row.written for row in rows if set(row.written) & set("{}[]|#")])

    def test_offensive_words_are_left_out(self):
        with (self.folder / "data.noun").open("a") as file:
            file.write('00009999 00 n 02 market 0 toad 0 000 | (ethnic slur) offensive term; "the cat saw the toad"\n')
            file.write('00009998 00 n 01 pond 0 000 | water; "the toad liked the pond"; "the cat liked the pond"\n')
        with (self.folder / "cntlist.rev").open("a") as file:
            file.write("market%1:00:00:: 1 90\n")
        self.assertEqual(wordnet.offensive_words(self.folder), {"toad"})
        found = wordnet.examples()
        self.assertNotIn("The cat saw the toad.", found)
        self.assertNotIn("The toad liked the pond.", found)
        self.assertTrue([text for text in found if "market" in text])

    def test_a_missing_database_is_named(self):
        with self.assertRaisesRegex(RecipeError, "apt-get install wordnet-base"):
            wordnet.examples(folder=self.folder / "nothing")


class Templates(unittest.TestCase):
    def test_all_slots_are_known(self):
        numbers = spoken_numbers.NumberSlots(random.Random(0)).names()
        known = {*grammar.read_slots(texts.DATA / "slots.txt"), *numbers, "word"}
        for name in ("templates.txt", "dialogues.txt"):
            for line in grammar.content_lines(texts.DATA / name):
                for match in grammar._SLOT.finditer(line):
                    self.assertIn(match[1], known, line)

    def test_numbered_slots_stay(self):
        rules = grammar.Grammar({"name": [str(i) for i in range(50)]}, ["x"], random.Random(0))
        first, second = rules.expand(["{name#1} {name#2}", "{name#1} {name#2}"])
        self.assertEqual(first, second)
        drawn = {rules.expand(["{name}"])[0].written for _ in range(50)}
        self.assertGreater(len(drawn), 10)

    def test_alternatives_may_hold_alternatives(self):
        rules = grammar.Grammar({}, ["x"], random.Random(0))
        made = {rules.expand(["[a [b|c]|d]."])[0].written for _ in range(100)}
        self.assertEqual(made, {"A b.", "A c.", "D."})

    def test_sentences_begin_with_capitals_and_end_once(self):
        tidy = grammar._tidy("the bus leaves at 5 a.m. today. it leaves at 6 p.m.. late? why?")
        self.assertEqual(tidy, "The bus leaves at 5 a.m. today. It leaves at 6 p.m. late? Why?")


class Numbers(unittest.TestCase):
    def test_words(self):
        for number, words in (
            (0, "zero"), (13, "thirteen"), (20, "twenty"), (99, "ninety nine"), (100, "one hundred"),
            (342, "three hundred forty two"), (1000, "one thousand"), (12_005, "twelve thousand five"),
            (999_999, "nine hundred ninety nine thousand nine hundred ninety nine"),
        ):  # fmt: skip
            self.assertEqual(spoken_numbers.cardinal(number), words)

    def test_ordinals(self):
        for number, digits, words in (
            (1, "1st", "first"), (2, "2nd", "second"), (3, "3rd", "third"), (11, "11th", "eleventh"),
            (12, "12th", "twelfth"), (20, "20th", "twentieth"), (31, "31st", "thirty first"),
        ):  # fmt: skip
            self.assertEqual(spoken_numbers.ordinal(number), words)
            self.assertEqual(spoken_numbers.ordinal_digits(number), digits)

    def test_years_clocks_and_prices(self):
        self.assertEqual(spoken_numbers.year(1905), "nineteen oh five")
        self.assertEqual(spoken_numbers.year(1900), "nineteen hundred")
        self.assertEqual(spoken_numbers.year(2003), "two thousand three")
        self.assertEqual(spoken_numbers.year(2024), "twenty twenty four")
        self.assertEqual(spoken_numbers.clock(5, 0), "five o'clock")
        self.assertEqual(spoken_numbers.clock(12, 5), "twelve oh five")
        self.assertEqual(spoken_numbers.dollars(1, 50), "one dollar and fifty cents")
        self.assertEqual(spoken_numbers.dollars(3, 1), "three dollars and one cent")

    def test_every_slot_gives_words(self):
        slots = spoken_numbers.NumberSlots(random.Random(0))
        for name in slots.names():
            for _ in range(300):
                phrase = slots.draw(name)
                self.assertRegex(phrase.spoken, r"^[A-Za-z', ]+$", name)


if __name__ == "__main__":
    unittest.main()
