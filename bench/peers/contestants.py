"""The orchestrator's side of the bench: who takes part, one process each, asked one after another in alternating order."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAUSE_SECONDS = 0.5
"""Between measurements, so that threads that wait by spinning have gone to sleep."""


class ContestantError(Exception):
    """A contestant that cannot run, with the reason."""


@dataclass(frozen=True)
class Entry:
    """One line of the table: a worker script, how it loads, and the task that it is asked."""

    name: str
    script: str
    task: str
    environment: str = "own"
    """`own`: the Python that runs the bench. `peers`, `vllm`: the environments of setup.py."""
    dtype: str = "fp32"
    information: bool = False
    """Shown beside the others; no claim rests on it."""
    settings: dict[str, str] = field(default_factory=dict)
    """Environment variables."""


MKL = {"CT2_USE_MKL": "1"}
"""CTranslate2 uses oneDNN on processors that are not Intel's, unless it is told otherwise."""
SAMPLING = (
    Entry("freerun", "run_freerun.py", "sample"),
    Entry("transformers generate + statistics", "run_transformers.py", "sample_with_statistics", "peers"),
    Entry("CTranslate2 float32", "run_ctranslate2.py", "sample", "peers"),
    Entry("transformers generate, no statistics", "run_transformers.py", "sample", "peers", information=True),
    Entry("CTranslate2 int8", "run_ctranslate2.py", "sample", "peers", dtype="int8", information=True),
    Entry("CTranslate2 float32 through MKL", "run_ctranslate2.py", "sample", "peers", information=True, settings=MKL),
    Entry("vLLM float32, sampled log-prob only", "run_vllm.py", "sample", "vllm", information=True),
)
SCORING = (
    Entry("freerun score", "run_freerun.py", "score"),
    Entry("freerun log_probs", "run_freerun.py", "log_probs"),
    Entry("lm-eval rolling log-likelihood", "run_lm_eval.py", "score", "peers"),
    Entry("CTranslate2 float32 score_batch", "run_ctranslate2.py", "score", "peers"),
    Entry("transformers forward + log-softmax", "run_transformers.py", "score", "peers"),
    Entry("CTranslate2 int8 score_batch", "run_ctranslate2.py", "score", "peers", dtype="int8", information=True),
    Entry(
        "CTranslate2 float32 score_batch through MKL",
        "run_ctranslate2.py",
        "score",
        "peers",
        information=True,
        settings=MKL,
    ),
    Entry("vLLM float32 prompt_logprobs", "run_vllm.py", "score", "vllm", information=True),
)
SAMPLING_BF16 = (
    Entry("freerun bf16", "run_freerun.py", "sample", dtype="bf16"),
    Entry(
        "transformers generate + statistics bf16",
        "run_transformers.py",
        "sample_with_statistics",
        "peers",
        dtype="bf16",
    ),
    Entry("vLLM bf16, sampled log-prob only", "run_vllm.py", "sample", "vllm", dtype="bf16"),
)
SCORING_BF16 = (
    Entry("freerun score bf16", "run_freerun.py", "score", dtype="bf16"),
    Entry("lm-eval rolling log-likelihood bf16", "run_lm_eval.py", "score", "peers", dtype="bf16"),
    Entry("vLLM bf16 prompt_logprobs", "run_vllm.py", "score", "vllm", dtype="bf16"),
)


@dataclass(frozen=True)
class Setting:
    """What every worker is told."""

    folder: str
    model: str
    threads: int
    batch: int
    pythons: dict[str, Path]


class Worker:
    """A process that has loaded one contestant and waits. Entries that differ in their task alone share one."""

    def __init__(self, entry: Entry, setting: Setting, *, model: str | None = None, threads: int | None = None) -> None:
        python = Path(sys.executable) if entry.environment == "own" else setting.pythons[entry.environment]
        if not python.exists():
            raise ContestantError(f"no environment at {python.parents[1].name}: python bench/peers/setup.py")
        n = str(threads or setting.threads)
        environment = {
            **os.environ,
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), n),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "CT2_VERBOSE": "1",
            "PYTHONWARNINGS": "ignore",
            **entry.settings,
        }
        self._log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115  # lives as long as the process
        self.process = subprocess.Popen(
            [str(python), str(HERE / entry.script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        asked = {
            "folder": setting.folder,
            "model": model or setting.model,
            "dtype": entry.dtype,
            "threads": int(n),
            "batch": setting.batch,
        }
        try:
            self.facts = self.ask("load", **asked)["facts"] | self._said()
        except ContestantError:
            self.close()
            raise

    def ask(self, task: str, **words: Any) -> dict[str, Any]:
        """Do one task and wait for its answer.

        Raises:
            ContestantError: it failed, or the process is gone.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"task": task, **words}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ContestantError(f"the process ended with {self.process.wait()}: {self._last_line()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContestantError(_without_paths(f"{answer['error']}{self._deeper_reason()}"))
        return answer

    def measure(self, task: str, **words: Any) -> dict[str, Any]:
        """The same after a pause, with the cores that everything else on the machine took meanwhile (`foreign_cores`)."""
        time.sleep(PAUSE_SECONDS)
        before = _busy_seconds(), self._own_seconds(), time.perf_counter()
        answer = self.ask(task, **words)
        after = _busy_seconds(), self._own_seconds(), time.perf_counter()
        busy, own, wall = (b - a for a, b in zip(before, after, strict=True))
        answer["foreign_cores"] = max(0.0, round((busy - own) / wall, 3)) if before[0] else None
        return answer

    def close(self) -> None:
        """End the process: it stops by itself when nobody can ask any more."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._log.close()

    def _own_seconds(self) -> float:
        """Processor time of the worker and its descendants."""
        total, waiting = 0.0, [self.process.pid]
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
                waiting += [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return total

    def _said(self) -> dict[str, Any]:
        """What CTranslate2 says of the instructions and libraries that it chose."""
        self._log.seek(0)
        found = re.findall(
            r"\[ctranslate2\].*?(Selected ISA|Use Intel MKL|SGEMM backend|GEMM_S8 backend[^:]*): (.+)", self._log.read()
        )
        return {name: value.strip() for name, value in found}

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return _without_paths(lines[-1][:300]) if lines else "it said nothing"

    def _deeper_reason(self) -> str:
        """The first error in the log, where the last one only points there."""
        self._log.seek(0)
        causes = re.findall(r"^(?:.*\s)?((?:\w+\.)*\w+(?:Error|Exception): .+)$", self._log.read(), flags=re.MULTILINE)
        return f" (first: {causes[0][:300]})" if len(causes) > 1 else ""


def _without_paths(text: str) -> str:
    return re.sub(r"(?:/[\w.+-]+){2,}/", "…/", text)


def _busy_seconds() -> float:
    """Processor time that the whole machine has used, time taken by the host included; 0 where the system does not tell."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, irq, softirq, steal = (int(x) for x in words[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def workers(
    entries: Sequence[Entry], setting: Setting, tell: Callable[[str], None]
) -> Iterator[tuple[dict[str, Worker], dict[str, str]]]:
    """Load every entry; those that share a script, a number format and settings share a process. Also why others cannot run."""
    made: dict[tuple[Any, ...], Worker | str] = {}
    by_name: dict[str, Worker] = {}
    refused: dict[str, str] = {}
    try:
        for entry in entries:
            key = (entry.script, entry.environment, entry.dtype, tuple(sorted(entry.settings.items())))
            if key not in made:
                tell(f"loading {entry.name}")
                try:
                    made[key] = Worker(entry, setting)
                except ContestantError as error:
                    made[key] = str(error)
                    tell(f"{entry.name}: {error}")
            found = made[key]
            if isinstance(found, str):
                refused[entry.name] = found
            else:
                by_name[entry.name] = found
        yield by_name, refused
    finally:
        for worker in made.values():
            if isinstance(worker, Worker):
                worker.close()


def turn(n: int, repeat: int) -> list[int]:
    """The order of n contestants in a repeat: forwards, then backwards, each pair starting one place further on.

    >>> [turn(3, r) for r in range(4)]
    [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]]
    """
    shift = repeat // 2 % max(n, 1)
    order = [*range(shift, n), *range(shift)]
    return order if repeat % 2 == 0 else order[::-1]
