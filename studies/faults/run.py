"""Faults injected into runs, and what the same command makes of each afterwards: `python -m studies.faults.run`.

After every fault the same command runs again, undisturbed. Either the run is then the one that an undisturbed run gives (records,
result and page), or the command refused and named a file; once that file is removed, the command runs again and the run must be
the same. Anything else is a difference, a lost row or an unclear refusal, and is counted as such.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

import freerun.commands.audit
import freerun.commands.grid
import freerun.findings.summary
import freerun.jobs.audit.audit
import freerun.jobs.grid.grid
import freerun.report.pages.audit
import freerun.worlds.catalogue  # noqa: F401  all loaded before the first fork
from freerun.errors import FreerunError
from freerun.records.store import RunFolder
from freerun.results.json import from_json
from freerun.runs.executors.job import Calls, Done, Executor
from freerun.runs.executors.local import Local
from freerun.runs.executors.pool import Pool
from studies.faults.bombs import BOMBS
from studies.faults.child import Ended, run
from studies.faults.kinds import FAULTS, Fault, Scene
from studies.files import json_text, write_files

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "faults.md"
SMALL = ("--tokens", "4", "--batch", "4", "--documents", "16", "--prefix", "4")
AUDIT = ("audit", "world/markov", "world/markov", *SMALL)
PLAN = """
models = ["world/markov", {spec = "world/markov+temperature,t=0.5", label = "cold"}]
corpora = ["world/markov"]
[settings]
documents = 16
tokens = 4
prefix = 4
batch = 8
"""
SEED = 20261127
Verdict = Literal["the same", "the same after a refusal", "different", "unclear refusal", "traceback"]
GOOD: tuple[Verdict, ...] = ("the same", "the same after a refusal")


Unit = tuple[int, int]
"""A fault by its place in `FAULTS`, and the number of the injection."""


@dataclass(frozen=True)
class Judged:
    """What became of one fault. `said`: by the run that met it, or the one after it."""

    kind: str
    verdict: Verdict
    met_with: str
    said: str


def campaign(
    faults: Sequence[tuple[Fault, int]],
    place: Path,
    *,
    seed: int = SEED,
    executor: Executor | None = None,
    known: Mapping[Unit, Judged] | None = None,
    first: float = 0.0,
    tell: Callable[[Unit, Judged], None] = lambda _unit, _judged: None,
) -> list[Judged]:
    """Inject so many faults of each kind and judge what is left of each, but those that are known already."""
    scenes = {name: _scene(name, place) for name in sorted({f.scene for f, _ in faults})}
    units = [(FAULTS.index(fault), i) for fault, n in faults for i in range(n)]
    judged: dict[Unit, Judged] = dict(known or {})
    begin = round(first * len(units))
    missing = [u for u in units[begin:] + units[:begin] if u not in judged]
    pooled = [u for u in missing if FAULTS[u[0]].scene == "pool"]  # a worker has no workers of its own
    for who, some in ((executor or Local(), [u for u in missing if u not in pooled]), (Local(), pooled)):
        for outcome in who.map(Calls(partial(_inject, scenes, str(place), seed)), some):
            assert isinstance(outcome, Done), str(outcome)
            judged[outcome.unit] = outcome.value
            tell(outcome.unit, outcome.value)
    return [judged[unit] for unit in units]


def _inject(scenes: dict[str, Scene], place: str, seed: int, unit: Unit) -> Judged:
    """One fault and what becomes of it."""
    number, i = unit
    fault = FAULTS[number]
    rng = np.random.default_rng([seed, i, *fault.kind.encode()])
    where = Path(place) / f"{number}-{i}"
    scene = _elsewhere(scenes[fault.scene], where)
    judged = _judge(fault, scene, fault.inject(scene, rng))
    shutil.rmtree(where, ignore_errors=True)
    return judged


def _scene(name: str, place: Path) -> Scene:
    """The undisturbed run, timed once everything is warm."""
    folder = place / f"whole-{name}" / "run"
    words = AUDIT
    if name == "pool":
        words = (*AUDIT, "--executor", "pool:2")
    elif name == "grid":
        (place / "plan.toml").write_text(PLAN)
        words = ("grid", str(place / "plan.toml"))
    for path in (place / f"warm-{name}", folder):
        ended = run([*words, "-o", str(path)])
        assert ended.finished, ended.said
    again = AUDIT if name == "pool" else words  # whoever makes the parts, they are the same
    return Scene((*words, "-o", str(folder)), (*again, "-o", str(folder)), folder, ended.seconds, folder)


def _elsewhere(scene: Scene, place: Path) -> Scene:
    """The same scene in a folder of its own."""
    folder = place / "run"
    words, again = ((*w[:-1], str(folder)) for w in (scene.words, scene.again))
    return Scene(words, again, folder, scene.seconds, scene.finished)


def _judge(fault: Fault, scene: Scene, met: Ended | None) -> Judged:
    met_with = "" if met is None else _in_words(met)
    said = [] if met is None else [met.said]
    for attempt in range(4):
        again = run(scene.again)
        said.append(again.said)
        if any("Traceback" in words or "internal error" in words for words in said):
            return Judged(fault.kind, "traceback", met_with, "\n".join(said)[-2000:])
        if again.finished:
            try:
                same = _same(scene)
            except (FreerunError, ValueError, OSError) as error:
                return Judged(fault.kind, "different", met_with, str(error)[-400:])
            verdict: Verdict = "different" if not same else "the same after a refusal" if attempt else "the same"
            return Judged(fault.kind, verdict, met_with, said[-1][-400:] if not same else _last_line(said[0]))
        path = _named(again.said, scene.folder)
        if path is None:
            break
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return Judged(fault.kind, "unclear refusal", met_with, said[-1][-400:])


def _in_words(ended: Ended) -> str:
    return {0: "finished", 3: "finished", 99: "before the command began", 130: "interrupted", -9: "killed"}.get(
        ended.code, f"exit {ended.code}"
    )


def _named(said: str, folder: Path) -> Path | None:
    """The file or folder of the run that a refusal names."""
    found = re.findall(rf"{re.escape(str(folder))}[\w./-]*", said)
    paths = [Path(word.rstrip(".:;,")) for word in found]
    return next((p for p in paths if p.exists()), None)


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or [""])[-1][:300]


# ---- the same? ---------------------------------------------------------------------------------------------------------


def _same(scene: Scene) -> bool:
    """Records, result and page of every run are those of the undisturbed one, and nothing half-written lies about."""
    runs = sorted(p.parent.relative_to(scene.finished) for p in scene.finished.rglob("manifest.json"))
    mine, theirs = (_read(root) for root in (scene.folder, scene.finished))
    tables = all(
        RunFolder(scene.folder / r).read(kind).equals(RunFolder(scene.finished / r).read(kind))
        for r in runs
        for kind in ("sequences", "tokens")
    )
    leftovers = [p for p in scene.folder.rglob(".*") if p.name != ".lock"]
    return (
        tables and mine == theirs and not leftovers and all((scene.folder / r / "report.html").exists() for r in runs)
    )


def _read(root: Path) -> dict[str, Any]:
    names = ("result.json", "manifest.json")
    found = sorted(p for name in names for p in root.rglob(name))
    return {str(p.relative_to(root)): _without(json.loads(p.read_text())) for p in found}


def _without(value: Any) -> Any:
    """What does not tell of the folder, the machine or the time."""
    if isinstance(value, dict):
        left_out = ("provenance", "command", "created", "sha256")
        return {k: _without(v) for k, v in value.items() if k not in left_out}
    return [_without(v) for v in value] if isinstance(value, list) else value


# ---- what is written ---------------------------------------------------------------------------------------------------


def table(judged: Sequence[Judged], bombs: dict[str, Any]) -> str:
    """The table of the page."""
    head = "| fault | injected | met with | the same afterwards | the same after a clear refusal | anything else |"
    lines = [head, "|---|--:|---|--:|--:|--:|"]
    for fault in FAULTS:
        mine = [j for j in judged if j.kind == fault.kind]
        met = Counter(j.met_with or "(it struck a finished run)" for j in mine)
        words = ", ".join(f"{n} {word}" for word, n in sorted(met.items()))
        counts = [sum(j.verdict == v for j in mine) for v in GOOD]
        lines.append(
            f"| {fault.kind}: {fault.what} | {len(mine)} | {words} | {counts[0]} | {counts[1]} | {len(mine) - sum(counts)} |"
        )
    whole = [sum(j.verdict == v for j in judged) for v in GOOD]
    lines.append(
        f"| **all** | **{len(judged)}** | | **{whole[0]}** | **{whole[1]}** | **{len(judged) - sum(whole)}** |"
    )
    packed = [
        "| bomb | bytes packed | bytes unpacked | exit code | largest memory, MiB | seconds |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    packed += [
        f"| {name} | {b['packed_bytes']:,} | {b['unpacked_bytes']:,} | {b['exit_code']} | {b['largest_mib']:.0f} "
        f"| {b['seconds']:.1f} |"
        for name, b in bombs.items()
    ]
    return "\n".join(lines) + "\n\n" + "\n".join(packed) + "\n"


def _tell(kept: Path, unit: Unit, judged: Judged) -> None:
    """Keep it, so that a campaign that is interrupted goes on."""
    with kept.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"unit": unit, "judged": asdict(judged)}) + "\n")
    words = judged.kind if judged.verdict in GOOD else f"{judged.verdict.upper()}: {judged}"
    print(words, file=sys.stderr, flush=True)


def _known(kept: Path) -> dict[Unit, Judged]:
    """What was kept of an earlier start."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    rows = [json.loads(line) for line in lines]
    return {(row["unit"][0], row["unit"][1]): from_json(Judged, row["judged"]) for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the faults of each kind (default 1: all)")
    parser.add_argument("--first", type=float, default=0.0, help="begin at this share of the faults (default 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument(
        "--keep", type=Path, default=Path("runs/faults.jsonl"), help="what is done already (for going on)"
    )
    chosen = parser.parse_args()
    chosen.keep.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        faults = [(f, max(1, round(f.n * chosen.share))) for f in FAULTS]
        keep = partial(_tell, chosen.keep)
        executor, known = Pool(chosen.workers), _known(chosen.keep)
        judged = campaign(faults, Path(place), executor=executor, known=known, first=chosen.first, tell=keep)
        bombs = {name: bomb(Path(place)) for name, bomb in BOMBS.items()}
    result = {
        "command": "python -m studies.faults.run",
        "seconds": round(time.monotonic() - began),
        "injected": len(judged),
        "verdicts": dict(Counter(j.verdict for j in judged)),
        "faults": [j.__dict__ for j in judged if j.verdict not in GOOD],
        "by_kind": {f.kind: dict(Counter(j.verdict for j in judged if j.kind == f.kind)) for f in FAULTS},
        "bombs": bombs,
    }
    write_files(HERE, {"result.json": json_text(result)})
    before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- table -->\n")
    after = rest.partition("<!-- end of the table -->\n")[2]
    PAGE.write_text(
        f"{before}<!-- table -->\n{table(judged, bombs)}<!-- end of the table -->\n{after}", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
