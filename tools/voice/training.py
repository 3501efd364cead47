"""A training loop that may be cut off anywhere: it saves its whole state every few minutes, and goes on exactly.

What a step draws (windows, dropout, dead codes) follows from the seed and the step's number alone.
"""

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from progress import Slot, clock, say

SAVE_SECONDS = 240
SAY_SECONDS = 20
MIN_RATE = 0.03  # of the learning rate, at the end


def learning_rate(step: int, num_steps: int, warmup: int = 100) -> float:
    """Share of the largest: a rise, then half a cosine."""
    rise = min(1.0, (step + 1) / warmup)
    return rise * (MIN_RATE + (1 - MIN_RATE) * 0.5 * (1 + math.cos(math.pi * step / num_steps)))


def optimiser(parameters: list[torch.nn.Parameter], rate: float, betas: tuple[float, float]) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=1e-4, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def apply_gradients(optimiser: torch.optim.Optimizer, max_norm: float) -> float:
    """A step, unless a gradient is not finite. The norm of the gradients."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    if torch.isfinite(norm):
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return float(norm)


class Averages:
    """Of each loss, since it was last asked for."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._count = 0

    def add(self, losses: Mapping[str, float]) -> None:
        self._count += 1
        for name, value in losses.items():
            self._sums[name] += float(value)

    def take(self) -> dict[str, float]:
        means = {name: total / max(1, self._count) for name, total in self._sums.items()}
        self._sums.clear()
        self._count = 0
        return means


class Training:
    """`parts` are all that changes, each with state_dict and load_state_dict."""

    def __init__(self, folder: Path, name: str, num_steps: int, parts: Mapping[str, Any], slot: Slot) -> None:
        self._name, self._num_steps, self._parts, self._slot = name, num_steps, parts, slot
        self._state_file = folder / f"{name}.state.pt"
        self._metrics = folder / f"{name}.metrics.jsonl"
        self._spent = 0.0  # seconds, in all slots
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, seed: int, seconds_a_step: float, take_step: Callable[[int], Mapping[str, float]]) -> None:
        """`take_step` gets the number of the step, and trains on `seconds_a_step` of audio."""
        self._resume()
        averages = Averages()
        first, start = self.step, time.monotonic()
        said = saved = start
        while self.step < self._num_steps:
            if self._slot.is_over():
                self._save(time.monotonic() - start)
                self._slot.stop(self._name)
            torch.manual_seed(seed * 1_000_003 + self.step)
            averages.add(take_step(self.step))
            self.step += 1
            now = time.monotonic()
            if now - said >= SAY_SECONDS or self.step == self._num_steps:
                rate = (self.step - first) / (now - start)
                self._say(averages.take(), rate, seconds_a_step)
                said = now
            if now - saved >= SAVE_SECONDS:
                self._save(now - start)
                self._spent += now - start
                first, start = self.step, time.monotonic()
                saved = start
        self._save(time.monotonic() - start)

    def _say(self, losses: Mapping[str, float], rate: float, seconds_a_step: float) -> None:
        left = clock((self._num_steps - self.step) / rate)
        told = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        speed = f"{rate:.2f} steps/s, {rate * seconds_a_step:.0f} s of audio a second"
        say(f"{self._name}: step {self.step} of {self._num_steps}, {told}, {speed}, {left} to go")
        with self._metrics.open("a") as file:
            file.write(json.dumps({"step": self.step, "steps_per_second": rate, **losses}) + "\n")

    def _save(self, seconds: float) -> None:
        state = {name: part.state_dict() for name, part in self._parts.items()}
        state["step"] = self.step
        state["seconds"] = self._spent + seconds
        partial = self._state_file.with_suffix(".partial")
        torch.save(state, partial)
        partial.rename(self._state_file)

    def _resume(self) -> None:
        if not self._state_file.exists():
            return
        state = torch.load(self._state_file, map_location="cpu", weights_only=True)
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        self.step, self._spent = state["step"], state["seconds"]
        say(f"{self._name}: goes on at step {self.step}, after {clock(self._spent)}")
