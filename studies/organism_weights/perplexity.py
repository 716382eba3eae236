"""lm-evaluation-harness's own perplexity of base and organism, by its own command line in an environment of its own.

The harness reads the held-out documents as text, cuts them with the folder's tokenizer, and scores them itself; freerun has no part
in it. `python bench/peers/setup.py --only peers` makes the environment.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from freerun.errors import BackendError, UsageError
from freerun.files import write_atomically
from freerun.jobs.lab.organism.base import folder_of
from freerun.results.finding import Estimate
from freerun.stats.intervals import ratio_of_group_sums
from studies.organism_weights.rows import HarnessNumbers, HarnessSection

PYTHON = Path(".venv-peers/bin/python")
TASK = "heldout"
_MAX_TOKENS = 1024
_TASK = """task: {task}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {texts}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - metric: word_perplexity
  - metric: byte_perplexity
  - metric: bits_per_byte
metadata:
  version: 1.0
"""


@dataclass(frozen=True)
class Scored:
    """What the harness says of one model. `nats`: −ln p of each document."""

    version: str
    command: str
    numbers: HarnessNumbers
    nats: tuple[float, ...]


def harness_section(
    base: str, organism: Path, texts: Sequence[str], n_tokens: Sequence[int], *, folder: Path, python: Path
) -> HarnessSection:
    """Score the documents with the harness under both models; what the folder holds already is not scored again.

    `n_tokens`: of each document, by which the rise of the loss is divided.

    Raises:
        UsageError: no such environment. BackendError: the harness fails.
    """
    _write_task(folder, texts)
    where, _ = folder_of(base)
    before = _scored(where, "base", folder, len(texts), python)
    after = _scored(str(organism), organism.name, folder, len(texts), python)
    rise = np.array(after.nats) - np.array(before.nats)
    return HarnessSection(
        version=after.version,
        command=after.command,
        documents=len(texts),
        base=before.numbers,
        organism=after.numbers,
        rise=Estimate.of(
            "harness_rise",
            "rise of the loss over the base by lm-evaluation-harness",
            ratio_of_group_sums(rise, np.array(n_tokens, float)),
            "nats/token",
            method="ratio of sums, document-clustered linearised interval (t, widened for skewness)",
        ),
    )


def _write_task(folder: Path, texts: Sequence[str]) -> None:
    """The task and its documents; scores of other documents are thrown away."""
    rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    path = folder / "tasks" / f"{TASK}.jsonl"
    if path.is_file() and path.read_text(encoding="utf-8") == rows:
        return
    shutil.rmtree(folder, ignore_errors=True)
    write_atomically(path, rows)
    write_atomically(folder / "tasks" / f"{TASK}.yaml", _TASK.format(task=TASK, texts=path.resolve()))


def _scored(model: str, name: str, folder: Path, n: int, python: Path) -> Scored:
    out = folder / name
    stamp = _stamp(Path(model))
    if not _is_of(out, stamp):
        shutil.rmtree(out, ignore_errors=True)
        _run(python, model, folder, out)
        write_atomically(out / "stamp", stamp)
    (results,) = sorted(out.rglob("results_*.json"))[-1:]
    (samples,) = sorted(out.rglob(f"samples_{TASK}_*.jsonl"))[-1:]
    said = json.loads(results.read_text(encoding="utf-8"))
    found = said["results"][TASK]
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    nats = {int(row["doc_id"]): -float(row["byte_perplexity"][0]) for row in rows}
    if sorted(nats) != list(range(n)):
        raise BackendError(f"the harness scored {len(nats)} of {n} documents; see {samples}")
    return Scored(
        version=str(said.get("lm_eval_version", "")),
        command=shlex.join(["lm_eval", *_words(model, folder, out)]),
        numbers=HarnessNumbers(
            *(float(found[f"{m},none"]) for m in ("word_perplexity", "byte_perplexity", "bits_per_byte"))
        ),
        nats=tuple(nats[i] for i in range(n)),
    )


def _words(model: str, folder: Path, out: Path) -> list[str]:
    settings = f"pretrained={model},dtype=float32,max_length={_MAX_TOKENS}"
    return [
        *("--model", "hf", "--model_args", settings, "--tasks", TASK, "--include_path", str(folder / "tasks")),
        *("--device", "cpu", "--batch_size", "1", "--output_path", str(out), "--log_samples"),
    ]


def _run(python: Path, model: str, folder: Path, out: Path) -> None:
    if not os.access(python, os.X_OK):
        raise UsageError(
            f"no Python at {python}: `python bench/peers/setup.py --only peers` makes lm-evaluation-harness's environment, and "
            "--lm-eval names the Python of another one"
        )
    # nothing is fetched: documents and models are files here
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str((folder / "cache").resolve())}
    outcome = subprocess.run(
        [str(python), "-m", "lm_eval", *_words(model, folder, out)],
        env={**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, **quiet},
        capture_output=True,
        text=True,
        check=False,
    )
    if outcome.returncode:
        lines = outcome.stderr.strip().splitlines() or ["nothing on stderr"]
        raise BackendError(f"lm-evaluation-harness ended with {outcome.returncode} on {model}: {lines[-1]}")


def _stamp(model: Path) -> str:
    """What the weights were when they were scored: sizes and times of their files."""
    files = sorted(model.glob("*.safetensors"))
    return json.dumps([[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files])


def _is_of(out: Path, stamp: str) -> bool:
    path = out / "stamp"
    return path.is_file() and path.read_text(encoding="utf-8") == stamp
