"""The conversations of the goldens and how their files are written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csm_tools.files import synthetic_speech, write_audio, write_json


@dataclass(frozen=True)
class Clip:
    """An audio file of a turn, made from a seed."""

    name: str
    seconds: float
    seed: int = 0
    rate: int = 24000
    channels: int = 1
    subtype: str = "PCM_16"


@dataclass(frozen=True)
class Turn:
    role: str
    text: str
    clip: Clip | None = None


@dataclass(frozen=True)
class Scenario:
    """A folder below a case: conversations, and what its reference holds besides the codes."""

    rows: tuple[tuple[Turn, ...], ...]
    max_new_tokens: int = 8
    audio: bool = False  # keep the audio of each row
    labels_ratio: float | None = 1.0  # depth_decoder_labels_ratio, where every row has audio
    plain: bool = False  # hidden states too, and the prompt "[role]text" must give the same ids
    parse_special: bool = False  # HF's reading of special tokens in user text


TEXT = "The past is just a story we tell ourselves."
HELLO = Turn("0", "Hello there, how are you today?", Clip("hello.wav", 0.33, seed=1))
CAFE = Turn("1", "I'll see you at 10:45 — naïve café!", Clip("cafe.flac", 0.5, seed=2))
ANSWER = Turn("0", "don't tell  ourselves\n a story")

PLAIN = Scenario(((Turn("0", TEXT),),), plain=True)
CONTEXT = Scenario(((HELLO, CAFE, ANSWER),))
ONE_CLIP = Scenario(((HELLO, Turn("1", "Fine.")),))
SHORT_CLIP = Turn("10", "one", Clip("short.wav", 0.0003, seed=3, subtype="FLOAT"))  # 7 samples: one frame
BATCH = Scenario(((Turn("1", "Hi."),), (HELLO, ANSWER), (SHORT_CLIP, HELLO, Turn("7", "speech " * 6))))
TEXT_BATCH = Scenario(((Turn("0", "Hi."),), (Turn("1", TEXT),), (Turn("2", ""),), (Turn("3", "and then?"),)))
EMPTY = Scenario(((Turn("0", ""),),), max_new_tokens=4)
UNICODE = Scenario(
    (
        (
            Turn(
                "0",
                "Grüße, мир! 你好，世界 🎉👩‍👩‍👧 ½ ²³ १२३ e\u0301 \u00a0\u2003 \t x\r\n\r\n  y 12345678  ",
            ),
        ),
    ),
    4,
)
STEREO = Scenario(
    ((Turn("0", "Stereo.", Clip("stereo_44100.wav", 0.45, 4, rate=44100, channels=2)), ANSWER),)
)
TRAINING = Scenario(((HELLO, CAFE), (SHORT_CLIP, HELLO)), max_new_tokens=2, labels_ratio=0.5)
SPECIAL = Scenario(
    ((Turn("0", "a<|end_of_text|>b <|begin_of_text|>"),),), max_new_tokens=2, parse_special=True
)


def write_scenario(folder: Path, scenario: Scenario) -> Path:
    """Writes the clips and conversation.json; returns the latter."""
    folder.mkdir(parents=True)
    batch = [[write_turn(folder, turn) for turn in row] for row in scenario.rows]
    file = folder / "conversation.json"
    write_json(file, batch if len(batch) > 1 else batch[0])
    return file


def write_turn(folder: Path, turn: Turn) -> dict[str, Any]:
    content: list[dict[str, str]] = [{"type": "text", "text": turn.text}]
    if turn.clip:
        clip = turn.clip
        samples = synthetic_speech(clip.seconds, clip.seed, clip.rate, clip.channels)
        write_audio(folder / clip.name, samples, clip.rate, clip.subtype)
        content.append({"type": "audio", "path": clip.name})
    return {"role": turn.role, "content": content}


def every_row_has_audio(scenario: Scenario) -> bool:
    return all(any(turn.clip for turn in row) for row in scenario.rows)
