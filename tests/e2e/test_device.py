"""--device: the engine on LibTorch, and what is said where that, or a GPU, is missing."""

import json
import os
import unittest

from harness import SHIPPED, TINY, CsmTest, load_json, scenarios

HAS_TORCH = os.environ["CSM_TORCH"] == "1"
DEVICE = os.environ.get("CSM_TEST_DEVICE", "torch-cpu")  # or cuda


class DeviceTest(CsmTest):
    def codes(self, *arguments):
        return json.loads(self.csm("generate", "--codes", "-", "--quiet", "--threads", "1", *arguments)[0])["sequences"]


@unittest.skipUnless(HAS_TORCH, "a build without LibTorch")
class OnLibTorch(DeviceTest):
    def test_codes_of_transformers(self):
        compared = 0
        for scenario in scenarios():
            limit = scenario.reference.get("max_new_tokens")
            if limit is None or scenario.parse_special() or "sequences" not in scenario.reference:
                continue
            if compared == 6:  # the room's own test has all
                break
            with self.subTest(scenario.name):
                arguments = ["--model", scenario.model, "--conversation", scenario.conversation, "--greedy"]
                options = ["--max-new-tokens", str(limit), "--device", DEVICE, "--dtype", "f32"]
                self.assertEqual(self.codes(*arguments, *options), scenario.reference["sequences"])
                compared += 1
        self.assertEqual(compared, 6)

    def test_draws_what_the_kernels_draw(self):
        arguments = ["--model", SHIPPED, "--seed", "7", "--dtype", "f32", "--num-return-sequences", "2", "Good morning."]
        self.assertEqual(self.codes("--device", DEVICE, *arguments), self.codes(*arguments))

    def test_a_gguf_file_speaks(self):
        """Quantized weights become bf16; f32 of the same values are what the kernels say in f32."""
        for kind in ("f16", "q8_0"):
            with self.subTest(kind):
                file = self.out / f"{kind}.gguf"
                self.csm("quantize", "--model", SHIPPED, "--type", kind, "--output", file)
                arguments = ["--model", file, "--greedy", "--max-new-tokens", "5", "Good morning."]
                said = self.codes("--device", DEVICE, *arguments)
                self.assertEqual(len(said[0][0]), load_json(SHIPPED / "config.json")["num_codebooks"])
                if kind == "f16":
                    in_f32 = self.codes("--device", DEVICE, "--dtype", "f32", *arguments)
                    self.assertEqual(in_f32, self.codes(*arguments))

    def test_sound_comes_out(self):
        self.csm("generate", "--model", TINY, "--device", DEVICE, "--threads", "1", "--output", self.out / "a.wav", "Hello")
        self.assertGreater((self.out / "a.wav").stat().st_size, 3000)

    def test_bench(self):
        file = self.out / "bench.json"
        self.csm("bench", "--model", TINY, "--device", DEVICE, "--json", file, "--only", "frame,prefill", "--threads", "1")
        figures = json.loads(file.read_text())
        self.assertEqual(figures["device"], DEVICE)
        self.assertGreater(figures["frame_ms"]["median"], 0)

    def test_what_is_not_there(self):
        generate = ["generate", "--model", TINY, "--codes", "-", "Hello", "--device"]
        self.assertIn("cuda:N", self.fails(*generate, "gpu"))
        self.assertIn("quantized", self.fails(*generate, DEVICE, "--dtype", "q8_0"))
        if not os.path.exists("/dev/nvidiactl"):
            self.assertIn("device cuda", self.fails(*generate, "cuda"))
            self.assertIn("device cuda:3", self.fails(*generate, "cuda:3"))


@unittest.skipIf(HAS_TORCH, "a build with LibTorch")
class WithoutLibTorch(DeviceTest):
    def test_one_sentence_names_the_way(self):
        said = self.fails("generate", "--model", TINY, "--device", "cuda", "--codes", "-", "Hello")
        self.assertIn("scripts/setup --torch", said)
        self.assertIn("--preset release-torch", said)
