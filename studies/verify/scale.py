"""`freerun verify` at the size of a training run: time and peak memory of the command, and whether it goes on after Ctrl-C.

    python -m studies.verify.scale                     10,000 completions of 512 tokens by byte 3-grams
    python -m studies.verify.scale --real              500 of 512 tokens by the 135M model (draw them first: studies.verify.draws)

The command is sent the signal of Ctrl-C once it has read a third of the tokens, and is given again. Files stand in `runs/verify`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from freerun.runs.provenance import provenance
from freerun.samples.reading import open_samples
from freerun.samples.writing import write_samples
from freerun.specs.spec import load_predictor
from studies.files import json_text, read_result, write_files
from studies.verify.draws import MODEL, completions

HERE = Path(__file__).parent / "scale"
KEPT = Path("runs/verify")
CHEAP = "ngram/3@builtin/python-docs"
COMPLETIONS, TOKENS, EACH, PIECE = 10_000, 512, 4, 100
UNIT_TEXTS = 32


@dataclass(frozen=True)
class Pass:
    """One call of the command: seconds, largest resident memory, exit code, and the parts that stood in its folder afterwards."""

    seconds: float
    peak_mb: float
    exit_code: int
    units: int


def cheap_samples(folder: Path, n: int) -> Path:
    """Completions drawn by the n-gram counts, in pieces that are kept."""
    model = load_predictor(CHEAP)
    rng = np.random.default_rng(3)
    begun = [rng.integers(97, 123, 8) for _ in range(n // EACH)]
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, len(begun), PIECE):
        path = folder / f"piece-{first:05d}.jsonl"
        if not path.exists():
            write_samples(path, completions(model, begun[first : first + PIECE], first, EACH, TOKENS, seed=17))
    return folder


def command(samples: Path, model: str, out: Path) -> list[str]:
    return [sys.executable, "-m", "freerun", "verify", str(samples), "--model", model, "-o", str(out)]


def timed(words: list[str], out: Path, *, interrupt_after_units: int | None = None) -> Pass:
    """Run it; where wanted send it SIGINT once so many units are recorded."""
    began = time.monotonic()
    log = (KEPT / "scale.log").open("ab")
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what runs in the background inherits deaf ears
    process = subprocess.Popen(words, stdout=log, stderr=log, preexec_fn=hear)
    while interrupt_after_units is not None and is_running(process.pid):
        if units(out) >= interrupt_after_units:
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.2)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    return Pass(round(seconds, 1), round(peak_mb(used), 0), os.waitstatus_to_exitcode(status), units(out))


def is_running(pid: int) -> bool:
    """Whether a child has not ended; how it ended is still there to be asked for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def peak_mb(used: resource.struct_rusage) -> float:
    """Linux counts kilobytes, macOS bytes."""
    return used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def units(out: Path) -> int:
    return len(list((out / "scores").glob("*.parquet"))) if (out / "scores").is_dir() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--completions", type=int, default=COMPLETIONS, help="of the cheap predictor (default 10,000)")
    arguments = parser.parse_args()
    wanted = arguments.completions
    name, model = ("real", MODEL) if arguments.real else (f"cheap-{wanted}", CHEAP)
    samples = KEPT / "long" if arguments.real else cheap_samples(KEPT / name, wanted)
    out = KEPT / f"verified-{name}"
    n = sum(1 for _ in open_samples(samples))
    words = command(samples, model, out)
    shutil.rmtree(out, ignore_errors=True)
    passes = [timed(words, out, interrupt_after_units=n // UNIT_TEXTS // 3), timed(words, out)]
    result = json.loads((out / "result.json").read_text())
    found = {
        "command": "freerun " + " ".join(words[3:]),
        "samples": result["samples"],
        "passes": [asdict(p) for p in passes],
        "match": result["verdict"]["match"],
        "sentence": result["verdict"]["sentence"],
        "detail": result["verdict"]["detail"],
        "provenance": provenance(),
    }
    held = read_result(HERE) if (HERE / "result.json").exists() else {}
    write_files(HERE, {"result.json": json_text({**held, name: found})})


if __name__ == "__main__":
    main()
