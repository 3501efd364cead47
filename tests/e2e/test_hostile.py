"""Broken and malicious input: one sentence and a non-zero exit code, whatever it is, and no file
left behind."""

import json
import os
import pathlib
import resource
import shutil
import signal
import struct
import time
import unittest

from harness import TINY, CsmTest, Safetensors, load_json, not_emulated, write_wav

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
        self.fails("generate", "--model=", *TEXT, "--codes", self.out / "c.json", status=2)
        for model in ("nowhere", "/dev/null", "a/b/c", "nobody/nothing"):
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

    def spoil(self, name):
        """Makes one tensor NaN."""
        tensors = Safetensors(TINY / "model.safetensors")
        begin, end = tensors.header[name]["data_offsets"]
        tensors.body[begin:end] = b"\xff" * (end - begin)
        tensors.save(self.model / "model.safetensors")

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

    def test_codec_weights_that_are_not_numbers(self):
        wav = self.out / "in.wav"
        write_wav(wav, [0.1, -0.2] * 2000, 24000)
        for name in (
            "codec_model.encoder.layers.0.conv.weight",
            "codec_model.downsample.conv.weight",
            "codec_model.quantizer.acoustic_residual_vector_quantizer.layers.0.codebook.embed_sum",
        ):
            with self.subTest(name):
                self.spoil(name)
                self.fails("encode", "--model", self.model, wav, "--codes", self.out / "c.json")
        self.spoil("codec_model.decoder.layers.0.conv.weight")
        said = self.fails("generate", "--model", self.model, *TEXT, "--output", self.out / "a.wav")
        self.assertIn("the codec computed audio that is not finite", said)

    def test_logits_that_are_not_numbers(self):
        self.spoil("lm_head.weight")
        conversation = self.out / "conversation.json"
        conversation.write_text('[{"role": "0", "content": [{"type": "text", "text": "a"}]}]')
        self.fails("forward", "--model", self.model, "--conversation", conversation, "--json")

    def test_a_pointer_of_git_lfs(self):
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 6000000000\n"
        (self.model / "model.safetensors").write_text(pointer)
        self.assertIn("git lfs pull", self.fails_to_load())

    def test_sesame_without_a_config(self):
        (self.model / "config.json").unlink()
        tensors = Safetensors(TINY / "model.safetensors")
        name, entry = next(iter(tensors.header.items()))
        if name == "__metadata__":
            name, entry = list(tensors.header.items())[1]
        size = entry["data_offsets"][1] - entry["data_offsets"][0]
        tensors.body = tensors.body[:size]
        tensors.header = {"codebook0_head.weight": {**entry, "data_offsets": [0, size]}}
        tensors.save(self.model / "model.safetensors")
        self.assertIn("Sesame's original layout", self.fails_to_load())

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

    def test_a_bad_sequence_leaves_the_good_ones_unwritten(self):
        file = self.out / "codes.json"
        file.write_text('{"sequences": [[[1]], [[1], [64]]]}')
        said = self.fails("decode", "--model", TINY, file, "--output", self.out / "a.wav")
        self.assertIn("codes.json: sequence 1, frame 1, codebook 0 has code 64", said)


class Targets(CsmTest):
    def test_outputs_that_cannot_be_written(self):
        for target in (self.out / "missing" / "a.wav", self.out, "/dev/null", "/proc/a.wav"):
            with self.subTest(str(target)):
                self.fails("generate", "--model", TINY, *TEXT, "--output", target)
        self.fails("generate", "--model", TINY, *TEXT, "--codes", self.out / "missing" / "c.json")

    def test_a_pipe_is_no_audio_file(self):
        pipe = self.out / "pipe.wav"
        os.mkfifo(pipe)
        said = self.fails("generate", "--model", TINY, *TEXT, "--output", pipe)
        self.assertIn("pipe.wav: it is a pipe", said)

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

    def test_outputs_that_would_overwrite_each_other_or_an_input(self):
        wav, codes = self.out / "a.wav", self.out / "c.json"
        write_wav(wav, [0.0] * 2000, 24000)
        talk = self.out / "talk.json"
        audio = {"type": "audio", "path": "a.wav"}
        turn = {"role": "0", "content": [{"type": "text", "text": "a"}]}
        talk.write_text(json.dumps([{"role": "0", "content": [*turn["content"], audio]}, turn]))
        codes.write_text('{"sequences": [[[1]]]}')
        model = ["--model", TINY]
        (self.out / "link.json").symlink_to("talk.json")
        for arguments in (
            ["generate", *model, *TEXT, "--output", self.out / "b.wav", "--codes", self.out / "b.wav"],
            ["generate", *model, *TEXT, "--codes", codes, "--timing-json", self.out / "." / "c.json"],
            ["generate", *model, *TEXT, "--codes", "-", "--timing-json", "-"],
            ["generate", *model, "--conversation", talk, "--codes", talk],
            ["generate", *model, "--conversation", talk, "--codes", self.out / "link.json"],
            ["generate", *model, "--conversation", talk, "--output", wav],
            ["encode", *model, wav, "--codes", wav],
            ["tokenize", *model, "--conversation", talk, "--no-special"],
            ["generate", *model, *TEXT, "--codes", codes, "--subtype", "PCM_24"],
        ):
            with self.subTest(" ".join(map(str, arguments))):
                before = wav.read_bytes(), talk.read_bytes(), codes.read_bytes()
                self.fails(*arguments, status=2)
                self.assertEqual((wav.read_bytes(), talk.read_bytes(), codes.read_bytes()), before)

    def test_a_models_files_are_not_overwritten(self):
        folder, file = self.out / "m", self.out / "m.gguf"
        shutil.copytree(TINY, folder)
        self.csm("quantize", "--model", TINY, "--type", "f16", "--output", file)
        talk = TINY / "context" / "conversation.json"
        write_wav(self.out / "a.wav", [0.0] * 2000, 24000)

        def contents():
            return [path.read_bytes() for path in sorted(self.out.rglob("*")) if path.is_file()]

        for arguments in (
            ["generate", "--model", file, *TEXT, "--codes", file],
            ["generate", "--model", folder, *TEXT, "--codes", folder / "tokenizer.json"],
            ["generate", "--model", folder, *TEXT, "--codes", "c", "--timing-json", folder / "config.json"],
            ["voice", "create", "--model", file, "--conversation", talk, "--output", file],
            ["encode", "--model", file, self.out / "a.wav", "--codes", file],
            ["bench", "--model", file, "--quick", "--json", file],
        ):
            with self.subTest(" ".join(map(str, arguments))):
                before = contents()
                self.assertIn("is a file of the model", self.fails(*arguments, status=2))
                self.assertEqual(contents(), before)

    def test_results_may_stand_beside_a_model(self):
        shutil.copytree(TINY, self.out / "m")
        for _ in range(2):
            self.csm("generate", "--model", self.out / "m", *TEXT, "--codes", self.out / "m" / "codes.json")

    def test_open_files_are_written_where_they_stand(self):
        arguments = ["generate", "--model", TINY, *TEXT, "--max-new-tokens", "2", "--greedy", "--codes"]
        expected = self.csm(*arguments, "-")[0]
        self.assertEqual(self.csm(*arguments, "/dev/stdout")[0], expected)  # a pipe
        log = self.out / "log"
        log.write_text("precious\n")
        with log.open("ab") as out:
            self.csm(*arguments, "/dev/stdout", stdout=out)
            self.csm(*arguments, "/proc/self/fd/1", stdout=out)
        self.assertEqual(log.read_bytes(), b"precious\n" + 2 * expected)

    def test_every_target_of_a_batch_is_checked_before_the_work(self):
        (self.out / "a_1.wav").mkdir()
        more = ["--do-sample", "true", "--num-return-sequences", "2"]
        self.fails("generate", "--model", TINY, *TEXT, *more, "--output", self.out / "a.wav")

    def test_links_and_devices(self):
        short = ["generate", "--model", TINY, *TEXT, "--max-new-tokens", "1", "--codes"]
        (self.out / "folder").mkdir()
        link = self.out / "link.json"
        link.symlink_to("folder/real.json")
        for _ in range(2):  # the file is not there at first
            self.csm(*short, link)
            self.assertTrue(link.is_symlink())
            self.assertIn("sequences", load_json(self.out / "folder" / "real.json"))
        (self.out / "folder" / "real.json").chmod(0o600)
        self.csm(*short, link)
        self.assertEqual((self.out / "folder" / "real.json").stat().st_mode & 0o777, 0o600)
        self.csm(*short, "/dev/null")
        self.assertTrue(pathlib.Path("/dev/null").is_char_device())
        self.csm(*short, self.out / ("n" * 250 + ".json"))

    def test_messages_that_cannot_be_written_change_nothing(self):
        arguments = ["generate", "--model", TINY, *TEXT, "--max-new-tokens", "2", "--codes"]
        self.csm(*arguments, self.out / "0.json", "--greedy")
        expected = (self.out / "0.json").read_bytes()
        with open("/dev/full", "wb") as full:
            self.assertEqual(self.start(*arguments, "-", "--greedy", stderr=full).communicate()[0], expected)
            process = self.start("info", "--model", self.out / "nowhere", stderr=full)
            process.communicate(timeout=60)
            self.assertEqual(process.returncode, 1)
        for closed in (1, 2):
            with self.subTest(f"{closed} is closed"):
                target = self.out / f"{closed}.json"
                process = self.start(*arguments, target, "--greedy", preexec_fn=lambda: os.close(closed))
                process.communicate(timeout=60)
                self.assertEqual(process.returncode, 0)
                self.assertEqual(target.read_bytes(), expected)
        process = self.start(*arguments, "-", "--greedy", preexec_fn=lambda: os.close(1))
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)

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

    def test_empty_names(self):
        """As a script's variable that is not set gives them."""
        generate = ["generate", "--model", TINY, *TEXT]
        for arguments in (
            [*generate, "--output", ""], [*generate, "--codes", "c.json", "--voice", ""],
            [*generate, "--codes", "c.json", "--adapter="], [*generate, "--codes", "c.json", "--timing-json", ""],
            ["encode", "--model", TINY, "", "--codes", "c.json"], ["voice", "create", "--conversation", "x", "--output", ""],
        ):  # fmt: skip
            with self.subTest(" ".join(map(str, arguments))):
                self.assertIn("is empty", self.fails(*arguments, status=2))

    def test_what_is_to_be_ignored_is(self):
        """nohup, and the background jobs of scripts, have signals ignored."""

        def ignore():
            for each in (signal.SIGHUP, signal.SIGINT):
                signal.signal(each, signal.SIG_IGN)

        more = ["--num-return-sequences", "8", "--do-sample", "true", "--max-new-tokens", "50", "--codes"]
        process = self.start("generate", "--model", TINY, *TEXT, *more, self.out / "c.json", preexec_fn=ignore)
        while process.poll() is None:
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGINT)
            time.sleep(0.01)
        process.communicate()
        self.assertEqual(process.returncode, 0)
        self.assertEqual(len(load_json(self.out / "c.json")["sequences"]), 8)

    def test_unknown_command(self):
        self.assertRegex(self.fails("sing", status=2), "no command 'sing'; there are generate, ")

    def test_help(self):
        for command in ("generate", "encode", "decode", "tokenize", "forward", "info", "verify", "quantize", "bench"):
            out, err = self.csm(command, "--help")
            self.assertIn(f"csm {command}", out.decode())
            self.assertEqual(err, "")




class Limits(CsmTest):
    """What the system refuses."""

    @not_emulated
    def test_more_threads_than_the_system_gives(self):
        """A terabyte of stack for each: the address space ends before the thousandth."""

        def huge_stacks():
            hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
            resource.setrlimit(resource.RLIMIT_STACK, (1 << 40, hard))

        if resource.getrlimit(resource.RLIMIT_STACK)[1] != resource.RLIM_INFINITY:
            self.skipTest("the size of stacks is limited here")
        codes = ["--codes", self.out / "c.json", "--threads", "1000"]
        said = self.fails("generate", "--model", TINY, *TEXT, *codes, preexec_fn=huge_stacks)
        self.assertRegex(said, "of 1000 threads")


if __name__ == "__main__":
    unittest.main()
