"""Broken and malicious input: one sentence and a non-zero exit code, whatever it is, and no file
left behind."""

import json
import shutil
import struct
import unittest

from harness import TINY, CsmTest, Safetensors, load_json, write_wav

TEXT = ["--text", "Hello."]
DEEP = "[" * 100000 + "]" * 100000


class Conversations(CsmTest):
    def fails_on(self, conversation):
        file = self.out / "conversation.json"
        text = conversation if isinstance(conversation, str) else json.dumps(conversation)
        file.write_text(text)
        arguments = ["--model", TINY, "--conversation", file]
        self.fails("forward", *arguments, "--json")
        self.fails("tokenize", *arguments, "--json")
        return self.fails("generate", *arguments, "--codes", self.out / "c.json")

    def test_not_a_conversation(self):
        for text in ("", "{", "null", "7", '"text"', "[]", "[[]]", "{}", "[1, 2]", DEEP, "[" * 1000000):
            with self.subTest(text[:20]):
                self.fails_on(text)

    def test_messages(self):
        text = {"type": "text", "text": "Hello."}
        audio = {"type": "audio", "path": "missing.wav"}
        for name, messages in {
            "no role": [{"content": [text]}],
            "speaker is a word": [{"role": "user", "content": [text]}],
            "speaker is negative": [{"role": "-1", "content": [text]}],
            "speaker is empty": [{"role": "", "content": [text]}],
            "speaker is a list": [{"role": ["0"], "content": [text]}],
            "no content": [{"role": "0"}],
            "content is empty": [{"role": "0", "content": []}],
            "content is a number": [{"role": "0", "content": 7}],
            "unknown type": [{"role": "0", "content": [{"type": "image", "path": "x.png"}]}],
            "text is a number": [{"role": "0", "content": [{"type": "text", "text": 7}]}],
            "text is missing": [{"role": "0", "content": [{"type": "text"}]}],
            "audio is missing": [{"role": "0", "content": [text, audio]}, {"role": "1", "content": [text]}],
            "two texts": [{"role": "0", "content": [text, text]}],
            "nothing to say": [{"role": "0", "content": [audio]}],
        }.items():
            with self.subTest(name):
                self.fails_on(messages)

    def test_batch_names_the_row(self):
        good = [{"role": "0", "content": [{"type": "text", "text": "Hello."}]}]
        bad = [{"role": "zero", "content": [{"type": "text", "text": "Hello."}]}]
        self.assertIn("1", self.fails_on([good, bad]))

    def test_speaker_option(self):
        for speaker in ("bob", "", "-1", "1.5"):
            with self.subTest(speaker):
                arguments = ["--model", TINY, *TEXT, f"--speaker={speaker}"]
                self.fails("generate", *arguments, "--codes", self.out / "c.json")


class Audio(CsmTest):
    def fails_on(self, name, data):
        file = self.out / name
        file.write_bytes(data)
        conversation = self.out / "conversation.json"
        text = {"type": "text", "text": "Hello."}
        conversation.write_text(
            json.dumps(
                [
                    {"role": "0", "content": [text, {"type": "audio", "path": name}]},
                    {"role": "0", "content": [text]},
                ]
            )
        )
        arguments = ["--model", TINY, "--conversation", conversation]
        self.fails("generate", *arguments, "--codes", self.out / "c.json")
        return self.fails("encode", "--model", TINY, file, "--codes", self.out / "c.json")

    def wav(self, samples, rate=24000):
        write_wav(self.out / "made.wav", samples, rate)
        return (self.out / "made.wav").read_bytes()

    def test_files_that_are_not_audio(self):
        for data in (b"", b"RIFF", b"not audio at all", bytes(1000), b"RIFF\xff\xff\xff\xffWAVE"):
            with self.subTest(data[:10]):
                self.fails_on("a.wav", data)

    def test_no_samples(self):
        self.fails_on("a.wav", self.wav([]))

    def test_cut_short(self):
        data = self.wav([0.1] * 4000)
        self.fails_on("a.wav", data[: len(data) // 2])

    def test_not_finite(self):
        for value in (float("nan"), float("inf"), float("-inf")):
            with self.subTest(value):
                self.fails_on("a.wav", self.wav([0.0] * 99 + [value] + [0.0] * 99))

    def test_rates(self):
        for rate in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
            with self.subTest(rate):
                header = bytearray(self.wav([0.1] * 100))
                struct.pack_into("<I", header, 24, rate)
                self.fails_on("a.wav", bytes(header))

    def test_channels(self):
        for channels in (0, 0xFFFF):
            with self.subTest(channels):
                header = bytearray(self.wav([0.1] * 100))
                struct.pack_into("<H", header, 22, channels)
                self.fails_on("a.wav", bytes(header))


class Checkpoints(CsmTest):
    def setUp(self):
        super().setUp()
        self.model = self.out / "model"
        shutil.copytree(TINY, self.model, ignore=shutil.ignore_patterns("*.wav", "*.flac"))

    def fails_to_load(self):
        self.fails("info", "--model", self.model)
        arguments = ["--model", self.model, *TEXT]
        return self.fails("generate", *arguments, "--codes", self.out / "c.json")

    def write_header(self, header, body):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        data = struct.pack("<Q", len(text)) + text + body
        (self.model / "model.safetensors").write_bytes(data)

    def test_missing_files(self):
        for name in ("config.json", "model.safetensors"):
            with self.subTest(name):
                saved = (self.model / name).read_bytes()
                (self.model / name).unlink()
                self.assertIn(name, self.fails_to_load())
                (self.model / name).write_bytes(saved)

    def test_missing_model(self):
        for model in ("nowhere", "/dev/null", "", "a/b/c", "nobody/nothing"):
            with self.subTest(model):
                arguments = [f"--model={model}", *TEXT, "--codes", self.out / "c.json"]
                self.fails("generate", *arguments)

    def test_config_values(self):
        original = load_json(self.model / "config.json")
        for key, value in {
            "hidden_size": -32, "num_hidden_layers": 1 << 60, "num_codebooks": 0, "vocab_size": "big",
            "num_attention_heads": 0, "num_key_value_heads": 3, "head_dim": 7, "rms_norm_eps": [],
            "max_position_embeddings": -1, "intermediate_size": 1 << 62, "text_vocab_size": 2.5,
            "model_type": "llama", "depth_decoder_config": None, "codec_config": 3,
            "audio_token_id": 1 << 40, "codebook_eos_token_id": -1, "hidden_act": "tanh",
        }.items():  # fmt: skip
            with self.subTest(f"{key} = {value}"):
                config = json.dumps({**original, key: value})
                (self.model / "config.json").write_text(config)
                self.fails_to_load()

    def test_config_text(self):
        for text in ("", "{", "[]", "null", DEEP, '{"hidden_size": 1e999}', "\xff\xfe"):
            with self.subTest(text[:20]):
                (self.model / "config.json").write_text(text, encoding="latin-1")
                self.fails_to_load()

    def test_safetensors_cut_short(self):
        whole = (TINY / "model.safetensors").read_bytes()
        for size in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
            with self.subTest(size):
                (self.model / "model.safetensors").write_bytes(whole[:size])
                self.fails_to_load()

    def test_safetensors_header(self):
        tensors = Safetensors(TINY / "model.safetensors")
        for size in (1 << 63, (1 << 64) - 1, 1 << 40, 0):
            with self.subTest(size):
                data = struct.pack("<Q", size) + b"{}" + bytes(64)
                (self.model / "model.safetensors").write_bytes(data)
                self.fails_to_load()
        for text in (b"{}", b"[]", b"{", b"\xff" * 64, DEEP.encode()):
            with self.subTest(text[:10]):
                self.write_header(text, tensors.body)
                self.fails_to_load()

    def test_safetensors_entries(self):
        name = "lm_head.weight"
        tensors = Safetensors(TINY / "model.safetensors")
        entry = tensors.header[name]
        begin, end = entry["data_offsets"]
        rows, cols = entry["shape"]
        for change in (
            {"data_offsets": [begin, end - 2]}, {"data_offsets": [end, begin]},
            {"data_offsets": [-2, end]}, {"data_offsets": [begin, 1 << 62]},
            {"data_offsets": [begin + 2, end + 2]}, {"data_offsets": [0, end - begin]},
            {"data_offsets": [begin]}, {"data_offsets": "all"}, {"shape": [cols, rows]},
            {"shape": [-rows, -cols]}, {"shape": [1 << 62, 1 << 62]}, {"shape": [rows * cols]},
            {"shape": None}, {"dtype": "I64"}, {"dtype": "F32"}, {"dtype": 7},
        ):  # fmt: skip
            with self.subTest(str(change)):
                self.write_header({**tensors.header, name: {**entry, **change}}, tensors.body)
                self.fails_to_load()

    def test_tensors_by_name(self):
        name = "backbone_model.layers.1.mlp.down_proj.weight"
        tensors = Safetensors(TINY / "model.safetensors")
        tensors.header["backbone_model.surprise"] = tensors.header.pop(name)
        tensors.save(self.model / "model.safetensors")
        sentence = self.fails_to_load()
        self.assertIn(name, sentence)
        self.assertIn("backbone_model.surprise", sentence)

    def test_weights_that_are_not_numbers(self):
        tensors = Safetensors(TINY / "model.safetensors")
        tensors.body = bytearray(b"\xff" * len(tensors.body))  # NaN in bf16 and f32
        tensors.save(self.model / "model.safetensors")
        for target in ("c.json", "a.wav"):
            with self.subTest(target):
                option = "--codes" if target == "c.json" else "--output"
                arguments = ["--model", self.model, *TEXT, option, self.out / target]
                self.fails("generate", *arguments)
                self.fails("generate", *arguments, "--greedy")

    def test_generation_config(self):
        for text in ("{", "[]", '{"temperature": "hot"}', '{"do_sample": true, "top_k": -5}', '{"max_new_tokens": 0}'):
            with self.subTest(text):
                (self.model / "generation_config.json").write_text(text)
                arguments = ["--model", self.model, *TEXT, "--codes", self.out / "c.json"]
                self.fails("generate", *arguments)

    def test_tokenizer(self):
        original = load_json(self.model / "tokenizer.json")
        file = self.model / "tokenizer.json"
        for text in (
            "", "{", "[]", "{}", DEEP, json.dumps({**original, "model": {"type": "WordPiece"}}),
            json.dumps({**original, "model": {**original["model"], "vocab": {"a": -1}}}),
            json.dumps({**original, "model": {**original["model"], "merges": [["x"]]}}),
            json.dumps({**original, "model": {**original["model"], "merges": "a b"}}),
        ):  # fmt: skip
            with self.subTest(text[:10]):
                file.write_text(text)
                self.fails("tokenize", "--tokenizer", file, *TEXT, "--json")
                arguments = ["--model", self.model, *TEXT, "--codes", self.out / "c.json"]
                self.fails("generate", *arguments)


class CodesFiles(CsmTest):
    def test_decode(self):
        file = self.out / "codes.json"
        for text in (
            "", "[]", "{}", '{"sequences": 7}', '{"sequences": []}', '{"sequences": [7]}',
            '{"sequences": [[[]]]}', '{"sequences": [[[1], [1, 2]]]}', '{"sequences": [[[-1]]]}',
            '{"sequences": [[[64]]]}', '{"sequences": [[[1.5]]]}', '{"sequences": [[["1"]]]}',
            '{"sequences": [[[99999999999999999999]]]}', '{"sequences": [[[4294967296]]]}',
            '{"sequences": [[[0,0,0,0,0,0,0,0,0]]]}', DEEP,
        ):  # fmt: skip
            with self.subTest(text[:40]):
                file.write_text(text)
                self.fails("decode", "--model", TINY, file, "--output", self.out / "a.wav")

    def test_tokenize_file(self):
        file = self.out / "strings.json"
        for text in ("", "{}", '"a"', "[1]", '["a", null]', DEEP):
            with self.subTest(text[:10]):
                file.write_text(text)
                self.fails("tokenize", "--model", TINY, "--file", file, "--json")


class Targets(CsmTest):
    def test_outputs_that_cannot_be_written(self):
        for target in (self.out / "missing" / "a.wav", self.out, "/dev/null", "/proc/a.wav"):
            with self.subTest(str(target)):
                self.fails("generate", "--model", TINY, *TEXT, "--output", target)
        self.fails("generate", "--model", TINY, *TEXT, "--codes", self.out / "missing" / "c.json")

    def test_unknown_formats(self):
        for name in ("a", "a.xyz", "a.wave", ".wav"):
            with self.subTest(name):
                self.fails("generate", "--model", TINY, *TEXT, "--output", self.out / name)
        arguments = ["--model", TINY, *TEXT, "--output", self.out / "a.ogg"]
        self.fails("generate", *arguments, "--subtype", "PCM_24")

    def test_a_failure_leaves_an_earlier_result_alone(self):
        target = self.out / "a.wav"
        target.write_text("precious")
        self.fails("generate", "--model", self.out / "nowhere", *TEXT, "--output", target)
        self.fails("generate", "--model", TINY, "--text", "a" * 10000, "--output", target)
        self.assertEqual(target.read_text(), "precious")

    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            for arguments in (
                ["tokenize", "--model", TINY, *TEXT, "--json"],
                ["generate", "--model", TINY, *TEXT, "--codes", "-"],
                ["generate", "--model", TINY, *TEXT, "--output", "-"],
                ["info", "--model", TINY],
            ):
                with self.subTest(arguments[0]):
                    process = self.start(*arguments, stdout=full)
                    _, err = process.communicate(timeout=60)
                    self.assertEqual(process.returncode, 1)
                    self.assertIn(b"No space left on device", err)


class Usage(CsmTest):
    def test_usage_errors(self):
        model = ["--model", TINY]
        for arguments in (
            [], ["sing"], ["generate", "--unknown"], ["generate", *model, "--codes", "c.json"],
            ["generate", *model, *TEXT], ["generate", *model, *TEXT, "--num-beams", "2"],
            ["generate", *model, *TEXT, "--text-file", "x", "--codes", "c.json"],
            ["generate", *model, "--conversation", "x", "--speaker", "1", "--codes", "c.json"],
            ["generate", *model, *TEXT, "--output", "a.wav", "--subtype", "PCM_8"],
            ["encode", *model], ["decode", *model, "c.json"], ["tokenize", *model, "--json"],
            ["tokenize", *model, "--tokenizer", "x", *TEXT], ["forward", *model, "--json"],
        ):  # fmt: skip
            with self.subTest(" ".join(map(str, arguments))):
                self.fails(*arguments, status=2)

    def test_help(self):
        for command in ("generate", "encode", "decode", "tokenize", "forward", "info", "verify"):
            out, err = self.csm(command, "--help")
            self.assertIn(f"csm {command}", out.decode())
            self.assertEqual(err, "")


if __name__ == "__main__":
    unittest.main()
