"""What a stage says while it works, and when it has to stop."""

import signal
import sys
import time
from types import FrameType


def say(text: str) -> None:
    print(f"voice: {text}", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


class SlotOver(Exception):
    """The time of this call is used up; the next call goes on."""


class Slot:
    """The time that this call may take, over all stages; Ctrl-C and SIGTERM end it early."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes
        self._is_interrupted = False

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def is_over(self) -> bool:
        return self._is_interrupted or (self._end is not None and time.monotonic() >= self._end)

    def seconds_left(self) -> float | None:
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    @property
    def is_interrupted(self) -> bool:
        return self._is_interrupted

    def stop(self, stage: str) -> None:
        raise SlotOver(f"{stage}: stopped; the same command goes on from here")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_interrupted:
            raise KeyboardInterrupt
        self._is_interrupted = True
        say("stopping after this step (again: at once)")


class Progress:
    """A line now and then, with an estimate of what is left."""

    def __init__(self, stage: str, total: int, unit: str, slot: Slot, every: float = 15) -> None:
        self._stage, self._total, self._unit, self._slot, self._every = stage, total, unit, slot, every
        self._start = time.monotonic()
        self._last = self._start
        self._done = 0

    @property
    def seconds(self) -> float:
        return max(1e-6, time.monotonic() - self._start)

    def step(self, note: str, number: int = 1) -> None:
        self._done += number
        now = time.monotonic()
        if now - self._last < self._every and self._done < self._total:
            return
        self._last = now
        left = (self._total - self._done) * self.seconds / self._done
        counted = f"{self._done} of {self._total} {self._unit}"
        say(f"{self._stage}: {counted}, {note}, {clock(left)} to go")
