"""Runs the program named by the environment's CSM_BIN on the checkpoints in tests/goldens, by the
emulator CSM_EMULATOR if it is for another processor.

Only Python's standard library is used, so that the tests need nothing but python3.
"""

import array
import json
import os
import pathlib
import struct
import subprocess
import tempfile
import unittest

BIN = os.environ["CSM_BIN"]
EMULATOR = os.environ.get("CSM_EMULATOR", "").split()
GOLDENS = pathlib.Path(__file__).resolve().parents[1] / "goldens"
TINY = GOLDENS / "random-tiny"
SHIPPED = GOLDENS.parents[1] / "models" / "csm-tiny"

# For tests of what the program asks of the system, where an emulator answers in its place.
not_emulated = unittest.skipIf(EMULATOR, "signals, threads and files would be the emulator's")


def load_json(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def absolute(conversations, folder):
    """The conversations, from a file in `folder`, for a file anywhere."""
    for item in (item for talk in conversations for message in talk for item in message["content"]):
        if "path" in item:
            item["path"] = str(folder / item["path"])
    return conversations


class Scenario:
    """A conversation for a checkpoint, with what Hugging Face computes for it."""

    def __init__(self, folder):
        self.name = f"{folder.parent.name}/{folder.name}"
        self.model = folder.parent
        self.folder = folder
        self.conversation = folder / "conversation.json"
        self.reference = load_json(folder / "reference.json")

    def input_ids(self):
        """Rows without padding."""
        rows = zip(self.reference["input_ids"], self.reference["attention_mask"])
        return [[i for i, keep in zip(ids, mask) if keep] for ids, mask in rows]

    def audio(self):
        """(row, file) of each row whose audio is part of the reference."""
        rows = len(self.reference["sequences"])
        files = [(row, self.folder / f"audio_{row}.wav") for row in range(rows)]
        return [(row, file) for row, file in files if file.exists()]

    def parse_special(self):
        return ["--parse-special"] if self.reference.get("parse_special") else []


def scenarios():
    found = [Scenario(path.parent) for path in sorted(GOLDENS.glob("*/*/reference.json"))]
    assert len(found) > 20, f"only {len(found)} scenarios in {GOLDENS}"
    return found


class Wav:
    """A mono wav file: its header's claims, and samples as floats."""

    FORMATS = {(3, 32): "FLOAT", (1, 16): "PCM_16", (1, 24): "PCM_24"}

    def __init__(self, data):
        assert data[:4] == b"RIFF" and data[8:12] == b"WAVE", data[:12]
        self.riff_bytes = struct.unpack("<I", data[4:8])[0]
        offset = 12
        while True:
            tag, size = data[offset : offset + 4], struct.unpack("<I", data[offset + 4 : offset + 8])[0]
            body = data[offset + 8 : offset + 8 + size]
            if tag == b"fmt ":
                code, self.channels, self.rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
                if code == 0xFFFE:  # WAVE_FORMAT_EXTENSIBLE: the code begins a GUID
                    code = struct.unpack("<H", body[24:26])[0]
                self.subtype = self.FORMATS[code, bits]
            if tag == b"data":
                self.data_bytes = size
                self.bytes = body
                self.trailing = data[offset + 8 + len(body) :]
                break
            offset += 8 + size + size % 2

    def integers(self):
        width = {"PCM_16": 2, "PCM_24": 3}[self.subtype]
        pieces = (self.bytes[i : i + width] for i in range(0, len(self.bytes), width))
        return [int.from_bytes(piece, "little", signed=True) for piece in pieces]

    def floats(self):
        assert self.subtype == "FLOAT", self.subtype
        samples = array.array("f")
        samples.frombytes(self.bytes)
        return samples.tolist()


def read_wav(path):
    return Wav(pathlib.Path(path).read_bytes())


def write_wav(path, samples, rate):
    """Mono FLOAT."""
    body = array.array("f", samples).tobytes()
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, rate, rate * 4, 4, 32)
    data = struct.pack("<4sI", b"data", len(body)) + body
    riff = struct.pack("<4sI4s", b"RIFF", 4 + len(header) + len(data), b"WAVE")
    pathlib.Path(path).write_bytes(riff + header + data)


class Safetensors:
    """A small safetensors file, to be read or changed."""

    def __init__(self, path):
        data = pathlib.Path(path).read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        self.header = json.loads(data[8 : 8 + size])
        self.body = bytearray(data[8 + size :])

    def raw(self, name):
        """Bytes of a tensor."""
        begin, end = self.header[name]["data_offsets"]
        return bytes(self.body[begin:end])

    def floats(self, name):
        """Values of an F32 tensor."""
        assert self.header[name]["dtype"] == "F32", self.header[name]
        values = array.array("f")
        values.frombytes(self.raw(name))
        return values.tolist()

    def save(self, path):
        header = json.dumps(self.header).encode()
        pathlib.Path(path).write_bytes(struct.pack("<Q", len(header)) + header + self.body)


class CsmTest(unittest.TestCase):
    """Each test has an empty folder, self.out, for what it writes."""

    maxDiff = 2000

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name)

    def start(self, *arguments, **options):
        """The running program."""
        environment = {key: value for key, value in os.environ.items() if key != "CSM_MODEL"}
        environment.update(options.pop("env", {}))
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [*EMULATOR, BIN, *map(str, arguments)]
        process = subprocess.Popen(command, env=environment, **{**pipes, **options})
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.returncode is None:
            process.kill()
            process.communicate()

    def csm(self, *arguments, status=0, stdin=None, **options):
        """Runs to the end; returns (standard output as bytes, standard error as text)."""
        if stdin is not None:
            options["stdin"] = subprocess.PIPE
        process = self.start(*arguments, **options)
        out, err = process.communicate(stdin, timeout=300)
        err = err.decode("utf-8", errors="replace")
        self.assertEqual(process.returncode, status, f"csm {' '.join(map(str, arguments))}\n{err}")
        return out, err

    def fails(self, *arguments, status=1, **options):
        """Checks that the program says one sentence, perhaps with an indented list of what it speaks
        of, and nothing else, and leaves no file of its own; returns what it says."""
        before = sorted(self.out.rglob("*"))
        out, err = self.csm(*arguments, status=status, **options)
        self.assertEqual(out, b"")
        lines = err.splitlines()
        if status == 2:
            self.assertRegex(lines.pop() if len(lines) > 1 else "", "^(Try 'csm .*--help'.|)$")
        self.assertRegex(lines[0], "^csm: .{15}")
        self.assertEqual([line for line in lines[1:] if not line.startswith("  ")], [])
        self.assertEqual(sorted(self.out.rglob("*")), before)
        return err

    def assertClose(self, actual, expected, tolerance):
        """Sequences of numbers, within `tolerance` of the larger of 1 and the largest number."""
        self.assertEqual(len(actual), len(expected))
        scale = max([1.0] + [abs(value) for value in expected])
        worst = max((abs(a - e) for a, e in zip(actual, expected)), default=0.0)
        self.assertLessEqual(worst, tolerance * scale)
