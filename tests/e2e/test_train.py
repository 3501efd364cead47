"""csm eval, and what a build without LibTorch says instead."""

import json
import os
import unittest

from harness import TINY, CsmTest, load_json, scenarios

HAS_TORCH = os.environ["CSM_TORCH"] == "1"
with_torch = unittest.skipUnless(HAS_TORCH, "a build without LibTorch")


class WithoutTorch(CsmTest):
    @unittest.skipIf(HAS_TORCH, "a build with LibTorch")
    def test_one_sentence_names_the_way(self):
        for arguments in (["eval"], ["eval", "--model", TINY, "--json"]):
            said = self.fails(*arguments)
            self.assertIn("scripts/setup --torch", said)
            self.assertIn("--preset release-torch", said)


@with_torch
class Eval(CsmTest):
    def eval(self, model, conversation, *more):
        arguments = ["--model", model, "--conversation", conversation, "--json", *more]
        return json.loads(self.csm("eval", *arguments)[0])

    def test_losses_and_gradients_of_transformers(self):
        compared = 0
        for scenario in scenarios():
            expected = scenario.reference
            if expected.get("depth_decoder_labels_ratio") != 1.0:
                continue
            with self.subTest(scenario.name):
                actual = self.eval(scenario.model, scenario.conversation, "--grad-norms")
                for loss in ("loss", "backbone_loss", "depth_decoder_loss"):
                    self.assertAlmostEqual(actual[loss] / expected[loss], 1, delta=1e-4)
                self.assertEqual(actual["grad_norms"].keys(), expected["grad_norms"].keys())
                for name, norm in expected["grad_norms"].items():
                    self.assertAlmostEqual(actual["grad_norms"][name], norm, delta=1e-3 * norm + 1e-7)
                compared += 1
        self.assertGreater(compared, 5)

    def test_last_turn_alone(self):
        """The last turn's loss with the others as context is not that of all turns."""
        conversation = TINY / "training" / "conversation.json"
        every, last = self.eval(TINY, conversation), self.eval(TINY, conversation, "--train-on", "last")
        self.assertNotIn("grad_norms", every)
        self.assertNotAlmostEqual(every["loss"], last["loss"], places=3)
        # Turns of one: nothing is left out.
        turns = self.out / "turns.json"
        first = [[row[-1]] for row in load_json(conversation)]
        for (turn,) in first:
            for item in turn["content"]:
                if "path" in item:
                    item["path"] = str(conversation.parent / item["path"])
        turns.write_text(json.dumps(first))
        self.assertEqual(self.eval(TINY, turns), self.eval(TINY, turns, "--train-on", "last"))

    def test_text(self):
        out, _ = self.csm("eval", "--model", TINY, "--conversation", TINY / "training" / "conversation.json")
        self.assertRegex(out.decode(), r"^loss \d+\.\d+: backbone \d+\.\d+, depth decoder \d+\.\d+\n$")

    def test_nothing_to_learn(self):
        arguments = ["eval", "--model", TINY, "--conversation"]
        self.assertIn("no audio", self.fails(*arguments, TINY / "plain" / "conversation.json"))
        context = TINY / "context" / "conversation.json"  # its last turn is to be spoken
        self.assertIn("last turn", self.fails(*arguments, context, "--train-on", "last"))
        self.fails(*arguments, context, "--train-on", "first", status=2)

    def test_a_gguf_file_is_refused(self):
        file = self.out / "a.gguf"
        self.csm("quantize", "--model", TINY, "--type", "q8_0", "--output", file)
        conversation = TINY / "training" / "conversation.json"
        self.assertIn("GGUF", self.fails("eval", "--model", file, "--conversation", conversation))
