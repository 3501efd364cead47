"""The picture: what csm reaches, under the roofs that the machine's memory and arithmetic are.

Colours are of middle brightness and the ground is transparent, so that it reads on white and on black.
"""

from pathlib import Path

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from csm_tools.performance import TYPES, Measured, Point, frame_points, prompt_points

INK = "#808a94"
COLOURS = dict(zip(TYPES, ("#b06fd8", "#d8607f", "#3f8fe0", "#5ac8d8", "#e0851f", "#22a37a")))
STYLE = {
    "svg.fonttype": "none",  # text stays text: small, and in the reader's font
    "svg.hashsalt": "csm",  # the same figures give the same bytes
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
INTENSITIES = (0.2, 6000)  # multiply-adds a byte


def draw(measured: Measured, file: Path) -> None:
    with plt.rc_context(STYLE):
        figure = figure_of(measured)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("".join(f"{line.rstrip()}\n" for line in lines), encoding="utf-8")  # as git likes it


def figure_of(measured: Measured) -> Figure:
    figure, axes = plt.subplots(figsize=(7.2, 4.6))
    draw_roofs(axes, measured)
    for name, run in measured.runs.items():
        draw_points(axes, frame_points(run), COLOURS[name], "o")
        draw_points(axes, prompt_points(run), COLOURS[name], "s")
    finish(axes, measured)
    figure.tight_layout()
    return figure


def draw_roofs(axes: Axes, measured: Measured) -> None:
    """Memory as the best of the runs read it, and the peak of each kind of arithmetic."""
    runs = measured.runs.values()
    peaks: dict[str, float] = {}
    for name, run in measured.runs.items():
        kind = "int8" if name.startswith("q") else "f32"
        peaks[kind] = max(peaks.get(kind, 0), run["peak_mul_adds_per_s"] / 1e9)
    bandwidth = max(run.get("bandwidth_gb_s", 0) for run in runs)
    ridge = max(peaks.values()) / bandwidth
    axes.plot([INTENSITIES[0], ridge], [INTENSITIES[0] * bandwidth, ridge * bandwidth], color=INK, lw=1.4)
    middle = (INTENSITIES[0] * ridge) ** 0.5
    axes.annotate(
        f"memory, {bandwidth:.0f} GB/s",
        (middle, middle * bandwidth),
        xytext=(-6, 3),
        textcoords="offset points",
        ha="right",
    )
    for kind, peak in peaks.items():
        axes.plot([peak / bandwidth, INTENSITIES[1]], [peak, peak], color=INK, lw=1.4)
        axes.text(INTENSITIES[1] * 0.9, peak * 1.07, f"{kind} peak, {peak:.0f} G/s", ha="right")


def draw_points(axes: Axes, points: list[Point], colour: str, marker: str) -> None:
    x, y = [p.intensity for p in points], [p.rate / 1e9 for p in points]
    axes.plot(x, y, color=colour, marker=marker, ms=5, lw=0.8)
    for p in points[:1] + points[-1:]:  # a number at each would be too many
        axes.annotate(
            p.label,
            (p.intensity, p.rate / 1e9),
            xytext=(0, -11),
            textcoords="offset points",
            ha="center",
            color=colour,
            fontsize=8,
        )


def finish(axes: Axes, measured: Measured) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*INTENSITIES)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("multiply-adds a byte of weights, keys and values")
    axes.set_ylabel("billion multiply-adds a second")
    axes.grid(which="major", color=INK, alpha=0.25, lw=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    handles = [Line2D([], [], color=COLOURS[name], lw=3, label=name) for name in measured.runs]
    for marker, label in (("o", "frames of 1 to 16 streams"), ("s", "prompts of 100 to 2,000")):
        handles.append(Line2D([], [], color=INK, marker=marker, ms=5, lw=0, label=label))
    # Below the axes: any place between them may have points.
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": len(handles)}
    axes.legend(handles=handles, frameon=False, labelcolor=INK, columnspacing=1.2, **below)
