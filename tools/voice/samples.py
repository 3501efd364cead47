"""Conversations for people to listen to: docs/samples of the project."""

from pathlib import Path

import numpy as np
import soundfile

from language_model import message
from speaking import Csm

SEED = 1
# Each turn: who speaks, and what.
CONVERSATIONS = {
    "story": [(0, "The past is just a story we tell ourselves.")],
    "train": [(1, "The train to the coast leaves at a quarter past nine.")],
    "question": [(0, "Could you turn the music down a bit?")],
    "talk": [
        (0, "Good morning, how are you today?"),
        (1, "I am very well, thank you."),
        (0, "That is good to hear."),
    ],
}


def speak_samples(csm: Csm, folder: Path) -> None:
    """FOLDER/NAME.mp3 of each conversation; every turn hears those before it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, turns in CONVERSATIONS.items():
        before, heard = [], []
        for number, (speaker, text) in enumerate(turns):
            output = folder / f"{name}-{number}"
            csm.speak([*before, message(text, speaker)], SEED, output)
            file = output.with_suffix(".wav")
            samples, rate = soundfile.read(file, dtype="float32")
            heard.append(samples)
            before.append(message(text, speaker, path=str(file.resolve())))
        soundfile.write(folder / f"{name}.mp3", np.concatenate(heard), rate, format="MP3")
