"""csm eval and csm train, and what a build without LibTorch says instead."""

import json
import os
import pathlib
import shutil
import signal
import time
import unittest

from harness import GOLDENS, TINY, CsmTest, Safetensors, absolute, load_json, scenarios

TALK = TINY / "training" / "conversation.json"
HAS_TORCH = os.environ["CSM_TORCH"] == "1"
with_torch = unittest.skipUnless(HAS_TORCH, "a build without LibTorch")


class WithoutTorch(CsmTest):
    @unittest.skipIf(HAS_TORCH, "a build with LibTorch")
    def test_one_sentence_names_the_way(self):
        for arguments in (["eval"], ["eval", "--model", TINY, "--json"], ["train", "--model", TINY], ["merge"], ["init", "--help"]):
            said = self.fails(*arguments)
            self.assertIn("scripts/setup --torch", said)
            self.assertIn("--preset release-torch", said)


@with_torch
class Eval(CsmTest):
    def eval(self, model, conversation, *more):
        arguments = ["--model", model, "--conversation", conversation, "--json", *more]
        return json.loads(self.csm("eval", *arguments)[0])

    def test_nothing_to_learn_from(self):
        empty = self.out / "empty.jsonl"
        empty.write_text("")
        self.assertIn("holds no conversation", self.fails("eval", "--model", TINY, "--conversation", empty))

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
        every, last = self.eval(TINY, TALK), self.eval(TINY, TALK, "--train-on", "last")
        self.assertNotIn("grad_norms", every)
        self.assertNotAlmostEqual(every["loss"], last["loss"], places=3)
        # Turns of one: nothing is left out.
        turns = self.out / "turns.json"
        first = absolute([[row[-1]] for row in load_json(TALK)], TALK.parent)
        turns.write_text(json.dumps(first))
        self.assertEqual(self.eval(TINY, turns), self.eval(TINY, turns, "--train-on", "last"))

    def test_text(self):
        out, _ = self.csm("eval", "--model", TINY, "--conversation", TALK)
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
        self.assertIn("GGUF", self.fails("eval", "--model", file, "--conversation", TALK))


@with_torch
class Train(CsmTest):
    def arguments(self, output, *more, rate="1e-3"):
        arguments = ["train", "--model", TINY, "--train-data", TALK, "--output", self.out / output]
        arguments += ["--logging-steps", "1", "--per-device-train-batch-size", "1"]
        return [*arguments, "--learning-rate", rate, *more]

    def metrics(self, output):
        lines = (self.out / output / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def test_it_learns(self):
        _, err = self.csm(*self.arguments("run", "--max-steps", "40", "--eval-data", TALK, "--save-steps", "20"))
        self.assertIn("evaluation loss", err)
        evaluations = [line for line in self.metrics("run") if "eval_loss" in line]
        self.assertEqual([line["step"] for line in evaluations], [20, 40])
        model = self.out / "run" / "model"
        before, after = (
            json.loads(self.csm("eval", "--model", m, "--conversation", TALK, "--json")[0])["loss"]
            for m in (TINY, model)
        )
        self.assertLess(after, 0.6 * before)
        # The model is stored in 16 bits, as the one it began with, so its loss is only near.
        self.assertAlmostEqual(after, evaluations[-1]["eval_loss"], delta=0.01 * after)
        self.csm("generate", "--model", model, "--text", "Hello.", "--output", self.out / "a.wav")

    def test_resuming_goes_on_exactly(self):
        more = ["--max-steps", "20", "--save-steps", "10"]
        self.csm(*self.arguments("whole", *more))
        (self.out / "half").mkdir()
        shutil.copytree(self.out / "whole" / "checkpoint-10", self.out / "half" / "checkpoint-10")
        shutil.copy(self.out / "whole" / "metrics.jsonl", self.out / "half")
        self.csm(*self.arguments("half", *more, "--resume"))
        for file in ("model.safetensors", "optimizer.safetensors"):
            whole, half = (self.out / run / "checkpoint-20" / file for run in ("whole", "half"))
            self.assertEqual(whole.read_bytes(), half.read_bytes(), file)
        losses = [[(line["step"], line["loss"]) for line in self.metrics(run)] for run in ("whole", "half")]
        self.assertEqual(*losses)
        self.assertIn("seed 42", self.fails(*self.arguments("half", "--resume", "--seed", "1")))

    def test_a_resumed_run_needs_no_options_nor_its_first_checkpoint(self):
        self.csm(*self.arguments("run", "--max-steps", "4", "--save-steps", "2", "--lr-scheduler-type", "constant"))
        shutil.rmtree(self.out / "run" / "checkpoint-4")
        arguments = ["train", "--model", TINY, "--train-data", TALK, "--output", self.out / "run", "--resume"]
        self.csm(*arguments, "--max-steps", "8", "--save-steps", "1", "--save-total-limit", "1")
        self.assertEqual([line["learning_rate"] for line in self.metrics("run")], [1e-3] * 8)
        self.assertEqual([f.name for f in (self.out / "run").glob("checkpoint-*")], ["checkpoint-8"])

    def test_damaged_checkpoints_are_refused(self):
        self.csm(*self.arguments("run", "--max-steps", "1"))
        folder = self.out / "run" / "checkpoint-1"
        resume = self.arguments("run", "--resume", "--max-steps", "2")
        optimizer, state = folder / "optimizer.safetensors", folder / "trainer_state.json"
        tensors, good = Safetensors(optimizer), optimizer.read_bytes()
        name, entry = max(tensors.header.items(), key=lambda item: item[1].get("data_offsets", [0])[0])
        entry["dtype"], entry["data_offsets"][1] = "F64", entry["data_offsets"][1] * 2 - entry["data_offsets"][0]
        tensors.body += bytes(entry["data_offsets"][1] - len(tensors.body))
        tensors.save(optimizer)
        self.assertIn(name, self.fails(*resume))
        optimizer.write_bytes(good)
        for text in ("[]", "{}", '{"options": []}', state.read_text().replace('"step": 1', '"step": 7')):
            with self.subTest(text[:20]):
                state.write_text(text)
                self.assertIn("trainer_state.json", self.fails(*resume))

    def test_the_model_is_never_written_over(self):
        shutil.copytree(TINY, self.out / "run" / "model")
        arguments = ["train", "--model", self.out / "run" / "model", "--train-data", TALK]
        self.assertIn("holds a run", self.fails(*arguments, "--output", self.out / "run"))

    def test_checkpoints_are_kept_and_removed(self):
        more = ["--max-steps", "6", "--save-steps", "1", "--eval-data", TALK, "--save-total-limit", "2"]
        self.csm(*self.arguments("run", *more, "--lr-scheduler-type", "constant", rate="3"))  # it only gets worse
        found = {folder.name for folder in (self.out / "run").glob("checkpoint-*")}
        best = load_json(self.out / "run" / "checkpoint-6" / "trainer_state.json")["best_step"]
        self.assertLess(best, 5)
        self.assertEqual(found, {f"checkpoint-{best}", "checkpoint-6"})

    ENDLESS = ("--max-steps", "1000000", "--save-steps", "1000000")

    def start_training(self, arguments):
        """The program, which has trained some steps."""
        process = self.start(*arguments)
        metrics = self.out / "run" / "metrics.jsonl"
        limit = time.monotonic() + 60
        while not (metrics.exists() and metrics.read_text().count("\n") > 2):
            self.assertLess(time.monotonic(), limit)
            time.sleep(0.05)
        return process

    def test_one_run_at_a_time(self):
        arguments = self.arguments("run", *self.ENDLESS)
        process = self.start_training(arguments)
        _, err = self.csm(*arguments, status=1)
        self.assertIn("another csm train", err)
        process.kill()
        process.communicate()
        self.csm(*self.arguments("run", "--max-steps", "1"))  # the lock went with it

    def test_an_interrupted_run_is_saved(self):
        process = self.start_training(self.arguments("run", *self.ENDLESS))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn(b"--resume", err)
        (saved,) = (self.out / "run").glob("checkpoint-*")
        step = load_json(saved / "trainer_state.json")["step"]
        self.csm(*self.arguments("run", "--resume", "--max-steps", str(step + 2)))
        self.assertEqual(self.metrics("run")[-1]["step"], step + 2)

    def test_frozen_tensors_stay(self):
        self.csm(*self.arguments("run", "--max-steps", "3", "--freeze", "^(backbone_model|embed_text)"))
        before = Safetensors(TINY / "model.safetensors")
        after = Safetensors(self.out / "run" / "model" / "model.safetensors")
        for name, moves in (("backbone_model.layers.0.mlp.up_proj.weight", False), ("lm_head.weight", True)):
            self.assertEqual(before.raw(name) != after.raw(name), moves, name)
        self.assertIn("no parameter", self.fails(*self.arguments("other", "--freeze", "nothing")))

    def test_options_from_a_file(self):
        config = self.out / "options.json"
        config.write_text(json.dumps({"max_steps": 5, "learning_rate": 0.5, "bf16": True, "warmup_ratio": 0.4}))
        self.csm(*self.arguments("run", "--config", config))  # the flag's learning rate prevails
        rates = [line["learning_rate"] for line in self.metrics("run")]
        for actual, expected in zip(rates, [0, 5e-4, 1e-3, 2e-3 / 3, 1e-3 / 3], strict=True):
            self.assertAlmostEqual(actual, expected)
        for bad, word in (({"max_step": 5}, "max_step"), ({"max_steps": "5"}, "max_steps"), ([], "object"), ({"save_total_limit": None}, "null")):
            config.write_text(json.dumps(bad))
            self.assertIn(word, self.fails(*self.arguments("other", "--config", config)))
        self.assertFalse((self.out / "other").exists())

    def test_a_loss_that_is_not_finite(self):
        arguments = self.arguments("run", "--max-steps", "50", rate="1e30")
        self.assertIn("the loss is", self.csm(*arguments, status=1)[1].splitlines()[-1])
        # The last step's loss is never computed, but its weights are looked at.
        arguments = self.arguments("last", "--max-steps", "1", "--weight-decay", "1e30", rate="1e30")
        self.assertIn("weights are not finite", self.csm(*arguments, status=1)[1].splitlines()[-1])
        self.assertFalse((self.out / "run" / "model").exists())

    def test_what_cannot_be_learnt_is_left_out(self):
        good = absolute(load_json(TALK), TALK.parent)
        (self.out / "noise.wav").write_bytes(b"no audio")
        broken = [{"role": "0", "content": [{"type": "text", "text": "a"}, {"type": "audio", "path": "noise.wav"}]}]
        silent = [{"role": "0", "content": [{"type": "text", "text": "a"}]}]
        lines = self.out / "talk.jsonl"
        lines.write_text("\n".join(json.dumps(each) for each in (good[0], broken, silent, good[1])) + "\n")
        arguments = ["train", "--model", TINY, "--train-data", lines, "--output", self.out / "run"]
        _, err = self.csm(*arguments, "--max-steps", "1")
        self.assertIn("talk.jsonl, line 2 left out", err)
        self.assertIn("talk.jsonl, line 3 left out", err)
        self.assertEqual(load_json(self.out / "run" / "checkpoint-1" / "trainer_state.json")["options"]["data"][:2], "2 ")
        self.assertIn("holds a run already", self.fails(*arguments))
        lines.write_text(json.dumps(good[0]) + "\n{\n")
        self.assertIn("line 2", self.fails(*arguments[:-1], self.out / "other"))
        lines.write_text(json.dumps(silent))
        _, err = self.csm(*arguments[:-1], self.out / "other", status=1)
        self.assertIn("no conversation to learn from", err.splitlines()[-1])

    def test_an_adapter(self):
        more = ["--lora-r", "4", "--lora-dropout", "0.1", "--max-steps", "20", "--save-steps", "10", "--eval-data", TALK]
        self.csm(*self.arguments("whole", *more, rate="1e-2"))
        losses = [line["eval_loss"] for line in self.metrics("whole") if "eval_loss" in line]
        adapter = self.out / "whole" / "adapter"
        # Merged, the model has the loss that the training saw.
        self.csm("merge", "--model", TINY, "--adapter", adapter, "--output", self.out / "merged", "--dtype", "f32")
        arguments = ["--conversation", TALK, "--json", "--model"]
        merged = json.loads(self.csm("eval", *arguments, self.out / "merged")[0])["loss"]
        self.assertAlmostEqual(merged, losses[-1], delta=1e-4 * merged)
        self.assertLess(merged, 0.5 * json.loads(self.csm("eval", *arguments, TINY)[0])["loss"])
        # Dropout too goes on where it was.
        (self.out / "half").mkdir()
        shutil.copytree(self.out / "whole" / "checkpoint-10", self.out / "half" / "checkpoint-10")
        self.csm(*self.arguments("half", *more, "--resume", rate="1e-2"))
        file = "adapter_model.safetensors"
        self.assertEqual((adapter / file).read_bytes(), (self.out / "half" / "adapter" / file).read_bytes())
        twice = self.arguments("twice", "--lora-r", "4", "--max-steps", "1", "--lora-target-modules", "q_proj, q_proj")
        self.csm(*twice)
        bad = self.arguments("bad", "--lora-r", "4", "--lora-target-modules", "q_proj,w_proj")
        self.assertIn("w_proj", self.fails(*bad))

    def test_datasets_of_single_turns(self):
        """AudioFolder's and LJSpeech's files give the steps that HF's chat form gives."""
        folder = self.out / "data"
        (folder / "wavs").mkdir(parents=True)
        clips = {"hello": "Hello, you.", "short": "A \"quoted\" word, or two."}
        for name in clips:
            shutil.copy(TALK.parent / f"{name}.wav", folder / "wavs")
        rows = [(f"wavs/{name}.wav", text) for name, text in clips.items()]
        quoted = [(file, text.replace('"', '""')) for file, text in rows]
        talk = [
            [{"role": "0", "content": [{"type": "text", "text": text}, {"type": "audio", "path": file}]}]
            for file, text in rows
        ]
        files = {
            "talk.json": json.dumps(talk),
            "metadata.jsonl": "\n".join(
                json.dumps({"file_name": file, "text": text, "speaker_id": 0}) for file, text in rows
            ),
            "metadata.csv": "file_name,text,speaker_id\n" + "\n".join(f'{f},"{t}",0' for f, t in quoted),
            "lj.csv": "\n".join(f"{name}|not read|{text}" for name, text in clips.items()),
        }
        losses = []
        for name, content in files.items():
            with self.subTest(name):
                (folder / name).write_text(content + "\n")
                # Of metadata the folder is given, and metadata.jsonl goes first.
                data = folder if name == "metadata.jsonl" else folder / name
                arguments = ["train", "--model", TINY, "--train-data", data, "--output", self.out / name]
                self.csm(*arguments, "--max-steps", "2", "--logging-steps", "1", "--cache", self.out / "codes")
                losses.append([line["loss"] for line in self.metrics(name)])
                self.assertEqual(losses[-1], losses[0])
                self.assertEqual(len(list((self.out / "codes").iterdir())), 2)
        for content, word in (
            ("file_name,words\na.wav,b\n", "text"), ("file_name,text,speaker_id\na.wav,b,ann\n", "role"),
            ('file_name,text\na.wav,"b\n', "line 2: a double quote"), ("", "metadata.csv is empty"),
            ("file_name,text\n\na.wav\n", "line 3 has fewer columns"), ("file_name,text\na.wav,b,c\n", "line 2 has more"),
            ("file_name,text,speaker_id\na.wav,b,-1\n", "line 2: role"), (b"file_name,text\na.wav,\xe9\n", "line 2 is not UTF-8"),
        ):  # fmt: skip
            with self.subTest(content):
                content = content if isinstance(content, bytes) else content.encode()
                (folder / "metadata.csv").write_bytes(content)
                arguments = ["train", "--model", TINY, "--train-data", folder / "metadata.csv", "--output"]
                self.assertIn(word, self.fails(*arguments, self.out / "other"))

    def test_columns_without_a_use_are_named(self):
        folder = self.out / "data"
        folder.mkdir()
        shutil.copy(TALK.parent / "hello.wav", folder)
        (folder / "metadata.csv").write_text("file_name,text,speaker\nhello.wav,Hello.,1\n")
        (folder / "metadata.jsonl").write_text('{"file_name": "hello.wav", "text": "Hello.", "mood": "good"}\n')
        arguments = ["--model", TINY, "--max-steps", "1", "--num-samples", "0", "--train-data"]
        _, err = self.csm("train", *arguments, folder / "metadata.csv", "--output", self.out / "csv")
        self.assertIn("'speaker' not used", err)
        (folder / "marked.csv").write_text("\ufefffile_name,text\r\nhello.wav,Hello.\r\n", "utf-8")
        _, err = self.csm("train", *arguments, folder / "marked.csv", "--output", self.out / "marked")
        self.assertNotIn("not used", err)
        _, err = self.csm("train", *arguments, folder, "--output", self.out / "both")
        self.assertIn("'mood' not used", err)
        self.assertIn("both metadata.jsonl, which is read", err)
        (folder / "bad.jsonl").write_text("{\n")
        for name in ("no.csv", "bad.jsonl"):  # said before anything is encoded
            evaluation = ["--eval-data", folder / name, "--output", self.out / "m"]
            _, err = self.csm("train", *arguments, folder, *evaluation, status=1)
            self.assertIn(name, err)
            self.assertFalse((self.out / "m" / "codes").exists())

    def test_codes_are_kept(self):
        self.csm(*self.arguments("one", "--max-steps", "1", "--cache", self.out / "codes"))
        codes = sorted((self.out / "codes").iterdir())
        self.assertEqual(len(codes), 3)
        good = codes[0].read_bytes()
        for damaged in (b"", good[:-1], b"\xff" * len(good)):  # made anew
            codes[0].write_bytes(damaged)
            shutil.rmtree(self.out / "one")
            self.csm(*self.arguments("one", "--max-steps", "1", "--cache", self.out / "codes"))
            self.assertEqual(codes[0].read_bytes(), good)

    def test_the_best_is_the_result(self):
        for kind, more in (("model", ["--dtype", "f32"]), ("adapter", ["--lora-r", "2"])):
            more = [*more, "--max-steps", "3", "--save-steps", "1", "--eval-data", TALK, "--num-samples", "0"]
            more += ["--load-best-model-at-end", "--eval-on-start", "--lr-scheduler-type", "constant"]
            self.csm(*self.arguments(kind, *more, rate="3"))  # it only gets worse
            evaluations = [(line["step"], line["eval_loss"]) for line in self.metrics(kind) if "eval_loss" in line]
            self.assertEqual([step for step, _ in evaluations], [0, 1, 2, 3])
            best, loss = min(evaluations[1:], key=lambda e: e[1])
            self.assertNotEqual(best, 3)
            result = self.out / kind / kind
            model = ["--model", result] if kind == "model" else ["--model", TINY, "--adapter", result]
            actual = json.loads(self.csm("eval", *model, "--conversation", TALK, "--json")[0])["loss"]
            self.assertAlmostEqual(actual, loss, delta=1e-4 * loss)
        more = ["--save-steps", "3", "--eval-steps", "2", "--eval-data", TALK, "--load-best-model-at-end"]
        self.assertIn("multiple", self.fails(*self.arguments("other", *more), status=2))

    def test_samples_that_cannot_be_written_cost_no_steps(self):
        (self.out / "run").mkdir()
        (self.out / "run" / "samples").write_text("no folder")
        _, err = self.csm(*self.arguments("run", "--max-steps", "2", "--save-steps", "1"))
        self.assertIn("no samples or report", err)
        self.assertTrue((self.out / "run" / "model" / "model.safetensors").exists())

    def test_eval_takes_what_train_takes(self):
        """More conversations than go through at once: means over all their positions."""
        talks = absolute(load_json(TALK), TALK.parent)
        file = self.out / "talk.jsonl"
        file.write_text("".join(json.dumps(talk) + "\n" for talk in talks * 7))
        arguments = ["eval", "--model", TINY, "--json", "--grad-norms", "--conversation"]
        many, once = (json.loads(self.csm(*arguments, data)[0]) for data in (file, TALK))
        self.assertAlmostEqual(many["loss"], once["loss"], delta=1e-5 * once["loss"])
        for name, norm in once["grad_norms"].items():
            self.assertAlmostEqual(many["grad_norms"][name], norm, delta=1e-4 * norm + 1e-7)

    def test_devices(self):
        """A machine without CUDA says so; the CPU may be named."""
        arguments = ["eval", "--model", TINY, "--conversation", TALK, "--json", "--device"]
        self.assertEqual(self.csm(*arguments, "cpu")[0], self.csm(*arguments[:-1])[0])
        self.assertIn("cuda:N", self.fails(*arguments, "tpu"))
        if not pathlib.Path("/dev/nvidia0").exists():
            self.assertIn("device cuda", self.fails(*arguments, "cuda"))
            self.assertIn("device cuda", self.fails(*self.arguments("run", "--device", "cuda:1")))

    def test_turns_that_are_context(self):
        """"train": false leaves a turn's audio out, as --train-on last does all but the last."""
        talks = absolute(load_json(TALK), TALK.parent)
        for talk in talks:
            for message in talk[:-1]:
                message["train"] = False
        file = self.out / "talk.json"
        file.write_text(json.dumps(talks))
        arguments = ["eval", "--model", TINY, "--json", "--conversation"]
        expected = self.csm(*arguments, TALK, "--train-on", "last")[0]
        self.assertEqual(self.csm(*arguments, file)[0], expected)
        self.assertEqual(self.csm(*arguments, file, "--train-on", "last")[0], expected)
        self.assertNotEqual(self.csm(*arguments, TALK)[0], expected)
        for value, word in ((False, "train"), ("no", "train is a string")):
            for talk in talks:
                talk[-1]["train"] = value
            file.write_text(json.dumps(talks))
            self.assertIn(word, self.fails(*arguments, file))

    def test_gradient_checkpointing(self):
        """It takes other memory, but gives the same bits; with dropout and autocast too."""
        for more in ([], ["--lora-r", "2", "--lora-dropout", "0.2", "--bf16"]):
            lines = []
            for flag in ([], ["--gradient-checkpointing"]):
                run = f"run{len(more)}{len(flag)}"
                self.csm(*self.arguments(run, "--max-steps", "4", "--num-samples", "0", *more, *flag))
                lines.append([{**line, "frames_per_second": 0} for line in self.metrics(run)])
            self.assertEqual(lines[0], lines[1])

    def learns_in_parts_as_in_one(self, loss, *more):
        """12 steps, and in the run "parts" 5 and then the others."""
        more = [*more, "--lr-scheduler-type", "constant", "--num-samples", "0"]
        self.csm(*self.arguments("run", "--max-steps", "12", *more, rate="3e-3"))
        losses = [line[loss] for line in self.metrics("run")]
        self.assertLess(losses[-1], 0.9 * losses[0])
        parts = self.arguments("parts", *more, rate="3e-3")
        self.csm(*parts, "--max-steps", "5")
        self.csm(*parts, "--max-steps", "12", "--resume")
        self.assertEqual([line[loss] for line in self.metrics("parts")], losses)

    def test_muon_learns_and_resumes_exactly(self):
        self.learns_in_parts_as_in_one("loss", "--optim", "muon")
        other = self.arguments("parts", "--max-steps", "20", "--optim", "adamw_torch", "--resume")
        self.assertIn('optim "muon"', self.fails(*other))
        self.assertIn("there are adamw_torch, muon", self.fails(*self.arguments("other", "--optim", "sgd"), status=2))

    def test_guided_attention_and_code_noise(self):
        """The guided heads learn it; a resumed run draws the same noise."""
        self.learns_in_parts_as_in_one("attention_loss", "--guided-attention", "1", "--code-noise", "0.2")
        both = ["--guided-attention", "1", "--gradient-checkpointing"]
        self.assertIn("checkpointing", self.fails(*self.arguments("other", *both), status=2))

    def test_options_without_effect(self):
        for flags in (
            ["--lora-alpha", "8"], ["--eval-steps", "2"], ["--lora-r", "2", "--dtype", "f16"],
            ["--warmup-steps", "5", "--warmup-ratio", "0.1"], ["--max-steps", "2", "--num-train-epochs", "1"],
        ):  # fmt: skip
            self.assertIn("no effect", self.fails(*self.arguments("run", *flags), status=2))
        config = self.out / "options.yml"
        config.write_text("lora_dropout: 0.1\n")
        self.assertIn("no effect", self.fails(*self.arguments("run", "--config", config), status=2))
        self.fails(*self.arguments("run", "--train-on", "first"), status=2)

    def test_options_in_yaml(self):
        config = self.out / "options.yaml"
        config.write_text("# of HF's Trainer\nmax_steps: 2\nlearning_rate: 1e-4\nlr_scheduler_type: 'constant'\nbf16: true\n")
        arguments = ["train", "--model", TINY, "--train-data", TALK, "--logging-steps", "1", "--num-samples", "0"]
        self.csm(*arguments, "--output", self.out / "run", "--config", config)
        self.assertEqual([line["learning_rate"] for line in self.metrics("run")], [1e-4, 1e-4])
        bomb = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else '1'] * 10)}]\n" for i in range(9))
        for bad, word in (
            ("max_steps: '2'", "max_steps"), ("max_steps: [", "line"), ("- a", "object"), ("a: 1\na: 2", "twice"),
            ("bf16: maybe", "bf16"), ("max_steps: 1\n---\nmax_steps: 2", "documents"), (bomb, "values"), ("max_steps:", "null"), ("x: &x [*x]", "deeper"), ("? [a]\n: b", "key"),
        ):  # fmt: skip
            with self.subTest(bad):
                config.write_text(bad + "\n")
                self.assertIn(word, self.fails(*arguments, "--output", self.out / "other", "--config", config))

    def test_nothing_to_resume(self):
        self.assertIn("no checkpoint", self.fails(*self.arguments("run", "--resume")))


class Adapter(CsmTest):
    """An adapter that the peft package made, in every build."""

    ADAPTER = GOLDENS / "adapter"
    TALK = ["--conversation", TINY / "context" / "conversation.json", "--greedy", "--max-new-tokens", "8", "--codes", "-"]

    def codes(self, *arguments):
        return json.loads(self.csm("generate", *self.TALK, *arguments)[0])["sequences"]

    def test_the_codes_are_those_of_peft(self):
        expected = load_json(self.ADAPTER / "codes.json")["sequences"]
        self.assertEqual(self.codes("--model", TINY, "--adapter", self.ADAPTER), expected)
        self.assertNotEqual(self.codes("--model", TINY), expected)

    @with_torch
    def test_merged(self):
        merged = ["merge", "--model", TINY, "--adapter", self.ADAPTER, "--output", self.out / "m"]
        self.csm(*merged, "--dtype", "f32")
        self.assertEqual(
            self.codes("--model", self.out / "m"), load_json(self.ADAPTER / "codes.json")["sequences"]
        )
        self.assertIn("not empty", self.fails(*merged))

    def refused(self, adapter, model=TINY):
        return self.fails("generate", *self.TALK, "--model", model, "--adapter", adapter)

    def test_what_does_not_fit(self):
        self.assertIn("adapts", self.refused(self.ADAPTER, TINY.parent / "untied-biased"))
        self.refused(self.out / "missing")
        folder = self.out / "adapter"
        shutil.copytree(self.ADAPTER, folder)
        config = load_json(folder / "adapter_config.json")
        for key, value in (
            ("r", 5), ("r", None), ("r", 0), ("rank_pattern", {"q_proj": 7}), ("alpha_pattern", 5), ("peft_type", None),
            ("use_dora", True), ("bias", "all"), ("lora_alpha", "7"), ("init_lora_weights", "pissa"), ("modules_to_save", ["lm_head"]), ("peft_type", "IA3"), ("bias", 3),
        ):  # fmt: skip
            with self.subTest(key):
                (folder / "adapter_config.json").write_text(json.dumps({**config, key: value}))
                self.assertRegex(self.refused(folder), "adapter_config.json")
        (folder / "adapter_config.json").write_text(json.dumps(config))
        tensors = Safetensors(folder / "adapter_model.safetensors")
        entry = "base_model.model.backbone_model.layers.0.self_attn.q_proj.lora_B.weight"
        tensors.header[entry.replace("lora_B", "lora_C")] = tensors.header.pop(entry)
        tensors.save(folder / "adapter_model.safetensors")
        self.assertIn("lora_", self.refused(folder))

    def test_on_a_quantized_model(self):
        """The term stays one; what it adds is what it adds to the weights as they were."""
        file = self.out / "a.gguf"
        self.csm("quantize", "--model", TINY, "--type", "q8_0", "--output", file)
        talk = ["--conversation", TINY / "context" / "conversation.json", "--json"]

        def logits(*arguments):
            return json.loads(self.csm("forward", *talk, "--model", *arguments)[0])["first_logits"][0]

        def distance(a, b):
            return max(abs(x - y) for x, y in zip(a, b, strict=True))

        plain, adapted = logits(TINY), logits(TINY, "--adapter", self.ADAPTER)
        quantized, both = logits(file), logits(file, "--adapter", self.ADAPTER)
        self.assertGreater(distance(plain, adapted), 4 * distance(plain, quantized))
        # As near as a quantized model of the sums is, where training is built in to make one.
        if HAS_TORCH:
            self.csm("merge", "--model", TINY, "--adapter", self.ADAPTER, "--output", self.out / "m")
            self.csm("quantize", "--model", self.out / "m", "--type", "q8_0", "--output", self.out / "m.gguf")
            error = distance(adapted, logits(self.out / "m.gguf"))
            self.assertLess(distance(adapted, both), 1.5 * error + 0.5 * distance(plain, quantized))
        self.assertLess(distance(adapted, both), 0.2 * distance(plain, adapted))
        self.codes("--model", file, "--adapter", self.ADAPTER)
        # A voice belongs to the model that it was made with, adapter included.
        voice, said = self.out / "a.voice", self.out / "said.json"
        (turns,) = absolute([load_json(TINY / "context" / "conversation.json")[:2]], TINY / "context")
        said.write_text(json.dumps(turns))
        self.csm("voice", "create", "--model", file, "--adapter", self.ADAPTER, "--conversation", said, "--output", voice)
        arguments = ["generate", "--model", file, "--voice", voice, "--text", "Hi.", "--max-new-tokens", "2", "--codes", "-"]
        self.csm(*arguments, "--adapter", self.ADAPTER)
        self.fails(*arguments)
        # A table is no layer.
        folder = self.out / "adapter"
        shutil.copytree(self.ADAPTER, folder)
        tensors = Safetensors(folder / "adapter_model.safetensors")
        for part, shape in (("A", [1, 32]), ("B", [304, 1])):
            begin, end = len(tensors.body), len(tensors.body) + 4 * shape[0] * shape[1]
            tensors.header[f"base_model.model.embed_text_tokens.lora_{part}.weight"] = {
                "dtype": "F32", "shape": shape, "data_offsets": [begin, end],
            }  # fmt: skip
            tensors.body += b"\0\0\0\x3f" * (shape[0] * shape[1])
        tensors.save(folder / "adapter_model.safetensors")
        self.assertIn("embed_text_tokens", self.refused(folder, file))
