"""tools/voice: recordings in shards, and trainings that go on where they were cut off (where torch is installed)."""

import contextlib
import importlib.util
import io
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools/voice"), str(ROOT / "tools")]

from progress import Slot, SlotOver
from settings import FRAME, Settings

PACKAGES = ("numpy", "torch", "transformers")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]

TINY = Settings(
    codec_filters=2,
    codec_hidden=64,
    codec_layers=1,
    codec_ffn=64,
    num_codebooks=3,
    codebook_size=16,
    codebook_dim=8,
    codec_steps=6,
    codec_batch=2,
    codec_frames=4,
    waveform_steps=4,
    waveform_batch=2,
    waveform_frames=2,
    adversarial_steps=4,
    adversarial_batch=2,
    adversarial_frames=2,
)


class SlotOfSteps(Slot):
    """Over after so many steps."""

    def __init__(self, steps=None):
        super().__init__(None)
        self.steps = steps

    def is_over(self):
        if self.steps is None:
            return False
        self.steps -= 1
        return self.steps < 0


@unittest.skipIf(MISSING, f"no {', '.join(MISSING)} here")
class Trainings(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.speech = self.folder / "speech"
        for name in ("train", "dev"):
            self.write_shards(name, 2 if name == "train" else 1)
        quiet = contextlib.redirect_stderr(io.StringIO())
        quiet.__enter__()
        self.addCleanup(quiet.__exit__, None, None, None)

    def write_shards(self, name, number):
        import numpy as np
        import speech

        rng = np.random.default_rng(0)
        for shard in range(number):
            recordings, first = [], 0
            for index, frames in enumerate((9, 21, 12)):
                phones = [(phone, 0.1 * (i + 1)) for i, phone in enumerate(["pau", *"ab" * (frames // 3), "pau"])]
                identity = f"{name}-{shard}{index}"
                recordings.append(speech.Recording(identity, "A.", "A.", index % 2, index, 0, first, frames, phones))
                first += frames
            audio = (3000 * rng.standard_normal(first * FRAME)).astype(np.int16)
            speech.write_shard(self.speech, f"{name}-{shard:05}", audio, recordings)

    def train_codec(self, name, *slots):
        import train_codec

        train_codec.UNQUANTIZED_STEPS, train_codec.START_VECTORS = 2, 64
        for slot in slots:
            with contextlib.suppress(SlotOver):
                self.run_on_cpu(train_codec.train_codec, self.speech, self.folder / name, TINY, slot)
        return self.folder / name / "frozen.pt"

    def run_on_cpu(self, function, *args):
        import torch

        torch.set_num_threads(1)
        *args, slot = args
        function(*args, torch.device("cpu"), slot)

    def same(self, first, second):
        import torch

        a, b = (torch.load(file, weights_only=True) for file in (first, second))
        self.assertEqual(list(a), list(b))
        return all(torch.equal(a[name], b[name]) for name in a)

    def test_codec_goes_on_to_the_bit(self):
        whole = self.train_codec("whole", SlotOfSteps())
        cut = self.train_codec("cut", SlotOfSteps(1), SlotOfSteps(3), SlotOfSteps())
        self.assertTrue(self.same(whole, cut))

    def test_held_code_is_never_used(self):
        import codes
        import numpy as np

        frozen = self.train_codec("codec", SlotOfSteps())
        self.run_on_cpu(codes.make_codes, self.speech, frozen, self.folder / "codes", TINY, 1, Slot(None))
        self.run_on_cpu(codes.make_codes, self.speech, frozen, self.folder / "by_two", TINY, 2, Slot(None))
        files = list(self.folder.glob("codes/*.npy"))
        self.assertTrue(files)
        for file in files:
            found = np.load(file)
            self.assertEqual(found.shape, (42, 3))
            self.assertGreater(found[:, 0].min(), 0)
            np.testing.assert_array_equal(np.load(self.folder / "by_two" / file.name), found)

    def test_waveform_decoder_goes_on_to_the_bit(self):
        import codes
        import torch
        import train_waveform

        frozen = self.train_codec("codec", SlotOfSteps())
        self.run_on_cpu(codes.make_codes, self.speech, frozen, self.folder / "codes", TINY, 1, Slot(None))
        train_waveform.BEFORE, train_waveform.DISCRIMINATOR_START = 2, 1
        options = {"settings": TINY, "device": torch.device("cpu")}
        for kind in (train_waveform.WaveformTraining, train_waveform.AdversarialTraining):
            made = []
            for name, slots in (("codec", [None]), ("codec2", [2, None])):
                for slot in slots:
                    with contextlib.suppress(SlotOver):
                        folder = self.folder / name
                        train_waveform.train(kind, self.speech, folder, frozen, SlotOfSteps(slot), **options)
                made.append(self.folder / name / f"{kind.NAME}.pt")
            self.assertTrue(self.same(*made), kind.NAME)
            self.assertFalse(self.same(made[0], frozen))


@unittest.skipIf(importlib.util.find_spec("numpy") is None, "no numpy here")
class Recordings(unittest.TestCase):
    def test_phonemes_of_frames(self):
        import speech

        phones = [("pau", 0.04), ("a", 0.12), ("b", 0.2)]
        recording = speech.Recording("x", "A.", "A.", 0, 0, 0, 0, 3, phones)
        names = {"pau": 0, "a": 1, "b": 2}
        # At 20, 60 ms and so on; nothing is said after 200 ms.
        self.assertEqual(speech.frame_phones(recording, names).tolist(), [[0, 1], [1, 2], [2, 0]])


@unittest.skipIf(importlib.util.find_spec("numpy") is None, "no numpy here")
class Grid(unittest.TestCase):
    PHONES = [("pau", 0.07), ("a", 0.18), ("t", 0.19), ("pau", 0.35)]

    def tones(self):
        """Silence, 200 Hz, a click, silence: 24 kHz."""
        import numpy as np

        times = np.arange(round(0.35 * 24000)) / 24000
        samples = 0.5 * np.sin(2 * np.pi * 200 * times) * ((times > 0.07) & (times < 0.18))
        samples[round(0.185 * 24000)] = 0.9
        return samples.astype(np.float32)

    def test_phonemes_take_whole_half_frames(self):
        import grid

        samples, phones = grid.on_grid(self.tones(), self.PHONES)
        self.assertEqual(phones, [("pau", 0.08), ("a", 0.2), ("t", 0.24), ("pau", 0.4)])
        self.assertEqual(len(samples), 10 * grid.UNIT)

    def test_sounds_go_where_their_phonemes_are_and_keep_their_pitch(self):
        import grid
        import numpy as np

        samples, _ = grid.on_grid(self.tones(), self.PHONES)
        middle = samples[round(0.1 * 24000) : round(0.18 * 24000)]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 24000))
        self.assertAlmostEqual(int(spectrum.argmax()), 200, delta=4)
        self.assertLess(np.abs(samples[: round(0.06 * 24000)]).max(), 0.01)
        self.assertLess(np.abs(samples[round(0.26 * 24000) :]).max(), 0.01)
        self.assertTrue(0.2 < np.abs(samples[round(0.208 * 24000) :]).argmax() / 24000 + 0.208 < 0.24)

    def test_what_is_on_the_grid_already_stays(self):
        import grid
        import numpy as np

        phones = [("pau", 0.08), ("a", 0.2), ("pau", 0.4)]
        rng = np.random.default_rng(0)
        whole = rng.standard_normal(round(0.4 * 24000)).astype(np.float32)
        samples, timed = grid.on_grid(whole, phones)
        self.assertEqual(timed, phones)
        self.assertLess(np.abs(samples - whole).max(), 1e-4)


@unittest.skipIf(MISSING, f"no {', '.join(MISSING)} here")
class CodeTransfer(unittest.TestCase):
    SIZE, VOCABULARY, HIDDEN = 16, 19, 8

    def tensors(self, codebooks, seed):
        import code_transfer
        import torch

        torch.manual_seed(seed)
        shapes = {
            code_transfer.EMBEDDINGS: (codebooks * self.VOCABULARY, self.HIDDEN),
            code_transfer.HEAD: (self.VOCABULARY, self.HIDDEN),
            code_transfer.DEPTH_HEADS: (codebooks - 1, self.HIDDEN, self.VOCABULARY),
        }
        return {name: torch.randn(shape) for name, shape in shapes.items()}

    def test_codes_by_other_numbers_mean_the_same(self):
        import code_transfer
        import numpy as np
        import torch

        rng = np.random.default_rng(0)
        before = rng.integers(1, self.SIZE, (20_000, 3))
        number = [np.concatenate([[0], 1 + rng.permutation(self.SIZE - 1)]) for _ in range(3)]
        renumbered = np.stack([number[book][before[:, book]] for book in range(3)], axis=1)
        after = np.concatenate([renumbered, rng.integers(0, self.SIZE, (20_000, 2))], axis=1)  # two say nothing
        old, new = self.tensors(3, 1), self.tensors(5, 2)
        found = code_transfer.carry_over(old, new, before.astype(np.int16), after.astype(np.int16), self.SIZE)
        embeddings, head = found[code_transfer.EMBEDDINGS], found[code_transfer.HEAD]
        depth_heads = found[code_transfer.DEPTH_HEADS]
        for code in range(1, self.SIZE):
            expected = old[code_transfer.EMBEDDINGS][code]
            torch.testing.assert_close(embeddings[number[0][code]], expected)
            torch.testing.assert_close(head[number[0][code]], old[code_transfer.HEAD][code])
            expected = old[code_transfer.DEPTH_HEADS][1][:, code]
            torch.testing.assert_close(depth_heads[1][:, number[2][code]], expected)
        offsets = self.VOCABULARY * np.arange(5)
        sums = embeddings[after + offsets].sum(1)
        expected = old[code_transfer.EMBEDDINGS][before + offsets[:3]].sum(1)
        self.assertLess(float((sums - expected).square().mean() / expected.square().mean()), 1e-3)
        torch.testing.assert_close(head[self.SIZE :], old[code_transfer.HEAD][self.SIZE :])
        torch.testing.assert_close(depth_heads[2:], new[code_transfer.DEPTH_HEADS][2:])


if __name__ == "__main__":
    unittest.main()
