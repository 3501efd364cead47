"""Numbers, times, dates and prices as they are written ("5:30", "$12", "1992") and as they are said.

A speech synthesiser reads digits in its own way, and two of them in two ways; here both teachers are told
the words, and the model learns to read the digits as those words.
"""

import random
from dataclasses import dataclass

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_MONTHS = ("January February March April May June July August September October November December").split()


@dataclass(frozen=True)
class Phrase:
    written: str
    spoken: str


def cardinal(number: int) -> str:
    """In words, from 0 to 999,999."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, rest = _TENS[number // 10 - 2], number % 10
        return f"{tens} {_ONES[rest]}" if rest else tens
    size, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    head, rest = f"{cardinal(number // size)} {name}", number % size
    return f"{head} {cardinal(rest)}" if rest else head


def ordinal(number: int) -> str:
    *head, last = cardinal(number).split()
    if last in _ORDINALS:
        last = _ORDINALS[last]
    elif last.endswith("y"):
        last = f"{last[:-1]}ieth"
    else:
        last = f"{last}th"
    return " ".join([*head, last])


def ordinal_digits(number: int) -> str:
    is_teen = 10 <= number % 100 <= 20
    ending = "th" if is_teen else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def year(number: int) -> str:
    """1905: nineteen oh five; 2003: two thousand three; 2024: twenty twenty four."""
    century, rest = divmod(number, 100)
    if century == 20 and rest < 10:
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def clock(hour: int, minute: int) -> str:
    if minute == 0:
        return f"{cardinal(hour)} o'clock"
    return f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"


def dollars(whole: int, cents: int) -> str:
    words = f"{cardinal(whole)} dollar{'' if whole == 1 else 's'}"
    if cents:
        words += f" and {cardinal(cents)} cent{'' if cents == 1 else 's'}"
    return words


class NumberSlots:
    """Draws what the slots of templates that are made by code stand for: digits, or words, half of the time."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._makers = {
            "small": lambda: self._number(rng.randint(2, 30)),
            "number": self._any_number,
            "ordinal": self._ordinal,
            "year": self._year,
            "time": self._time,
            "price": self._price,
            "date": self._date,
            "digits": self._digits,
            "percent": self._percent,
            "decimal": self._decimal,
        }

    def names(self) -> list[str]:
        return list(self._makers)

    def draw(self, name: str) -> Phrase:
        return self._makers[name]()

    def _either(self, digits: str, words: str) -> Phrase:
        return Phrase(digits if self._rng.random() < 0.5 else words, words)

    def _number(self, number: int) -> Phrase:
        return self._either(str(number), cardinal(number))

    def _any_number(self) -> Phrase:
        digits = self._rng.choice([1, 2, 2, 3, 3, 4, 4, 5])
        number = self._rng.randint(max(2, 10 ** (digits - 1)), 10**digits - 1)
        if self._rng.random() < 0.3 and digits > 1:  # round ones are said more often
            number = number // 10 ** (digits - 1) * 10 ** (digits - 1)
        written = f"{number:,}" if self._rng.random() < 0.5 else str(number)
        return self._either(written, cardinal(number))

    def _ordinal(self) -> Phrase:
        number = self._rng.randint(1, 31)
        return self._either(ordinal_digits(number), ordinal(number))

    def _year(self) -> Phrase:
        number = self._rng.choice([self._rng.randint(1700, 1999), self._rng.randint(1900, 2030)])
        return self._either(str(number), year(number))

    def _time(self) -> Phrase:
        hour = self._rng.randint(1, 12)
        minute = self._rng.choice([0, 0, 15, 30, 30, 45, self._rng.randint(1, 59)])
        half = self._rng.choice(["", "", "", " a.m.", " p.m."]) if minute else ""
        said = {" a.m.": " a m", " p.m.": " p m"}.get(half, half)
        if minute == 0 and self._rng.random() < 0.5:
            return Phrase(f"{hour} o'clock", clock(hour, 0))
        written, words = f"{hour}:{minute:02}", clock(hour, minute)
        if self._rng.random() < 0.5:
            return Phrase(written + half, words + said)
        return Phrase(words, words)

    def _price(self) -> Phrase:
        whole = self._rng.choice([self._rng.randint(1, 20), self._rng.randint(1, 999)])
        cents = self._rng.choice([0, 0, 50, 99, self._rng.randint(1, 99)])
        return self._either(f"${whole}.{cents:02}" if cents else f"${whole}", dollars(whole, cents))

    def _date(self) -> Phrase:
        month, day = self._rng.choice(_MONTHS), self._rng.randint(1, 28)
        written, words = self._rng.choice(
            [
                (f"{month} {day}", f"{month} {ordinal(day)}"),
                (f"{month} {ordinal_digits(day)}", f"{month} {ordinal(day)}"),
                (f"the {ordinal_digits(day)} of {month}", f"the {ordinal(day)} of {month}"),
            ]
        )
        return self._either(written, words)

    def _digits(self) -> Phrase:
        digits = [self._rng.randint(0, 9) for _ in range(self._rng.choice([4, 6, 7]))]
        words = [_ONES[digit] for digit in digits]
        if len(digits) == 7:  # a phone number, with a short rest
            written = "".join(map(str, digits[:3])) + "-" + "".join(map(str, digits[3:]))
            return self._either(written, f"{' '.join(words[:3])}, {' '.join(words[3:])}")
        return self._either(" ".join(map(str, digits)), " ".join(words))

    def _percent(self) -> Phrase:
        number = self._rng.randint(1, 100)
        words = f"{cardinal(number)} percent"
        return Phrase(self._rng.choice([f"{number}%", f"{number} percent", words]), words)

    def _decimal(self) -> Phrase:
        whole, tenth = self._rng.randint(0, 99), self._rng.randint(1, 9)
        return self._either(f"{whole}.{tenth}", f"{cardinal(whole)} point {_ONES[tenth]}")
