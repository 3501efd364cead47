"""The table of results, in Markdown."""

from typing import Any

CODEC_ROW = "recordings through the codec"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _line(name: str, row: dict[str, Any]) -> str:
    ended = row["ended_by_itself"]
    cells = [
        name,
        str(row["recordings"]),
        f"{row['wer']:.1f} ({row['wer_low']:.0f} to {row['wer_high']:.0f})",
        _number(row["cer"], 1),
        *(_number(row[f"similarity_{voice}"], 2) for voice in ("new", "codec", "former")),
        "" if ended is None else f"{100 * ended:.0f} %",
    ]
    return "| " + " | ".join(cells) + " |"


def _parts(loss: dict[str, float]) -> str:
    return f"{loss['backbone_loss']:.2f} + {loss['depth_decoder_loss']:.2f}"


def _training_line(name: str, training: dict[str, Any], losses: dict[str, Any]) -> str:
    line = (
        f"- `{name}`: {training['steps']} steps in {training['seconds']:.0f} s; step {training['best_step']} "
        f"was the best on the dev sentences, {_parts(losses['before']['dev'])} before and "
        f"{_parts(training['best'])} there"
    )
    if name in losses:
        line += (
            f"; on the held-out sentences {_parts(losses['before']['held_out'])} before and "
            f"{_parts(losses[name]['held_out'])} after"
        )
    return line + "."


def _ceiling(rows: dict[str, Any]) -> list[str]:
    """Training leaves the codec as it is, so a voice that the codec loses cannot be learnt."""
    row = rows[CODEC_ROW]
    if row["similarity_new"] >= row["similarity_former"]:
        return []
    return [
        "**The codec of this model does not carry the new voice**: recordings that went through it sound more "
        "like the model's former voice. `csm train` leaves the codec as it is, so no training can do better "
        "than the codec's row.",
        "",
    ]


def markdown(results: dict[str, Any]) -> str:
    rows, losses = results["rows"], results["losses"]
    alike = "; ".join(f"{names} {value:.2f}" for names, value in results["voices_alike"].items())
    return "\n".join(
        [
            "| held-out sentences | recordings | word errors, % (95 %) | character errors, % "
            "| like the new voice | like it through the codec | like the former voice | ended by itself |",
            "|---|---|---|---|---|---|---|---|",
            *(_line(name, row) for name, row in rows.items()),
            "",
            f"Voices are compared by cosine; those of the voices themselves: {alike}.",
            "",
            *_ceiling(rows),
            "Losses, backbone + depth decoder:",
            "",
            *(_training_line(name, training, losses) for name, training in results["trainings"].items()),
            "",
        ]
    )
