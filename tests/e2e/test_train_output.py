"""What csm train leaves to look at: TensorBoard's files, the report, samples."""

import html.parser
import json
import os
import pathlib
import struct
import subprocess
import unittest

from harness import TINY, CsmTest

TALK = TINY / "training" / "conversation.json"
PYTHON = os.environ["CSM_TENSORBOARD_PYTHON"]


def has_tensorboard():
    """Whether scripts/setup --dev has put it where the tests look."""
    return pathlib.Path(PYTHON).exists()


READ_SCALARS = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]).Reload()
print(json.dumps({tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}))
"""


class Page(html.parser.HTMLParser):
    """Counts elements; every one that is opened must be closed."""

    VOID = {"meta", "link", "br"}

    def __init__(self, text):
        super().__init__()
        self.counts, self.open, self.sources, self.words = {}, [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.sources += [value for name, value in attributes if name == "src"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.words.append(data)


@unittest.skipUnless(os.environ["CSM_TORCH"] == "1", "a build without LibTorch")
class TrainOutput(CsmTest):
    def train(self, *more, data=TALK):
        arguments = ["train", "--model", TINY, "--train-data", data, "--output", self.out / "run"]
        arguments += ["--logging-steps", "1", "--per-device-train-batch-size", "1", "--learning-rate", "1e-3"]
        return self.csm(*arguments, *more)

    def metrics(self):
        lines = (self.out / "run" / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def expected_scalars(self):
        """What TensorBoard should show: {tag: [(step, value), …]}."""
        scalars = {}
        for line in self.metrics():
            for name, value in line.items():
                tag = name.replace("eval_", "eval/") if name.startswith("eval_") else f"train/{name}"
                if name != "step":
                    scalars.setdefault(tag, []).append((line["step"], value))
        return scalars

    def test_records_of_event_files(self):
        self.train("--max-steps", "3", "--num-samples", "0")
        (file,) = (self.out / "run" / "tensorboard").iterdir()
        data, lengths = file.read_bytes(), []
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            lengths.append(length)
            data = data[length + 16 :]
        self.assertEqual(data, b"")
        self.assertEqual(len(lengths), 2 + 3)  # version, start, three lines

    @unittest.skipUnless(has_tensorboard(), "the tensorboard package is not installed")
    def test_tensorboard_reads_them(self):
        self.train("--max-steps", "6", "--save-steps", "3", "--eval-data", TALK, "--num-samples", "0")
        # What was written after the checkpoint that is resumed did not happen.
        subprocess.run(["rm", "-r", self.out / "run" / "checkpoint-6", self.out / "run" / "model"], check=True)
        self.train("--resume", "--max-steps", "5", "--eval-data", TALK)
        command = [PYTHON, "-c", READ_SCALARS, self.out / "run" / "tensorboard"]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        expected = self.expected_scalars()
        self.assertEqual(found.keys(), expected.keys())
        for tag, points in expected.items():
            self.assertEqual([step for step, _ in found[tag]], [step for step, _ in points], tag)
            for (_, actual), (_, value) in zip(found[tag], points):
                self.assertAlmostEqual(actual, value, delta=1e-6 * max(1, abs(value)))

    def test_report_with_samples(self):
        turn = {"role": "0", "content": [{"type": "text", "text": "<b>One & two</b>"}]}
        turn["content"].append({"type": "audio", "path": str(TINY / "training" / "hello.wav")})
        (self.out / "talk.json").write_text(json.dumps([turn]))
        self.train("--max-steps", "4", "--save-steps", "2", "--num-samples", "1", data=self.out / "talk.json")
        samples = self.out / "run" / "samples"
        self.assertEqual(sorted(f.name for f in samples.iterdir()), ["0.txt", "step-2-0.flac", "step-4-0.flac"])
        self.assertEqual((samples / "0.txt").read_text(), "<b>One & two</b>")
        for file in samples.glob("*.flac"):
            self.assertEqual(file.read_bytes()[:4], b"fLaC")
        page = Page((self.out / "run" / "report.html").read_text())
        self.assertEqual(page.open, [])
        self.assertEqual(page.counts["svg"], 6)
        self.assertNotIn("b", page.counts)
        self.assertIn("<b>One & two</b>", page.words)
        self.assertIn("Step 4", page.words)
        self.assertEqual(len(page.sources), 2)
        self.assertTrue(all(source.startswith("data:audio/flac;base64,") for source in page.sources))

    def test_a_resumed_run_forgets_later_samples(self):
        self.train("--max-steps", "4", "--save-steps", "2", "--num-samples", "1")
        subprocess.run(["rm", "-r", self.out / "run" / "checkpoint-4", self.out / "run" / "model"], check=True)
        self.train("--resume", "--max-steps", "3")
        names = sorted(f.name for f in (self.out / "run" / "samples").glob("*.flac"))
        self.assertEqual(names, ["step-2-0.flac", "step-3-0.flac"])


if __name__ == "__main__":
    unittest.main()
