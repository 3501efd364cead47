"""csm init: a checkpoint to train from scratch."""

import json
import math
import os
import shutil
import signal
import time
import unittest

from harness import GOLDENS, TINY, CsmTest, Safetensors, load_json

TALK = TINY / "training" / "conversation.json"


@unittest.skipUnless(os.environ["CSM_TORCH"] == "1", "a build without LibTorch")
class Init(CsmTest):
    def arguments(self, output, *more, config=TINY, tokenizer=TINY):
        return ["init", "--config", config, "--tokenizer", tokenizer, "--output", self.out / output, *more]

    def test_a_checkpoint_with_a_trained_codec(self):
        self.csm(*self.arguments("m", "--codec", TINY))
        made, source = (Safetensors(d / "model.safetensors") for d in (self.out / "m", TINY))
        self.assertEqual(made.header.keys(), source.header.keys())
        for name in ("codec_model.encoder.layers.0.conv.weight", "codec_model.upsample.conv.weight"):
            self.assertEqual(made.raw(name), source.raw(name))
        self.assertEqual(made.floats("backbone_model.norm.weight"), [1.0] * 32)
        # Matrices are normal: their mean is about 0, their deviation initializer_range.
        values = made.floats("embed_text_tokens.weight")
        deviation = load_json(TINY / "config.json").get("initializer_range", 0.02)
        mean = sum(values) / len(values)
        self.assertAlmostEqual(mean, 0, delta=5 * deviation / math.sqrt(len(values)))
        measured = math.sqrt(sum(v * v for v in values) / len(values))
        self.assertAlmostEqual(measured / deviation, 1, delta=0.05)
        # It knows nothing: every code is as likely as any other.
        loss = json.loads(self.csm("eval", "--model", self.out / "m", "--conversation", TALK, "--json")[0])
        self.assertAlmostEqual(loss["backbone_loss"], math.log(67), delta=0.1)
        self.assertAlmostEqual(loss["depth_decoder_loss"], math.log(67), delta=0.1)
        self.csm("generate", "--model", self.out / "m", "--text", "Hi.", "--max-new-tokens", "3", "--output", self.out / "a.wav")

    def test_an_interrupted_one_leaves_nothing(self):
        config = load_json(TINY / "config.json")
        config["text_vocab_size"] = 4_000_000  # a second's work
        (self.out / "config.json").write_text(json.dumps(config))
        process = self.start(*self.arguments("m", config=self.out))
        limit = time.monotonic() + 60
        while not list(self.out.glob(".csm-*/.csm-*")):  # the weights, being written
            self.assertLess(time.monotonic(), limit)
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, err)
        self.assertEqual([path.name for path in self.out.iterdir()], ["config.json"])

    def test_the_seed_decides(self):
        tensors = []
        for output, seed in (("a", "1"), ("b", "1"), ("c", "2")):
            self.csm(*self.arguments(output, "--codec", TINY, "--seed", seed))
            tensors.append((self.out / output / "model.safetensors").read_bytes())
        self.assertEqual(tensors[0], tensors[1])
        self.assertNotEqual(tensors[0], tensors[2])

    def test_a_random_codec_is_said_to_be_one(self):
        config = load_json(TINY / "config.json")
        del config["tie_codebooks_embeddings"]  # tied by default
        (self.out / "sizes.json").write_text(json.dumps(config))
        arguments = self.arguments(
            "m", "--dtype", "bf16", config=self.out / "sizes.json", tokenizer=TINY / "tokenizer.json"
        )
        _, err = self.csm(*arguments)
        self.assertIn("--codec", err)
        self.assertEqual(load_json(self.out / "m" / "config.json")["dtype"], "bfloat16")
        self.csm("eval", "--model", self.out / "m", "--conversation", TALK)

    def test_files_beside_a_config_of_another_name_are_not_taken(self):
        (self.out / "sizes.json").write_text((TINY / "config.json").read_text())
        (self.out / "config.json").write_text('{"unknown": 1}')
        (self.out / "generation_config.json").write_text('{"max_new_tokens": 7}')
        for config in ("sizes.json", self.out / "sizes.json"):
            self.csm(*self.arguments("m", "--codec", TINY, config=config), cwd=self.out)
            self.assertNotIn("unknown", load_json(self.out / "m" / "config.json"))
            self.assertNotIn("max_new_tokens", load_json(self.out / "m" / "generation_config.json"))
            shutil.rmtree(self.out / "m")

    def test_it_learns(self):
        self.csm(*self.arguments("m", "--codec", TINY))
        arguments = ["train", "--model", self.out / "m", "--train-data", TALK, "--output", self.out / "run"]
        arguments += ["--learning-rate", "1e-2", "--max-steps", "30", "--logging-steps", "1"]
        self.csm(*arguments)
        lines = (self.out / "run" / "metrics.jsonl").read_text().splitlines()
        losses = [json.loads(line)["loss"] for line in lines]
        self.assertLess(losses[-1], 0.8 * losses[0])

    def test_what_does_not_fit(self):
        config = load_json(TINY / "config.json")
        (self.out / "small.json").write_text(json.dumps({**config, "text_vocab_size": 100}))
        (self.out / "wild.json").write_text(json.dumps({**config, "initializer_range": "wide"}))
        for arguments, word in (
            (self.arguments("m", config=self.out / "small.json"), "audio_token_id"),
            (self.arguments("m", config=self.out / "wild.json"), "initializer_range"),
            (self.arguments("m", config=self.out / "none.json"), "none.json"),
            (self.arguments("m", tokenizer=self.out), "tokenizer.json"),
            (self.arguments("m", tokenizer=GOLDENS / "tokenizer" / "none.json"), "none.json"),
            (self.arguments("m", "--codec", self.out), "config.json"),
            (self.arguments("m", "--codec", TINY, config=GOLDENS / "untied-biased", tokenizer=TINY), "num_codebooks"),
            (self.arguments("."), "not empty"),
        ):
            with self.subTest(word):
                self.assertIn(word, self.fails(*arguments))
        self.assertEqual([f.name for f in self.out.iterdir() if f.is_dir()], [])


if __name__ == "__main__":
    unittest.main()
