"""Options of csm generate, and what it writes."""

import json
import os
import shutil
import struct
import unittest

from harness import TINY, CsmTest, Safetensors, Wav, load_json, read_wav

TEXT = "The past is just a story we tell ourselves."  # of random-tiny/plain
PLAIN = TINY / "plain" / "conversation.json"
BATCH = TINY / "batch" / "conversation.json"
FRAME = 1920  # samples


class GenerateTest(CsmTest):
    def generate(self, *arguments, **options):
        """Standard output and error of a run on random-tiny."""
        return self.csm("generate", "--model", TINY, *arguments, **options)

    def codes(self, *arguments, **options):
        target = self.out / "codes.json"
        self.generate("--codes", target, *arguments, **options)
        return load_json(target)["sequences"]


class Prompts(GenerateTest):
    def setUp(self):
        super().setUp()
        self.expected = self.codes("--conversation", PLAIN, "--greedy")

    def test_text(self):
        self.assertEqual(self.codes("--greedy", "--text", TEXT), self.expected)

    def test_text_that_looks_like_an_option(self):
        self.assertNotEqual(self.codes("--greedy", "--text=--help"), self.expected)

    def test_text_file_without_its_final_line_break(self):
        file = self.out / "text.txt"
        file.write_text(TEXT + "\n")
        self.assertEqual(self.codes("--greedy", "--text-file", file), self.expected)

    def test_byte_order_mark(self):
        file = self.out / "text.txt"
        file.write_text("\ufeff" + TEXT, encoding="utf-8")
        self.assertEqual(self.codes("--greedy", "--text-file", file), self.expected)

    def test_standard_input(self):
        codes = self.codes("--greedy", "--text", "-", stdin=TEXT.encode())
        self.assertEqual(codes, self.expected)

    def test_conversation_from_a_pipe(self):
        source = PLAIN.read_bytes()
        codes = self.codes("--greedy", "--conversation", "/dev/stdin", stdin=source)
        self.assertEqual(codes, self.expected)

    def test_codes_instead_of_audio(self):
        talk = load_json(TINY / "context" / "conversation.json")
        file = self.out / "talk.json"
        for message in talk[:2]:
            audio = message["content"][1]
            encoded = self.csm("encode", "--model", TINY, TINY / "context" / audio.pop("path"), "--codes", "-")[0]
            audio["codes"] = json.loads(encoded)["sequences"][0]
        file.write_text(json.dumps(talk))
        expected = self.codes("--conversation", TINY / "context" / "conversation.json", "--greedy")
        self.assertEqual(self.codes("--conversation", file, "--greedy"), expected)
        for wrong, word in (([[1] * 7], "7 codebooks"), ([[1] * 7 + [999]], "999")):
            talk[0]["content"][1]["codes"] = wrong
            file.write_text(json.dumps(talk))
            self.assertIn(word, self.fails("generate", "--model", TINY, "--conversation", file, "--output", self.out / "o.wav"))

    def test_speaker(self):
        codes = self.codes("--greedy", "--text", TEXT, "--speaker", "1")
        self.assertNotEqual(codes, self.expected)

    def test_empty_text(self):
        scenario = load_json(TINY / "empty" / "reference.json")
        limit = str(scenario["max_new_tokens"])
        codes = self.codes("--greedy", "--text=", "--max-new-tokens", limit)
        self.assertEqual(codes, scenario["sequences"])

    def test_model_from_the_environment(self):
        target = self.out / "codes.json"
        arguments = ["--greedy", "--text", TEXT, "--codes", target]
        self.csm("generate", *arguments, env={"CSM_MODEL": str(TINY)})
        self.assertEqual(load_json(target)["sequences"], self.expected)

    def test_threads_and_type_do_not_matter(self):
        for option in (["--threads", "1"], ["--threads", "3"], ["--dtype", "f32"]):
            with self.subTest(option):
                codes = self.codes("--greedy", "--text", TEXT, *option)
                self.assertEqual(codes, self.expected)


class Sampling(GenerateTest):
    def test_seed(self):
        first = self.codes("--text", TEXT, "--seed", "7")
        self.assertEqual(self.codes("--text", TEXT, "--seed", "7"), first)
        self.assertNotEqual(self.codes("--text", TEXT, "--seed", "8"), first)

    def test_random_seed_is_said_and_gives_the_same_again(self):
        target = self.out / "codes.json"
        _, err = self.generate("--text", TEXT, "--codes", target)
        first = load_json(target)["sequences"]
        self.assertRegex(err, r"--seed \d+ gives the same again")
        seed = err.split("--seed ")[1].split()[0]
        self.assertEqual(self.codes("--text", TEXT, "--seed", seed), first)

    def test_the_two_samplers_are_set_apart(self):
        greedy = self.codes("--text", TEXT, "--greedy")
        off = ["--do-sample", "false", "--depth-decoder-do-sample", "false"]
        self.assertEqual(self.codes("--text", TEXT, *off), greedy)
        # The depth decoder alone draws: the first frame's code 0 is the greedy one.
        depth = self.codes("--text", TEXT, "--do-sample", "false", "--seed", "1")
        self.assertEqual(depth[0][0][0], greedy[0][0][0])
        self.assertNotEqual(depth[0][0], greedy[0][0])
        # Keeping one code is greedy, whatever is drawn.
        one = ["--top-k", "1", "--depth-decoder-top-k", "1", "--seed", "1"]
        self.assertEqual(self.codes("--text", TEXT, *one), greedy)

    def test_unused_options_are_said(self):
        arguments = ["--text", TEXT, "--greedy", "--codes", self.out / "c.json"]
        _, err = self.generate(*arguments, "--temperature", "0.5", "--depth-decoder-top-p", "0.5")
        self.assertIn("--temperature is not used", err)
        self.assertIn("--depth-decoder-top-p is not used", err)
        self.assertNotIn("--seed", err)

    def test_values_out_of_range(self):
        for option in (
            ["--temperature", "0"], ["--temperature", "-1"], ["--temperature", "nan"],
            ["--top-p", "1.5"], ["--top-k", "-1"], ["--min-p", "2"], ["--typical-p", "0"],
            ["--depth-decoder-temperature", "0"], ["--max-new-tokens", "0"],
            ["--num-return-sequences", "0"], ["--max-new-tokens", "99999999999999999999"],
            ["--top-k", "five"], ["--seed", "-1"], ["--threads", "0"], ["--dtype", "int8"],
            ["--do-sample", "perhaps"], ["--greedy", "--do-sample", "true"],
        ):  # fmt: skip
            with self.subTest(option):
                arguments = ["--model", TINY, "--text", TEXT, "--codes", self.out / "c.json"]
                self.fails("generate", *arguments, *option, status=2)


class Lengths(GenerateTest):
    def frames(self, *arguments):
        return [len(sequence) for sequence in self.codes("--greedy", *arguments)]

    def test_limit_is_said_with_the_option_that_lifts_it(self):
        target = self.out / "codes.json"
        arguments = ["--text", TEXT, "--greedy", "--max-new-tokens", "3", "--codes", target]
        _, err = self.generate(*arguments)
        self.assertIn("ended at the limit of 3 frames: raise --max-new-tokens", err)
        self.assertEqual(load_json(target)["finish_reason"], ["length"])

    def test_max_length_counts_the_prompt(self):
        prompt = len(load_json(TINY / "plain" / "reference.json")["input_ids"][0])
        self.assertEqual(self.frames("--text", TEXT, "--max-length", str(prompt + 4)), [4])
        self.fails(
            "generate", "--model", TINY, "--text", TEXT, "--max-length", str(prompt),
            "--codes", self.out / "c.json",
        )  # fmt: skip

    def test_frames_beyond_the_positions(self):
        positions = load_json(TINY / "config.json")["max_position_embeddings"]
        target = self.out / "c.json"
        arguments = ["--model", TINY, "--greedy", "--codes", target]
        # A number that was asked for is refused, with both numbers …
        sentence = self.fails(
            "generate", *arguments, "--text", TEXT, "--max-new-tokens", str(positions)
        )
        self.assertIn(str(positions), sentence)
        self.assertIn("--max-new-tokens", sentence)
        # … the checkpoint's own is lowered …
        text = "a" * (positions - 20)
        _, err = self.csm("generate", *arguments, "--text", text)
        self.assertRegex(err, r"at most \d+ frames instead of 50")
        # … and a prompt that leaves no room is refused.
        target.unlink()
        sentence = self.fails("generate", *arguments, "--text", "a" * 100000)
        self.assertIn("100005", sentence)
        self.assertIn(str(positions), sentence)


class Outputs(GenerateTest):
    def test_wav_types_hold_the_same_samples(self):
        wavs = {}
        for subtype in ("FLOAT", "PCM_16", "PCM_24"):
            target = self.out / f"{subtype}.wav"
            self.generate("--text", TEXT, "--greedy", "--subtype", subtype, "--output", target)
            wavs[subtype] = read_wav(target)
            self.assertEqual(wavs[subtype].subtype, subtype)
        samples = wavs["FLOAT"].floats()
        self.assertGreater(len(samples), 0)
        self.assertEqual(len(samples) % FRAME, 0)
        for subtype, scale in (("PCM_16", 1 << 15), ("PCM_24", 1 << 23)):
            for integer, sample in zip(wavs[subtype].integers(), samples, strict=True):
                self.assertAlmostEqual(integer, sample * scale, delta=1.0)

    def test_pcm_16_is_the_default(self):
        self.generate("--text", TEXT, "--output", self.out / "a.wav")
        self.assertEqual(read_wav(self.out / "a.wav").subtype, "PCM_16")

    def test_type_by_extension(self):
        for name, magic in (("a.flac", b"fLaC"), ("a.ogg", b"OggS"), ("a.opus", b"OggS")):
            with self.subTest(name):
                self.generate("--text", TEXT, "--greedy", "--output", self.out / name)
                self.assertEqual((self.out / name).read_bytes()[:4], magic)
        self.generate("--text", TEXT, "--greedy", "--output", self.out / "a.mp3")
        self.assertGreater((self.out / "a.mp3").stat().st_size, 500)

    def test_batch_is_numbered_and_ragged(self):
        _, err = self.generate(
            "--conversation", BATCH, "--greedy", "--output", self.out / "a.wav",
            "--codes", self.out / "a.json",
        )  # fmt: skip
        result = load_json(self.out / "a.json")
        frames = []
        for row, reason in enumerate(result["finish_reason"]):
            ending = 1 if reason == "stop" else 0
            frames.append(len(result["sequences"][row]) - ending)
            wav = read_wav(self.out / f"a_{row}.wav")
            self.assertEqual(len(wav.integers()), frames[row] * FRAME)
            self.assertIn(f"a_{row}.wav", err)
        self.assertGreater(len(set(frames)), 1)
        self.assertFalse((self.out / "a.wav").exists())

    def test_num_return_sequences(self):
        arguments = ["--text", TEXT, "--seed", "1", "--num-return-sequences", "3"]
        codes = self.codes(*arguments, "--output", self.out / "a.wav")
        self.assertEqual(len(codes), 3)
        self.assertNotEqual(codes[0], codes[1])
        self.assertTrue((self.out / "a_2.wav").exists())

    def test_codes_to_standard_output(self):
        out, _ = self.generate("--text", TEXT, "--greedy", "--codes", "-")
        self.generate("--text", TEXT, "--greedy", "--codes", self.out / "c.json")
        self.assertEqual(out, (self.out / "c.json").read_bytes())

    def test_decoding_the_codes_gives_the_audio(self):
        arguments = ["--subtype", "FLOAT", "--output"]
        self.generate("--text", TEXT, "--seed", "3", *arguments, self.out / "a.wav",
                      "--codes", self.out / "a.json")  # fmt: skip
        self.csm("decode", "--model", TINY, self.out / "a.json", *arguments, self.out / "b.wav")
        spoken = read_wav(self.out / "a.wav").bytes
        decoded = read_wav(self.out / "b.wav").bytes
        ended = load_json(self.out / "a.json")["finish_reason"] == ["stop"]
        # decode knows no end: it makes a frame more where the speech ended by itself.
        self.assertEqual(decoded[: len(spoken)], spoken)
        self.assertEqual(len(decoded) - len(spoken), 4 * FRAME if ended else 0)

    def test_an_immediate_end_gives_empty_audio(self):
        model = TINY.parent / "early-end"
        arguments = ["--conversation", model / "immediate" / "conversation.json", "--greedy"]
        self.csm("generate", "--model", model, *arguments, "--output", self.out / "a.wav")
        self.assertEqual(read_wav(self.out / "a.wav").bytes, b"")

    def test_times(self):
        arguments = ["--output", self.out / "a.wav", "--timing-json", self.out / "t.json"]
        _, err = self.generate("--text", TEXT, "--greedy", "--max-new-tokens", "6", *arguments)
        self.assertRegex(err, r"0\.48 s of audio in \d+\.\d+ s \(RTF \d+\.\d+\), first audio after")
        times = load_json(self.out / "t.json")
        self.assertEqual(times["frames"], 6)
        self.assertEqual(times["audio_ms"], 480)
        self.assertGreater(times["total_ms"], times["ttfa_ms"])
        self.assertGreater(times["ttfa_ms"], times["prefill_ms"])
        # The first frame is counted neither way; all audio after it is.
        self.assertGreaterEqual(5 * times["ms_per_frame"], times["total_ms"] - times["ttfa_ms"])
        self.assertGreater(times["peak_rss_bytes"], 1 << 20)

    def test_saturation_is_counted_and_float_is_not_touched(self):
        model = self.out / "loud"
        shutil.copytree(TINY, model)
        tensors = Safetensors(TINY / "model.safetensors")
        entry = tensors.header["codec_model.decoder.layers.14.conv.weight"]
        self.assertEqual(entry["dtype"], "BF16")
        begin, end = entry["data_offsets"]
        for at in range(begin, end, 2):  # times 2^8: eight more in the exponent
            (bits,) = struct.unpack_from("<H", tensors.body, at)
            struct.pack_into("<H", tensors.body, at, bits + (8 << 7))
        tensors.save(model / "model.safetensors")

        arguments = ["generate", "--model", model, "--text", TEXT, "--greedy"]
        _, err = self.csm(*arguments, "--output", self.out / "a.wav", "--subtype", "FLOAT")
        self.assertNotIn("full scale", err)
        samples = read_wav(self.out / "a.wav").floats()
        beyond = sum(abs(sample) > 1 for sample in samples)
        self.assertGreater(beyond, 0)
        _, err = self.csm(*arguments, "--output", self.out / "a.wav")
        self.assertIn(f" {beyond} samples were beyond full scale", err)
        limited = read_wav(self.out / "a.wav").integers()
        self.assertEqual((min(limited), max(limited)), (-(1 << 15), (1 << 15) - 1))


class Streams(GenerateTest):
    ARGUMENTS = ["--text", TEXT, "--greedy", "--subtype", "FLOAT", "--output"]

    def setUp(self):
        super().setUp()
        self.generate(*self.ARGUMENTS, self.out / "file.wav")
        self.expected = read_wav(self.out / "file.wav").bytes

    def test_pipe(self):
        out, _ = self.generate(*self.ARGUMENTS, "-")
        wav = Wav(out)
        self.assertEqual(wav.bytes, self.expected)
        self.assertEqual(wav.data_bytes, 0xFFFFFFFF)  # unknown while it is made

    def test_file_gets_its_sizes(self):
        with open(self.out / "redirected.wav", "wb") as target:
            self.generate(*self.ARGUMENTS, "-", stdout=target)
        wav = read_wav(self.out / "redirected.wav")
        self.assertEqual(wav.bytes, self.expected)
        self.assertEqual(wav.data_bytes, len(self.expected))
        self.assertEqual(wav.riff_bytes, (self.out / "redirected.wav").stat().st_size - 8)

    def test_reader_that_goes_away(self):
        process = self.start("generate", "--model", TINY, *self.ARGUMENTS, "-")
        process.stdout.close()
        self.assertEqual(process.wait(timeout=60), 1)
        self.assertIn(b"closed by its reader", process.stderr.read())

    def test_reader_of_decode_that_goes_away(self):
        codes = self.out / "codes.json"
        codes.write_text('{"sequences": [[%s]]}' % ", ".join(["[1]"] * 2000))
        process = self.start("decode", "--model", TINY, codes, "--quiet", "--output", "-")
        process.stdout.close()
        self.assertEqual(process.wait(timeout=60), 1)
        self.assertIn(b"closed by its reader", process.stderr.read())

    def test_batch_and_codes_have_no_place_in_a_stream(self):
        model = ["--model", TINY]
        self.fails("generate", *model, "--conversation", BATCH, "--output", "-", status=2)
        self.fails("generate", *model, "--text", "a", "--output", "-", "--codes", "-", status=2)

    def test_terminal(self):
        leader, terminal = os.openpty()
        self.addCleanup(os.close, leader)
        process = self.start(
            "generate", "--model", TINY, "--text", "a", "--output", "-", stdout=terminal
        )
        os.close(terminal)
        self.assertEqual(process.wait(timeout=60), 2)
        self.assertIn(b"terminal", process.stderr.read())


if __name__ == "__main__":
    unittest.main()
