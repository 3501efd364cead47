"""csm voice, and csm generate --voice: what is said is what the whole conversation would give."""

import json
import shutil
import struct
import unittest

from harness import TINY, CsmTest, Safetensors, load_json

CONTEXT = TINY / "context"
LINE = "don't tell  ourselves\n a story"  # the last turn of random-tiny/context, speaker 0
OTHER = TINY.parent / "bf16-tied-backbone"


class VoiceTest(CsmTest):
    def setUp(self):
        super().setUp()
        self.whole = load_json(CONTEXT / "conversation.json")
        for message in self.whole:
            for item in message["content"]:
                if "path" in item:
                    item["path"] = str(CONTEXT / item["path"])
        self.turns = self.write("turns.json", self.whole[:-1])
        self.voice = self.out / "a.voice"

    def write(self, name, conversation):
        file = self.out / name
        file.write_text(json.dumps(conversation))
        return file

    def create(self, *more, model=TINY, voice=None):
        arguments = ["--model", model, "--conversation", self.turns, "--output", voice or self.voice]
        return self.csm("voice", "create", *arguments, *more)

    def codes(self, *arguments, model=TINY):
        out, _ = self.csm("generate", "--model", model, "--codes", "-", *arguments)
        return json.loads(out)["sequences"]

    def info(self):
        return json.loads(self.csm("voice", "info", self.voice, "--json")[0])


class Speaking(VoiceTest):
    def test_equals_the_whole_conversation(self):
        for kind in ([], ["--dtype", "f32"], ["--dtype", "q8_0"], ["--dtype", "q4"]):
            with self.subTest(kind):
                self.create(*kind)
                whole = ["--conversation", CONTEXT / "conversation.json", *kind]
                for how in (["--greedy"], ["--seed", "5", "--num-return-sequences", "2"]):
                    expected = self.codes(*whole, *how)
                    voice = ["--voice", self.voice, *kind, *how]
                    self.assertEqual(self.codes(*voice, "--text", LINE), expected)
                    self.assertEqual(self.codes(*voice, LINE), expected)  # no --text needed

    def test_equals_what_transformers_says(self):
        self.create()
        reference = load_json(CONTEXT / "reference.json")
        limit = str(reference["max_new_tokens"])
        said = self.codes("--voice", self.voice, LINE, "--greedy", "--max-new-tokens", limit)
        self.assertEqual(said, reference["sequences"])

    def test_batch(self):
        self.create()
        lines = [[{"role": role, "content": text}] for role, text in
                 (("0", "Hi."), ("1", "And what happened then?"), ("0", "Hi."))]  # fmt: skip
        lines.append([self.whole[0], self.whole[2]])  # a turn with audio comes after the voice's
        whole = self.write("whole.json", [self.whole[:-1] + line for line in lines])
        lines = self.write("lines.json", lines)
        for how in (["--greedy"], ["--seed", "5"]):
            said = self.codes("--voice", self.voice, "--conversation", lines, *how)
            self.assertEqual(said, self.codes("--conversation", whole, *how))

    def test_speaker(self):
        self.create()
        one = self.codes("--voice", self.voice, LINE, "--greedy", "--speaker", "1")
        self.assertNotEqual(one, self.codes("--voice", self.voice, LINE, "--greedy"))

    def test_a_folder_and_a_gguf_file_of_the_same_weights_are_one_model(self):
        for kind in ("bf16", "q8_0", "q4"):
            with self.subTest(kind):
                file = self.out / f"{kind}.gguf"
                self.csm("quantize", "--model", TINY, "--type", kind, "--output", file)
                self.create("--dtype", kind)
                expected = self.codes("--voice", self.voice, LINE, "--greedy", "--dtype", kind)
                said = self.codes("--voice", self.voice, LINE, "--greedy", model=file)
                self.assertEqual(said, expected)

    def test_special_tokens(self):
        self.whole[0]["content"][0]["text"] = "a<|end_of_text|>b"
        self.turns = self.write("special.json", self.whole[:-1])
        whole = self.write("whole.json", self.whole)
        for how in ([], ["--parse-special"]):
            self.create(*how)
            expected = self.codes("--conversation", whole, "--greedy", *how)
            self.assertEqual(self.codes("--voice", self.voice, LINE, "--greedy", *how), expected)
        arguments = ["--model", TINY, "--voice", self.voice, LINE, "--codes", self.out / "c.json"]
        self.assertIn("the ids differ, with parse_special off", self.fails("generate", *arguments))


class Info(VoiceTest):
    def test_json(self):
        _, err = self.create()
        info = self.info()
        ids = load_json(CONTEXT / "reference.json")["input_ids"][0]
        line = self.write("line.json", self.whole[-1:])
        line = json.loads(self.csm("tokenize", "--model", TINY, "--conversation", line, "--json")[0])
        self.assertEqual(info["positions"], len(ids) - len(line["input_ids"][0]))
        self.assertEqual(info["model"], "random-tiny")
        self.assertEqual((info["dtype"], info["precision"]), ("bf16", "exact"))
        self.assertEqual(info["bytes"], self.voice.stat().st_size)
        self.assertEqual([turn["text"] for turn in info["turns"]],
                         [message["content"][0]["text"] for message in self.whole[:-1]])  # fmt: skip
        self.assertEqual(sum(turn["frames"] for turn in info["turns"]), info["frames"])
        self.assertAlmostEqual(info["audio_seconds"], info["frames"] / 12.5)
        self.assertRegex(err, rf"a\.voice: 2 turns, .* s of audio, {info['positions']} positions")

    def test_text(self):
        self.create()
        text = self.csm("voice", "info", self.voice)[0].decode()
        self.assertIn('"random-tiny" (bf16, exact)', text)
        self.assertIn("speaker 1    ", text)

    def test_two_runs_give_the_same_file(self):
        self.create()
        self.create("--threads", "1", voice=self.out / "b.voice")
        self.assertEqual(self.voice.read_bytes(), (self.out / "b.voice").read_bytes())

    def test_any_safetensors_reader_reads_it(self):
        self.create()
        tensors = Safetensors(self.voice)
        info = self.info()
        width = tensors.header["layers.0.keys"]["shape"][1]
        self.assertEqual(tensors.header["input_ids"]["shape"], [info["positions"]])
        self.assertEqual(len(tensors.floats("layers.1.values")), info["positions"] * width)


class Refusals(VoiceTest):
    def create_fails(self, *more, conversation=None, output=None, **options):
        arguments = ["--model", TINY, "--conversation", conversation or self.turns]
        return self.fails("voice", "create", *arguments, "--output", output or self.out / "b.voice",
                          *more, **options)  # fmt: skip

    def speak_fails(self, *more, model=TINY, **options):
        arguments = ["--model", model, "--voice", self.voice, "--codes", self.out / "c.json"]
        return self.fails("generate", *arguments, *(more or [LINE]), **options)

    def test_conversations(self):
        line = {"role": "0", "content": "Hi."}
        for name, conversation, words in (
            ("no turns", [], "empty"),
            ("text only", [line, line], "has no audio"),
            ("a line at the end", self.whole, "message 2 is the last and has no audio"),
            ("a batch", [self.whole[:-1]], "a list of conversations"),
            ("missing audio", [{"role": "0", "content": [{"type": "text", "text": "a"},
                               {"type": "audio", "path": "missing.wav"}]}], "missing.wav"),
            ("too long", self.whole[:-1] * 100, "leaves no room for speech"),
        ):  # fmt: skip
            with self.subTest(name):
                file = self.write("bad.json", conversation)
                self.assertIn(words, self.create_fails(conversation=file))
        self.assertIn("missing.json", self.create_fails(conversation=self.out / "missing.json"))

    def test_outputs(self):
        audio = self.out / "turn.wav"
        shutil.copy(CONTEXT / "hello.wav", audio)
        self.whole[0]["content"][1]["path"] = str(audio)
        self.turns = self.write("turns.json", self.whole[:-1])
        self.create_fails(output=self.turns, status=2)
        self.create_fails(output=audio, status=2)
        self.create_fails(output="-", status=2)
        self.create_fails(output=self.out)
        self.create_fails(output=self.out / "missing" / "a.voice")
        self.create()
        self.voice.rename(self.out / "c.json")  # generate must not write over its own voice
        self.voice = self.out / "c.json"
        self.speak_fails(status=2)

    def test_other_models_by_name(self):
        self.create()
        made_with = f'{self.voice} was made with the model "random-tiny" (bf16), and '
        for other, words in ((OTHER, '"bf16-tied-backbone" reads its turns otherwise'),
                             (self.trained_on(), 'this is "trained-on" (bf16)')):  # fmt: skip
            with self.subTest(other):
                self.assertIn(made_with + words, self.speak_fails(model=other))
        sentence = self.speak_fails(LINE, "--dtype", "q8_0")
        self.assertRegex(sentence, r'"random-tiny" \(bf16\), and this is "random-tiny" \(q8_0')

    def trained_on(self):
        """random-tiny with one weight changed, as a model of another name."""
        model = self.out / "trained-on"
        shutil.copytree(TINY, model)
        tensors = Safetensors(TINY / "model.safetensors")
        entry = tensors.header["backbone_model.layers.1.mlp.down_proj.weight"]
        tensors.body[entry["data_offsets"][0]] ^= 1
        tensors.save(model / "model.safetensors")
        return model

    def test_another_tokenizer(self):
        model = self.out / "model"
        shutil.copytree(TINY, model)
        self.create(model=model)
        tokenizer = load_json(model / "tokenizer.json")
        vocabulary = tokenizer["model"]["vocab"]
        vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
        (model / "tokenizer.json").write_text(json.dumps(tokenizer))
        self.assertIn("the ids differ", self.speak_fails(model=model))

    def test_files_that_are_no_voices(self):
        self.create()
        data = self.voice.read_bytes()
        for broken in (b"", b"RIFF", data[:50], data[:-1], data[: len(data) // 2], data + b"x"):
            with self.subTest(len(broken)):
                self.voice.write_bytes(broken)
                self.assertIn("a.voice", self.speak_fails())
                self.assertIn("a.voice", self.fails("voice", "info", self.voice))
        self.voice.write_bytes((TINY / "model.safetensors").read_bytes())
        self.assertIn("is not a voice", self.speak_fails())
        self.voice.write_bytes(b"GGUF" + bytes(100))
        self.assertIn("is a GGUF file", self.speak_fails())
        self.voice.unlink()
        self.assertIn("a.voice", self.speak_fails())
        self.fails("voice", "info", self.out)

    def test_hostile_values(self):
        self.create()
        good = self.voice.read_bytes()
        for name, code, value in (("codes", "i", 60000), ("codes", "i", -5), ("input_ids", "i", 1 << 30),
                                  ("layers.0.keys", "f", float("nan"))):  # fmt: skip
            with self.subTest((name, value)):
                self.voice.write_bytes(good)
                tensors = Safetensors(self.voice)
                struct.pack_into("<" + code, tensors.body, tensors.header[name]["data_offsets"][0], value)
                tensors.save(self.voice)
                self.assertIn("a.voice", self.speak_fails())

    def test_too_long_with_the_line(self):
        self.create()
        self.assertIn("max_position_embeddings", self.speak_fails("speech " * 600))

    def test_usage(self):
        self.create()
        self.speak_fails("--speaker", "1", status=2)  # nothing to say
        self.fails("voice", status=2)
        self.assertIn("voice create, voice info", self.fails("voice", "make", status=2))
        self.fails("voice", "create", "--model", TINY, status=2)
        self.fails("voice", "info", status=2)
        self.fails("generate", "--model", TINY, "a", "--text", "b", "--codes", "-", status=2)
        self.assertIn("csm voice create --model", self.csm("voice", "create", "--help")[0].decode())

    def test_full_disk_leaves_no_file(self):
        self.create(voice="/dev/null")
        self.assertIn("/dev/full", self.create_fails(output="/dev/full"))


if __name__ == "__main__":
    unittest.main()
