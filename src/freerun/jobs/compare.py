"""Compare finished runs from their records: no model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from freerun.comparisons.differences import compare_runs
from freerun.comparisons.result import compare_result
from freerun.comparisons.terms import align, breaches, cautions
from freerun.counted import counted
from freerun.errors import FreerunError, UsageError
from freerun.findings.evidence import Evidence
from freerun.results.compare import Breach, CompareResult
from freerun.runs.run import evidence_in, finished, is_distance, result_in
from freerun.specs.spec import loader_of

Say = Callable[[str], None]


def compare(
    first: str | Path,
    second: str | Path,
    *more: str | Path,
    anyway: bool = False,
    x: Sequence[float] | None = None,
    x_label: str = "run",
    say: Say = lambda _: None,
) -> CompareResult:
    """Compare every run with the first, paired by document and draw; with more than two, also their trend over `x`.

    Raises:
        UsageError: a run given twice, `x` that does not fit, or runs that must not be compared (unless `anyway`).
        DataError: no run there, an unfinished or a damaged one.
        TooFewDocuments: fewer than two documents in common.
    """
    paths = [Path(p) for p in (first, second, *more)]
    if len({p.resolve() for p in paths}) < len(paths):
        raise UsageError("a run is given twice; every run can be compared once")
    if x is not None and (len(x) != len(paths) or len(set(x)) < 2):
        raise UsageError(
            f"--x holds {counted(len(x), 'number')} for {counted(len(paths), 'run')}; give one a run, at least two of them "
            "different"
        )
    _check_are_runs((first, second, *more))
    folders = [finished(p) for p in paths]
    evidences = []
    for folder in folders:
        say(f"reading {folder.path}")
        evidences.append(evidence_in(folder))
    names = _names(evidences, paths)
    broken: list[Breach] = []
    said: list[str] = []
    for k, other in enumerate(evidences[1:], start=1):
        aligned = align(evidences[0], other)
        lost = breaches(evidences[0], other, aligned, run=names[k])
        broken += lost
        said += [s for s in cautions(evidences[0], other, aligned) if s not in said]
        if lost and not anyway:
            what = "; ".join(map(str, lost))
            raise UsageError(
                f"{paths[0]} and {paths[k]} differ in more than the model: {what}; "
                "`--anyway` compares them and says what no longer holds"
            )
    say("comparing")
    return compare_result(
        evidences,
        names,
        compare_runs(evidences, names, x=x),
        broken=broken,
        cautions=said,
        results=[result_in(folder.path) for folder in folders],
        x=x,
        x_label=x_label,
        command=" ".join(["freerun compare", *map(str, paths), *(["--anyway"] if anyway else [])]),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _check_are_runs(given: Sequence[str | Path]) -> None:
    """Two models are not runs, and neither is what was measured between two models."""
    for path in given:
        if is_distance(path):
            raise UsageError(
                f"{path} is a distance between two models; `freerun report {path}` shows it, and audits are compared"
            )
    if not any(Path(path).exists() for path in given) and all(_names_a_model(str(path)) for path in given):
        raise UsageError(
            f"{given[0]} and {given[1]} are models, not runs: `freerun distance {given[0]} {given[1]}` holds them side by side"
        )


def _names_a_model(word: str) -> bool:
    try:
        loader_of(word)
    except FreerunError:
        return False
    return True


def _names(evidences: Sequence[Evidence], paths: Sequence[Path]) -> list[str]:
    """The models, where that tells the runs apart, with what else differs; else the folders."""
    models = [e.plan.model for e in evidences]
    if len(set(models)) == len(models):
        return models
    parts = (
        [e.plan.sampling.describe() for e in evidences],
        [e.plan.dtype for e in evidences],
        [e.plan.corpus for e in evidences],
        [f"prefix {e.plan.prefix}" for e in evidences],
        [f"seed {e.plan.seed}" for e in evidences],
    )
    for values in parts:
        with_part = [f"{m}, {value}" for m, value in zip(models, values, strict=True)]
        if len(set(with_part)) == len(with_part):
            return with_part
    folders = [p.resolve().name for p in paths]
    return folders if len(set(folders)) == len(folders) else [str(p) for p in paths]
