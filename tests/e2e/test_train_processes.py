"""csm train with several processes, started by mpirun."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import unittest

from harness import BIN, TINY, CsmTest, absolute, load_json

TALK = TINY / "training" / "conversation.json"
MPIRUN = shutil.which("mpirun")
# Tests run where they run: in containers as root, and with fewer cores than processes.
ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@unittest.skipUnless(os.environ["CSM_TORCH"] == "1" and MPIRUN, "a build without LibTorch, or no mpirun")
class TrainProcesses(CsmTest):
    def mpi(self, processes, *arguments):
        command = [MPIRUN, "--oversubscribe", "-n", str(processes), BIN, *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stdin=subprocess.DEVNULL, **pipes)
        self.addCleanup(self.end, process)
        return process

    def run_mpi(self, processes, *arguments):
        process = self.mpi(processes, *arguments)
        _, err = process.communicate(timeout=300)
        self.assertEqual(process.returncode, 0, err.decode())
        return err.decode()

    def arguments(self, output, batch, *more, data=TALK, rate="1e-3"):
        """`batch` conversations in each process."""
        arguments = ["train", "--model", TINY, "--train-data", data, "--output", self.out / output]
        arguments += ["--logging-steps", "1", "--learning-rate", rate, "--threads", "1"]
        return [*arguments, "--per-device-train-batch-size", batch, *more]

    def metrics(self, output):
        lines = (self.out / output / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def assertSameRun(self, output, expected):
        actual, expected = self.metrics(output), self.metrics(expected)
        self.assertEqual([line["step"] for line in actual], [line["step"] for line in expected])
        for line, wanted in zip(actual, expected):
            for name in wanted.keys() - {"frames_per_second"}:
                self.assertAlmostEqual(line[name], wanted[name], delta=2e-5 * abs(wanted[name]) + 1e-9, msg=name)

    def test_the_numbers_of_one_process(self):
        talks = absolute(load_json(TALK), TALK.parent)
        (self.out / "talk.json").write_text(json.dumps((talks * 4)[:7]))  # no multiple of a batch
        more = ["--max-steps", "6", "--eval-data", TALK, "--gradient-accumulation-steps", "2", "--save-steps", "3"]

        def arguments(output, batch):
            return self.arguments(output, batch, *more, data=self.out / "talk.json")

        self.csm(*arguments("one", 6))
        for processes in (2, 3):
            output = f"of-{processes}"
            err = self.run_mpi(processes, *arguments(output, 6 // processes))
            self.assertSameRun(output, "one")
            self.assertEqual(err.count("step 6: loss"), 1, err)
            self.assertTrue((self.out / output / "model" / "model.safetensors").exists())

    def test_one_is_killed(self):
        more = ["--save-steps", "5", "--lr-scheduler-type", "constant", "--num-samples", "0"]
        process = self.mpi(2, *self.arguments("run", 1, "--max-steps", "1000000", *more))
        limit = time.monotonic() + 120
        while not (self.out / "run" / "checkpoint-5" / "trainer_state.json").exists():
            self.assertLess(time.monotonic(), limit)
            self.assertIsNone(process.poll())
            time.sleep(0.05)
        training = [pid for pid in self.children(process.pid) if "csm" in self.command(pid)]
        self.assertEqual(len(training), 2)
        os.kill(training[-1], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        self.assertNotEqual(process.returncode, 0)
        self.assertIn(b"signal 9", err)  # mpirun says which process it was
        last = max(int(folder.name.split("-")[1]) for folder in (self.out / "run").glob("checkpoint-*[0-9]"))
        self.run_mpi(2, *self.arguments("run", 1, "--resume", "--max-steps", last + 2, *more))
        self.csm(*self.arguments("whole", 2, "--max-steps", last + 2, *more))
        self.assertSameRun("run", "whole")
        # The whole batch is what may not change: here two conversations.
        _, err = self.csm(*self.arguments("run", 1, "--resume", "--max-steps", last + 3), status=1)
        self.assertIn("total_train_batch_size", err)

    def test_different_data_is_refused(self):
        talks = absolute(load_json(TALK), TALK.parent)
        (self.out / "talk.json").write_text(json.dumps(talks[:1]))
        one, other = (self.arguments("run", 1, "--max-steps", "3", data=data) for data in (TALK, self.out / "talk.json"))
        command = [MPIRUN, "--oversubscribe", "-n", "1", BIN, *one, ":", "-n", "1", BIN, *other]
        options = {"env": {**os.environ, **ENVIRONMENT}, "capture_output": True, "timeout": 120}
        done = subprocess.run(list(map(str, command)), check=False, **options)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"different options, data or checkpoints", done.stderr)

    def test_an_interrupted_run_is_saved(self):
        process = self.mpi(2, *self.arguments("run", 1, "--max-steps", "1000000", "--save-steps", "1000000"))
        metrics = self.out / "run" / "metrics.jsonl"
        limit = time.monotonic() + 120
        while not (metrics.exists() and metrics.read_text().count("\n") > 2):
            self.assertLess(time.monotonic(), limit)
            time.sleep(0.05)
        os.kill(self.children(process.pid)[-1], signal.SIGTERM)  # one is told, all stop
        _, err = process.communicate(timeout=60)
        self.assertIn(b"--resume", err)
        (saved,) = (self.out / "run").glob("checkpoint-*[0-9]")
        step = load_json(saved / "trainer_state.json")["step"]
        self.run_mpi(2, *self.arguments("run", 1, "--resume", "--max-steps", str(step + 1)))

    def test_what_is_wrong_is_said(self):
        more = ["--max-steps", "50", "--lr-scheduler-type", "constant"]
        process = self.mpi(2, *self.arguments("run", 1, *more, rate="1e30"))
        _, err = process.communicate(timeout=120)
        self.assertNotEqual(process.returncode, 0)
        self.assertEqual(err.count(b"csm: step "), err.count(b"csm: step 1: loss") + 1, err.decode())

    def test_torchrun_is_for_gpus(self):
        place = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
        _, err = self.csm(*self.arguments("run", 1), env=place, status=1)
        self.assertIn("mpirun -n 2", err)
        _, err = self.csm(*self.arguments("run", 1), "--device", "cuda:0", env=place, status=1)
        self.assertIn("--device cuda, and CUDA_VISIBLE_DEVICES", err)
        _, err = self.csm(*self.arguments("run", 1), env={"RANK": "0", "WORLD_SIZE": "2"}, status=1)
        self.assertIn("LOCAL_RANK is not set", err)
        self.assertFalse((self.out / "run").exists())

    @staticmethod
    def children(pid):
        path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
        return [int(child) for child in path.read_text().split()]

    @staticmethod
    def command(pid):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode()


if __name__ == "__main__":
    unittest.main()
