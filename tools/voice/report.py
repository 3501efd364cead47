"""The stage `report`: held-out sentences spoken and judged; figures in Markdown, and the model card."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measure
import samples
import speaking
from csm_tools.recipes import read_json, write_json
from progress import Progress, Slot
from settings import Settings
from speaking import Csm, Line

HELD = {"held_style": "sentences like those of training", "held_everyday": "everyday sentences"}
NUM_VOICE = 25  # dev recordings of each speaker that tell what the teacher sounds like
NUM_TIMED = 10
COLUMNS = [
    ("recordings", "recordings", 1, 0),
    ("wer", "word errors, %", 1, 1),
    ("cer", "character errors, %", 1, 1),
    ("quality", "DNSMOS", 1, 2),
    ("similarity_right", "like the right teacher", 1, 2),
    ("similarity_other", "like the other", 1, 2),
    ("right_speaker", "right speaker, %", 100, 1),
    ("longest_end_silence", "longest silence at an end, s", 1, 2),
    ("clipped", "clipped, %", 100, 1),
    ("ended_by_itself", "ended by itself, %", 100, 1),
]


class Report:
    def __init__(
        self,
        work: Path,
        model: Path,
        csm: Csm,
        settings: Settings,
        threads: int,
        limit: int | None,
        origin: Path | None,
    ) -> None:
        """`origin`: the voice that this one began with; none: random weights."""
        self._speech = work / "speech"
        self._folder = work / "report"
        self._model, self._csm, self._settings = model, csm, settings
        self._threads, self._limit, self._origin = threads, limit, origin
        self._whisper = work / "whisper"

    def make(self, slot: Slot) -> None:
        dev = self._recordings("dev")
        rows: dict[str, dict[str, Sequence[Line]]] = {}
        for name, title in HELD.items():
            lines = self._recordings(name)[: self._limit]
            rows[title] = {
                "teachers": lines,
                "teachers through the codec": self._through_codec(name, lines, slot),
                "model": self._spoken(f"{name}-alone", lines, speaking.without_context(lines), slot),
                "model after a turn of the speaker": self._spoken(
                    f"{name}-context", lines, speaking.with_context(lines, dev), slot
                ),
            }
        samples.speak_samples(self._csm, self._folder / "samples")
        speed = self._speed([line.text for line in lines[:NUM_TIMED]])
        judges = measure.Judges(self._whisper, self._threads, measure.voice_files(dev, NUM_VOICE))
        judged = {
            title: {row: self._judge(judges, f"{title}, {row}", lines, slot) for row, lines in parts.items()}
            for title, parts in rows.items()
        }
        results = {"rows": judged, "speed": speed, "teachers_alike": judges.voices_alike()}
        write_json(self._folder / "results.json", results)
        table = tables(results, self._settings.draws)
        (self._folder / "results.md").write_text(table)
        card = model_card(self._settings, table, self._hours(), is_further=self._origin is not None)
        (self._model / "README.md").write_text(card)
        print(table)

    def _recordings(self, name: str) -> list[Line]:
        return speaking.recordings_of(self._speech, name, self._folder / "teachers")

    def _hours(self) -> float:
        frames = sum(len(shard.audio()) for shard in speaking.speech.shards(self._speech, "train"))
        return frames / 24000 / 3600

    def _through_codec(self, name: str, lines: Sequence[Line], slot: Slot) -> list[Line]:
        folder = self._folder / "codec"
        folder.mkdir(parents=True, exist_ok=True)
        progress = Progress(f"report: {name} through the codec", len(lines), "sentences", slot)
        made = []
        for line in lines:
            file = folder / f"{line.file.stem}.wav"
            if not file.exists():
                self._stop_if_over(slot)
                self._csm.round_trip(line.file, file)
            made.append(Line(line.text, line.spoken, line.speaker, file))
            progress.step("encoded and decoded")
        return made

    def _spoken(self, name: str, lines: Sequence[Line], conversations: list[Any], slot: Slot) -> list[Line]:
        folder = self._folder / "spoken" / name
        folder.mkdir(parents=True, exist_ok=True)
        draws = self._settings.draws
        progress = Progress(f"report: {name}", draws * len(lines), "sentences", slot)
        spoken = []
        for draw in range(1, draws + 1):
            for index, (line, conversation) in enumerate(zip(lines, conversations, strict=True)):
                self._stop_if_over(slot)
                output = folder / f"{index:03}-{draw}"
                ending = self._once(output.with_suffix(".ending"), conversation, 1000 * draw + index, output)
                spoken.append(Line(line.text, line.spoken, line.speaker, output.with_suffix(".wav"), ending == "stop"))
                progress.step("spoken")
        return spoken

    def _once(self, done: Path, conversation: list[Any], seed: int, output: Path) -> str:
        if not done.exists():
            done.write_text(self._csm.speak(conversation, seed, output))
        return done.read_text()

    def _speed(self, texts: Sequence[str]) -> dict[str, float]:
        file = self._folder / "speed.json"
        if not file.exists():
            write_json(file, self._csm.speed(texts, self._folder / "timed"))
        return read_json(file)

    def _judge(self, judges: measure.Judges, name: str, lines: Sequence[Line], slot: Slot) -> dict[str, Any]:
        file = self._folder / "judged" / f"{name.replace(', ', '-').replace(' ', '-')}.json"
        if not file.exists():
            self._stop_if_over(slot)
            progress = Progress(f"report: judging {name}", len(lines), "recordings", slot)
            write_json(file, judges(lines, lambda _: progress.step("heard")))
        return read_json(file)

    def _stop_if_over(self, slot: Slot) -> None:
        if slot.is_over():
            slot.stop("report")


def _cell(row: dict[str, Any], key: str, factor: float, digits: int) -> str:
    value = row[key]
    if value is None:
        return ""
    text = f"{factor * value:.{digits}f}"
    return f"{text} ({row['wer_low']:.0f} to {row['wer_high']:.0f})" if key == "wer" else text


def tables(results: dict[str, Any], draws: int) -> str:
    lines = []
    for title, rows in results["rows"].items():
        lines += [f"| {title} | " + " | ".join(name for _, name, _, _ in COLUMNS) + " |"]
        lines += ["|---" * (len(COLUMNS) + 1) + "|"]
        for name, row in rows.items():
            cells = [_cell(row, key, factor, digits) for key, _, factor, digits in COLUMNS]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    speed = results["speed"]
    times = "once" if draws == 1 else f"{draws} times"
    lines += [
        f"The model says each sentence {times}. Words are heard by Whisper base, greedily; in brackets the 95 % "
        "interval over sentences. Likeness is the cosine of Resemblyzer's embeddings; that of the two teachers is "
        f"{results['teachers_alike']:.2f}.",
        "",
        f"Speed: {speed['rtf']:.3f} s of work for a second of speech, first sound after "
        f"{1000 * speed['first_sound_s']:.0f} ms, sentence by sentence.",
        "",
    ]
    return "\n".join(lines)


def training(settings: Settings, is_further: bool) -> str:
    def stage(steps: int, batch: int, frames: int) -> str:
        return f"{steps:,} steps of {batch} x {0.08 * frames:.2f} s"

    codec = stage(settings.codec_steps, settings.codec_batch, settings.codec_frames)
    waveform = stage(settings.waveform_steps, settings.waveform_batch, settings.waveform_frames)
    adversarial = stage(settings.adversarial_steps, settings.adversarial_batch, settings.adversarial_frames)
    against = f"and against discriminators ({adversarial})" if settings.adversarial_steps else "without discriminators"
    beginning = "All began with the networks of an earlier voice of this recipe.\n" if is_further else ""
    conversations = settings.lm_batch * settings.lm_accumulation
    return f"""The codec's encoder and codebooks on log-mel spectra and phonemes ({codec}); its waveform decoder on mel
spectra ({waveform}) {against}; the language model by `csm train`
for {settings.lm_epochs:g} epochs, {conversations} conversations a step, the depth decoder on \
{100 * settings.lm_depth_ratio:.0f} % of the frames, with
guided attention and noise on the code history. All on two CPU cores, without a GPU.
{beginning}"""


def model_card(settings: Settings, table: str, hours: float, is_further: bool) -> str:
    return f"""---
language: en
license: apache-2.0
pipeline_tag: text-to-speech
library_name: transformers
---

# csm-tiny

A small Conversational Speech Model (CSM) with two English voices, in the architecture and the file format of
Sesame's csm-1b: a backbone of {settings.backbone_layers} layers of {settings.backbone_hidden}, a depth decoder of \
{settings.depth_layers} layers of {settings.depth_hidden},
and a codec of Mimi's structure ({settings.num_codebooks} codebooks of {settings.codebook_size}, 12.5 frames a \
second, 24 kHz), all trained from nothing by
`tools/voice` of csm.cpp. It is for tests, demonstrations and as an example of how to train a CSM; it is not a
product of Sesame, and none of their weights are in it.

    csm generate --model csm-tiny --speaker 0 --text "Good morning." --output out.wav

## Data and licences

{hours:.1f} hours of speech by two synthesisers, made for this training:

- speaker 0, female: festival's HTS voice `cmu_us_slt_arctic_hts`; speaker 1, male: flite's voice `rms`. Both were
  made from Carnegie Mellon University's ARCTIC recordings, which are free to use, change and distribute.
- what they said: example sentences of WordNet 3.0 (Princeton University; free to use, change and distribute, with
  its notice: "WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved. THIS SOFTWARE AND DATABASE
  IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES, EXPRESS OR IMPLIED."), and
  sentences from templates of the project itself (Apache-2.0).

No recording of a person was used directly, and no other model's weights.

## Training

{training(settings, is_further)}
## Figures

On sentences that were never used for training or for any choice, spoken by csm.cpp with the sampling of
`generation_config.json`:

{table}
## Limits

- English only; it spells out words by what it learnt of English spelling, and names and rare words come out wrong.
- Two voices, those of speakers 0 and 1. Other numbers were not trained, and a context does not make it speak like
  anyone else.
- It sounds like the synthesisers that it learnt from, and somewhat worse.
- Ten seconds at a time: long texts should be given sentence by sentence.
- Numbers, times, dates and prices are read in the common forms of American English; abbreviations are not.
- Examples in WordNet were written by many people over decades; the model may say anything that it is given.
"""
