"""csm info, csm verify, and what Ctrl-C leaves behind."""

import json
import os
import pathlib
import re
import shutil
import signal
import struct
import time
import unittest

from harness import BIN, GOLDENS, SHIPPED, TINY, CsmTest, Safetensors, Wav, load_json, not_emulated

SOURCE = pathlib.Path(__file__).resolve().parents[2]
ENDLESS = TINY.parent / "untied-biased"  # greedy, this one never ends by itself
AUDIO = TINY / "context" / "hello.wav"
BLOCKING = ["--text", "Hello.", "--greedy", "--max-new-tokens", "400", "--subtype", "FLOAT"]


def gguf_strings(path):
    """The strings of a GGUF file's header."""
    data = path.read_bytes()
    (count,) = struct.unpack_from("<Q", data, 16)
    strings, at = {}, 24

    def text():
        nonlocal at
        (size,) = struct.unpack_from("<Q", data, at)
        at += 8 + size
        return data[at - size : at].decode()

    for _ in range(count):
        key = text()
        (kind,) = struct.unpack_from("<I", data, at)
        at += 4
        if kind == 4:  # uint32
            at += 4
            continue
        assert kind == 8, kind
        strings[key] = text()
    return strings


def with_large_vocabulary(folder, rows=1 << 22):
    """TINY with a sparse table of `rows` text embeddings, all 0: 256 MB that take a while."""
    shutil.copytree(TINY, folder)
    config = load_json(folder / "config.json")
    config["text_vocab_size"] = rows
    (folder / "config.json").write_text(json.dumps(config))
    tensors = Safetensors(TINY / "model.safetensors")
    size = rows * config["hidden_size"] * 2
    tensors.header.pop("embed_text_tokens.weight")
    body = bytearray()
    for name, entry in tensors.header.items():
        if name != "__metadata__":
            data = tensors.raw(name)
            entry["data_offsets"] = [len(body), len(body) + len(data)]
            body += data
    tensors.body = body
    tensors.header["embed_text_tokens.weight"] = {
        "dtype": "BF16", "shape": [rows, config["hidden_size"]], "data_offsets": [len(body), len(body) + size],
    }  # fmt: skip
    tensors.save(folder / "model.safetensors")
    os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size + size)
    return folder


class Info(CsmTest):
    def test_sizes_are_those_of_the_file(self):
        info = json.loads(self.csm("info", "--model", TINY, "--json")[0])
        size = (TINY / "model.safetensors").stat().st_size
        self.assertLess(info["bytes"], size)
        self.assertGreater(info["bytes"], 0.9 * size - 20000)  # the rest is the header
        self.assertEqual(sum(part["bytes"] for part in info["parts"].values()), info["bytes"])
        self.assertEqual(list(info["types"]), ["bf16"])
        self.assertEqual(info["bytes"], 2 * info["parameters"])

    def test_text(self):
        text = self.csm("info", "--model", TINY)[0].decode()
        config = load_json(TINY / "config.json")
        self.assertIn(f"{config['num_hidden_layers']} layers of width {config['hidden_size']}", text)
        self.assertIn(f"{config['max_position_embeddings']}, prompt and speech", text)

    def test_version(self):
        version = re.search(r"project\(csm VERSION (\S+)", (SOURCE / "CMakeLists.txt").read_text())
        self.assertEqual(self.csm("--version")[0].decode(), f"csm {version[1]}\n")


class ShippedVoice(CsmTest):
    def test_greedy_codes_are_those_of_transformers(self):
        for golden in load_json(GOLDENS / "csm-tiny" / "greedy.json"):
            with self.subTest(golden["text"]):
                arguments = ["--text", golden["text"], "--speaker", golden["speaker"], "--greedy"]
                arguments += ["--max-new-tokens", len(golden["codes"]), "--codes", "-"]
                out = self.csm("generate", "--model", SHIPPED, *arguments)[0]
                self.assertEqual(json.loads(out)["sequences"], [golden["codes"]])

    @not_emulated
    def test_is_found_beside_the_program(self):
        program = self.out / "bin" / "csm"
        program.parent.mkdir()
        shutil.copy(BIN, program)
        voice = self.out / "share" / "csm" / "models" / "csm-tiny"

        def info():
            return self.start("info", executable=str(program)).communicate(timeout=60)

        self.assertIn(b"--model DIR, or set CSM_MODEL", info()[1])
        shutil.copytree(TINY, voice)
        self.assertIn(str(voice).encode(), info()[0])


class Verify(CsmTest):
    """Without csm-1b's weights: that the comparison itself tells right from wrong."""

    def setUp(self):
        super().setUp()
        header = (SOURCE / "src" / "cli" / "published_codes.h").read_text()
        table = header[header.index("kPublishedCodes[") :].split("= {", 1)[1]
        rows = re.findall(r"\{([\d, \n]+)\}", table)
        self.frames = [[int(code) for code in row.split(",")] for row in rows]
        self.assertEqual({len(frame) for frame in self.frames}, {32})

    def verify(self, frames, status):
        codes = self.out / "codes.json"
        codes.write_text(json.dumps({"sequences": [frames]}))
        return self.csm("verify", "--codes", codes, status=status)[0].decode()

    def test_equal(self):
        self.assertRegex(self.verify(self.frames, 0), "^equal: all 34 frames of 32 codes")

    def test_names_the_first_difference(self):
        self.frames[20][7] += 1
        self.frames[21][0] += 1
        self.assertRegex(self.verify(self.frames, 1), "^differs first at frame 20, codebook 7: ")

    def test_too_few_frames(self):
        self.assertRegex(self.verify(self.frames[:5], 1), "ended after 5 of 34 frames")

    def test_another_model_is_refused(self):
        self.assertIn("csm-1b", self.fails("verify", "--model", TINY))


@not_emulated
class Interrupt(CsmTest):
    def interrupt_when_ready(self, process, number):
        """Sends the signal once the program catches it, which it does while it generates."""
        status = pathlib.Path(f"/proc/{process.pid}/status")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            caught = int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16)
            if caught >> (number - 1) & 1:
                process.send_signal(number)
                return
            time.sleep(0.001)
        self.fail("the program ended without catching the signal")

    def test_file_is_not_there(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number.name):
                # Enough sequences that it cannot have ended before the signal comes.
                process = self.start(
                    "generate", "--model", TINY, "--text", "Hello.", "--num-return-sequences", "2000",
                    "--max-new-tokens", "400", "--output", self.out / "a.wav",
                )  # fmt: skip
                self.interrupt_when_ready(process, number)
                _, err = process.communicate(timeout=120)
                self.assertEqual(process.returncode, 130)
                self.assertIn(b"csm: interrupted", err)
                self.assertEqual(list(self.out.iterdir()), [])

    def test_quantize_leaves_no_file(self):
        model = with_large_vocabulary(self.out / "large")
        output = self.out / "new" / "a.gguf"
        output.parent.mkdir()
        process = self.start("quantize", "--model", model, "--type", "q4", "--output", output)
        self.interrupt_when_ready(process, signal.SIGINT)
        _, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130, err)
        self.assertEqual(list(output.parent.iterdir()), [])

    def test_stream_is_valid(self):
        # Nobody reads yet, so the program waits in a write when the pipe is full.
        process = self.start("generate", "--model", ENDLESS, *BLOCKING, "--output", "-")
        self.interrupt_when_ready(process, signal.SIGINT)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130, err)
        wav = Wav(out)
        self.assertEqual(len(wav.bytes) % (4 * 1920), 0)
        self.assertLess(len(wav.bytes), 400 * 4 * 1920)


class Quantize(CsmTest):
    def quantize(self, kind, *more, **options):
        file = self.out / f"{kind}.gguf"
        arguments = ["--model", TINY, "--type", kind, "--output", file, *more]
        return file, *self.csm("quantize", *arguments, **options)

    def codes(self, *arguments):
        out, _ = self.csm("generate", *arguments, "--text", "Hello.", "--greedy", "--codes", "-")
        return json.loads(out)["sequences"]

    def test_a_file_is_a_model(self):
        for kind in ("f16", "bf16", "q8_0", "q4"):
            with self.subTest(kind):
                file, _, err = self.quantize(kind)
                self.assertIn("bits a weight", err)
                moved = self.out / "elsewhere" / "voice.gguf"  # it needs nothing beside it
                moved.parent.mkdir(exist_ok=True)
                file.rename(moved)
                codes = self.codes("--model", moved)
                self.assertEqual(codes, self.codes("--model", TINY, "--dtype", kind))
                if kind == "bf16":  # what the checkpoint is in
                    self.assertEqual(codes, self.codes("--model", TINY))
                info, _ = self.csm("info", "--model", moved, "--json")
                self.csm("generate", "--model", moved, "--text", "a", "--output", self.out / "a.wav")
                self.csm("encode", "--model", moved, AUDIO, "--codes", self.out / "c.json")
                self.assertIn(kind, json.loads(info)["types"])
                ids, _ = self.csm("tokenize", "--model", moved, "--text", "a", "--json")
                self.assertEqual(ids, self.csm("tokenize", "--model", TINY, "--text", "a", "--json")[0])

    @not_emulated
    def test_memory_is_bounded(self):
        if b"__asan_init" in pathlib.Path(BIN).read_bytes():
            self.skipTest("AddressSanitizer keeps what was freed")
        model = with_large_vocabulary(self.out / "large")
        output = self.out / "a.gguf"
        process = self.start("quantize", "--model", model, "--type", "q8_0", "--output", output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        _, err = process.communicate()
        self.assertEqual(process.returncode, 0, err)
        size = output.stat().st_size
        self.assertGreater(size, 140e6)
        self.assertLess(1024 * usage.ru_maxrss, size / 2)

    def test_report(self):
        _, out, err = self.quantize("q4", "--report")
        lines = out.decode().splitlines()
        self.assertTrue(any(line.startswith("lm_head.weight") and "4.50 bits" in line for line in lines))
        self.assertRegex(lines[-1], "logits of a sentence: .* error; greedy codes: the first")
        self.assertIn("matrices stay 16-bit", err)
        stay = [line for line in lines if "stays 16-bit: rows of" in line]
        self.assertRegex(err, rf"\b{len(stay)} matrices")
        self.assertTrue(all("16.00 bits" in line for line in stay))

    def test_licence(self):
        file, _, _ = self.quantize("q8_0")
        self.assertNotIn(b"general.license", file.read_bytes())
        model = self.out / "licensed"
        shutil.copytree(TINY, model)
        (model / "README.md").write_text("---\nlicense: apache-2.0\nlicense_link: https://a.b/c\n---\n# A\n")
        (model / "LICENSE.md").write_text("All the terms.")
        self.csm("quantize", "--model", model, "--type", "q8_0", "--output", file)
        reader = gguf_strings(file)
        self.assertEqual(reader["general.license"], "apache-2.0")
        self.assertEqual(reader["general.license.link"], "https://a.b/c")
        self.assertNotIn("general.license.name", reader)
        self.assertIn("All the terms.", reader.values())

    def test_what_cannot_be(self):
        file, _, _ = self.quantize("q8_0")
        type_q4 = ["--type", "q4", "--output"]
        self.fails("quantize", "--model", TINY, *type_q4, self.out / "a.bin", status=2)
        self.fails("quantize", "--model", TINY, "--type", "q5", "--output", file, status=2)
        self.fails("quantize", "--model", TINY, *type_q4, self.out / "missing" / "a.gguf")
        self.assertIn("already", self.fails("quantize", "--model", file, *type_q4, self.out / "b.gguf"))
        data = file.read_bytes()
        for size in (0, 3, 100, len(data) // 2, len(data) - 100):
            with self.subTest(size):
                file.write_bytes(data[:size])
                self.fails("info", "--model", file)


class Bench(CsmTest):
    def test_figures(self):
        out, err = self.csm("bench", "--model", TINY, "--type", "q8_0", "--threads", "1", "--json", "-")
        figures = json.loads(out)
        self.assertEqual(set(figures["batches"]), {"1", "2", "4", "8", "16"})
        self.assertEqual(set(figures["prefill"]), {"100", "512"})  # of the model's 512 positions
        self.assertEqual(set(figures["kv"]), {"0"})
        self.assertLess(figures["peak_memory_bytes"], 500e6)
        self.assertEqual(figures["threads"], 1)
        self.assertEqual((figures["model"], figures["type"]), ("random-tiny", "q8_0"))
        flat = [
            *figures["frame_ms"].values(), *figures["kv"].values(), *figures["codec"].values(),
            *(value for batch in figures["batches"].values() for value in batch.values()),
            *(value for prompt in figures["prefill"].values() for value in prompt.values()),
            *(figures[name] for name in ("bandwidth_gb_s", "limit_share", "ttfa_ms", "bytes_per_frame")),
            *(figures[name] for name in ("mul_adds_per_frame", "peak_mul_adds_per_s", "peak_memory_bytes")),
        ]  # fmt: skip
        self.assertTrue(all(value > 0 for value in flat), figures)
        self.assertGreaterEqual(figures["frame_ms"]["p95"], figures["frame_ms"]["median"])
        self.assertIn("ms (RTF", err)

    def test_some_parts(self):
        out, _ = self.csm("bench", "--model", TINY, "--only", "prefill,codec", "--json", "-")
        figures = json.loads(out)
        self.assertEqual(set(figures) & {"frame_ms", "batches", "prefill", "kv", "codec"}, {"prefill", "codec"})
        self.assertEqual(figures["type"], "bf16")  # as stored

    def test_contradictions(self):
        self.fails("bench", "--quick", "--only", "codec", status=2)
        self.fails("bench", "--only", "everything", status=2)
        self.fails("bench", "--model", TINY, "--geometry", "csm-1b", status=2)
        self.assertIn("csm-1b", self.fails("bench", "--geometry", "csm-9b", status=2))
        self.fails("bench", "--geometry", self.out, "--quick")  # no config.json

    def test_geometry_of_a_config(self):
        shutil.copy(TINY / "config.json", self.out)
        out, err = self.csm("bench", "--geometry", f"{self.out}/", "--quick", "--type", "q4", "--json", "-")
        figures = json.loads(out)
        self.assertEqual((figures["model"], figures["made_up_weights"]), (self.out.name, True))
        stored, _ = self.csm("bench", "--model", TINY, "--quick", "--type", "q4", "--json", "-")
        self.assertEqual(figures["bytes_per_frame"], json.loads(stored)["bytes_per_frame"])
        self.assertRegex(err, r"codec \d")


if __name__ == "__main__":
    unittest.main()
