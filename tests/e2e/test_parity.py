"""What Hugging Face computes, the program computes: tokens, logits, codes, audio."""

import json

from harness import GOLDENS, TINY, CsmTest, Safetensors, load_json, read_wav, scenarios, write_wav


class Generate(CsmTest):
    def generate(self, scenario, *options):
        arguments = ["--model", scenario.model, "--conversation", scenario.conversation, "--greedy"]
        arguments += ["--max-new-tokens", scenario.reference["max_new_tokens"]]
        self.csm("generate", *arguments, *scenario.parse_special(), *options)

    def test_greedy_codes(self):
        for scenario in scenarios():
            with self.subTest(scenario.name):
                codes = self.out / "codes.json"
                self.generate(scenario, "--codes", codes)
                result = load_json(codes)
                self.assertEqual(result["sequences"], scenario.reference["sequences"])
                self.assertEqual(result["finish_reason"], scenario.reference["finish_reason"])

    def test_audio(self):
        compared = 0
        for scenario in scenarios():
            if not scenario.audio():
                continue
            with self.subTest(scenario.name):
                self.generate(scenario, "--subtype", "FLOAT", "--output", self.out / "a.wav")
                is_batch = isinstance(load_json(scenario.conversation)[0], list)
                for row, expected in scenario.audio():
                    actual = read_wav(self.out / (f"a_{row}.wav" if is_batch else "a.wav"))
                    self.assertClose(actual.floats(), read_wav(expected).floats(), 1e-4)
                    self.assertEqual(actual.rate, 24000)
                    compared += 1
        self.assertGreater(compared, 5)


class Forward(CsmTest):
    def test_input_ids_and_first_logits(self):
        for scenario in scenarios():
            if scenario.parse_special():
                continue  # forward reads user text as generate does unless told otherwise
            with self.subTest(scenario.name):
                arguments = ["--model", scenario.model, "--conversation", scenario.conversation]
                result = json.loads(self.csm("forward", *arguments, "--json")[0])
                self.assertEqual(result["input_ids"], scenario.input_ids())
                expected = scenario.reference["first_logits"]
                self.assertEqual(len(result["first_logits"]), len(expected))
                for actual_row, expected_row in zip(result["first_logits"], expected):
                    # assertClose is relative to 1 at least, which the rows' largest logits exceed.
                    self.assertClose(actual_row, expected_row, 1e-3)


class Tokenize(CsmTest):
    def ids(self, *arguments):
        return json.loads(self.csm("tokenize", *arguments, "--json")[0])["input_ids"]

    def test_conversations(self):
        for scenario in scenarios():
            if scenario.parse_special():
                continue
            with self.subTest(scenario.name):
                arguments = ["--model", scenario.model, "--conversation", scenario.conversation]
                self.assertEqual(self.ids(*arguments), scenario.input_ids())

    def test_plain_prompt_with_special_tokens_added(self):
        compared = 0
        for scenario in scenarios():
            prompt = scenario.reference.get("prompt")
            if prompt is None:
                continue
            compared += 1
            with self.subTest(scenario.name):
                arguments = ["--model", scenario.model, f"--text={prompt}", "--add-special-tokens"]
                self.assertEqual(self.ids(*arguments), scenario.input_ids())
        self.assertGreater(compared, 3)

    def test_strings_of_the_tokenizers_library(self):
        folder = GOLDENS / "tokenizer"
        cases = load_json(folder / "cases.json")["cases"]
        strings = self.out / "strings.json"
        strings.write_text(json.dumps([text for text, _ in cases]), encoding="utf-8")
        ids = self.ids("--tokenizer", folder / "tokenizer.json", "--file", strings)
        self.assertEqual(ids, [expected for _, expected in cases])

    def test_special_tokens_in_text(self):
        bos = 300
        text = "--text=<|begin_of_text|>a"
        self.assertEqual(self.ids("--model", TINY, text)[0][0], bos)
        self.assertNotIn(bos, self.ids("--model", TINY, text, "--no-special")[0])


class Codec(CsmTest):
    """csm encode and csm decode on codecs of their own."""

    def codecs(self):
        for folder in sorted((GOLDENS / "mimi").iterdir()):
            yield folder, Safetensors(folder / "expected" / "model.safetensors")

    def test_encode(self):
        compared = 0
        for folder, expected in self.codecs():
            rate = load_json(folder / "config.json")["sampling_rate"]
            for name in expected.header:
                if not name.endswith(".samples") or not name.startswith("encode."):
                    continue
                with self.subTest(f"{folder.name} {name}"):
                    write_wav(self.out / "in.wav", expected.floats(name), rate)
                    codes = self.out / "codes.json"
                    self.csm("encode", "--model", folder, self.out / "in.wav", "--codes", codes)
                    (frames,) = load_json(codes)["sequences"]
                    flat = [code for frame in frames for code in frame]
                    theirs = expected.floats(name.replace(".samples", ".codes"))
                    self.assertEqual(len(flat), len(theirs))
                    # Codes may differ where two entries are equally near.
                    same = sum(a == b for a, b in zip(flat, theirs))
                    self.assertGreaterEqual(same, 0.99 * len(theirs))
                    compared += len(flat)
        self.assertGreater(compared, 100)

    def test_decode(self):
        compared = 0
        for folder, expected in self.codecs():
            for name, entry in expected.header.items():
                if not name.endswith(".codes") or not name.startswith("decode."):
                    continue
                with self.subTest(f"{folder.name} {name}"):
                    codes, width = expected.floats(name), entry["shape"][1]
                    frames = [
                        [int(code) for code in codes[i : i + width]]
                        for i in range(0, len(codes), width)
                    ]
                    source = self.out / "codes.json"
                    source.write_text(json.dumps({"sequences": [frames]}))
                    target = self.out / "out.wav"
                    arguments = [source, "--output", target, "--subtype", "FLOAT"]
                    self.csm("decode", "--model", folder, *arguments)
                    theirs = expected.floats(name.replace(".codes", ".samples"))
                    self.assertClose(read_wav(target).floats(), theirs, 1e-4)
                    compared += len(theirs)
        self.assertGreater(compared, 1000)
