"""docs/performance.md and its picture are made of docs/bench/*.json, and of what csm bench writes."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from csm_tools import performance

COMMITTED = sorted((ROOT / "docs/bench").glob("*.json"))
TINY = ROOT / "tests/goldens/random-tiny"


def bench(folder, *options):
    """The file that csm bench writes of a small model."""
    file = pathlib.Path(folder) / "bench.json"
    command = [os.environ["CSM_BIN"], "bench", "--model", TINY, "--threads", "1", "--json", file, *options]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return file


class Document(unittest.TestCase):
    def test_is_what_the_files_give(self):
        document = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
        table = performance.markdown(performance.load(COMMITTED))
        self.assertEqual(performance.updated(document, table), document, "run tools/make_performance.py --update")

    def test_committed_figures_are_possible(self):
        measured = performance.load(COMMITTED)
        self.assertEqual(list(measured.runs), ["bf16", "bf16 fast", "q8_0", "q4"])
        self.assertEqual(len({(run["machine"], run["threads"]) for run in measured.runs.values()}), 1)
        for name, run in measured.runs.items():
            with self.subTest(name):
                points = performance.frame_points(run) + performance.prompt_points(run)
                labels = [p.label for p in points]
                whole = ["1", "2", "4", "8", "16", "100", "512", "2000"]
                self.assertEqual(labels, [label for label in whole if label in labels])
                self.assertLessEqual({"1", "512"}, set(labels))
                self.assertEqual(sorted(p.intensity for p in points), [p.intensity for p in points])
                for p in points:
                    self.assertLess(p.rate, 1.1 * run["peak_mul_adds_per_s"], p.label)

    def test_needs_its_markers(self):
        with self.assertRaisesRegex(performance.InputError, "no lines"):
            performance.updated("# Performance\n", "table\n")
        with self.assertRaisesRegex(performance.InputError, "no lines"):
            performance.updated(f"{performance.END}\n{performance.BEGIN}\n", "table\n")


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_a_whole_run_fills_every_row(self):
        run = performance.load([bench(self.folder, "--type", "q8_0")])
        empty = [line for line in performance.markdown(run).splitlines() if performance.NOT_MEASURED in line]
        self.assertEqual([line.split("|")[1].strip() for line in empty], [
            "against transformers in bf16",  # of another program
            "prompt of 2,000",  # the model has 512 positions
        ])  # fmt: skip

    def test_some_parts_suffice(self):
        text = performance.markdown(performance.load([bench(self.folder, "--only", "prefill")]))
        self.assertIn(performance.NOT_MEASURED, text)

    def test_against_transformers(self):
        comparison = self.folder / "compare.json"
        comparison.write_text(json.dumps({
            "transformers": "5.23.0",
            "hf": {"bf16": {"frame_ms": 800.4}},
            "csm": {"bf16": {"frame_ms": 200, "times_hf_bf16": 4.002}},
        }))  # fmt: skip
        text = performance.markdown(performance.load([comparison, bench(self.folder, "--quick")]))
        self.assertIn("| against transformers in bf16 | 4.0 × |", text)
        self.assertIn("transformers 5.23.0 takes 800 ms a frame", text)

    def test_bad_ones_are_named(self):
        file = self.folder / "bad.json"
        for text, reason in (("{}", "is neither"), ("[1]", "is neither"), ("{", "is no JSON")):
            file.write_text(text)
            with self.assertRaisesRegex(performance.InputError, f"bad.json {reason}"):
                performance.load([file])
        run = bench(self.folder, "--quick")
        with self.assertRaisesRegex(performance.InputError, "second run of bf16"):
            performance.load([run, run])
        with self.assertRaisesRegex(performance.InputError, "there is no file"):
            performance.load([])


class Picture(unittest.TestCase):
    def test_is_small_and_readable_xml(self):
        for file in (ROOT / "docs/roofline.svg", *self.drawn()):
            with self.subTest(file):
                self.assertLess(file.stat().st_size, 100_000)
                words = " ".join(xml.parse(file).getroot().itertext())
                for word in ("memory", "int8 peak", "f32 peak", "bf16", "q8_0", "q4"):
                    self.assertIn(word, words)

    def drawn(self):
        """Again from the committed files, twice the same."""
        try:
            from csm_tools.roofline import draw
        except ImportError as error:  # only developers need matplotlib
            self.skipTest(str(error))
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        files = [pathlib.Path(folder.name) / f"{name}.svg" for name in ("first", "second")]
        for file in files:
            draw(performance.load(COMMITTED), file)
        self.assertEqual(files[0].read_bytes(), files[1].read_bytes())
        return files[:1]


if __name__ == "__main__":
    unittest.main()
