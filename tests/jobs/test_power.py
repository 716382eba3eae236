"""A power table as a run: planned, interrupted, gone on with, and the same whoever works."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom

from freerun.errors import DataError, UsageError
from freerun.jobs.power import power as experiment
from freerun.jobs.power.cells import FULL, QUICK, Part, PowerPlan, chosen_plan, run_unit
from freerun.jobs.power.metrics import METRICS
from freerun.jobs.power.organisms import NULL, PLANTED
from freerun.jobs.power.power import power, read_part
from freerun.jobs.power.result import power_result
from freerun.jobs.power.words import with_words
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.results.power import Expectation, PowerResult
from studies.power.expectations import COLUMNS, EXPECTED, with_expectations
from studies.power.pages import blocks_markdown, compact, filled, metrics_markdown, read_compact

ROOT = Path(__file__).parents[2]
TINY = PowerPlan(
    bases=("authors",),
    organisms=(NULL, "absorbing"),
    metrics=("loss", "z_declared", "likelihood_ratio", "sources", "z_own"),
    lengths=(8, 16),
    texts=(8,),
    reruns=4,
    null_reruns=6,
    block=4,
    permutations=19,
)
TIMES = ("seconds_of_work", "created", "provenance")


def without_times(result: PowerResult) -> dict[str, Any]:
    return {k: v for k, v in to_json(result).items() if k not in TIMES}


def test_plans_are_as_large_as_promised() -> None:
    assert (FULL.reruns, FULL.null_reruns, FULL.lengths, FULL.texts) == (200, 2000, (16, 64, 256), (20, 60))
    assert set(FULL.bases) == set(QUICK.bases) == {"authors", "characters", "words"}
    assert set(FULL.organisms) == set(PLANTED)
    assert set(FULL.metrics) == set(METRICS)
    assert FULL.hash != QUICK.hash != replace(QUICK, seed=1).hash
    covered = {(u.base, u.organism, r) for u in FULL.units() for r in range(u.first, u.stop)}
    assert len(covered) == sum(u.stop - u.first for u in FULL.units()) == 3 * (2000 + 9 * 200)
    cells = list(FULL.cells("authors"))
    assert ("loops", 16, 20) not in cells
    assert ("mauve", 64, 60) in cells
    assert ("mauve", 64, 20) not in cells
    assert ("sources", 16, 20) not in list(FULL.cells("words"))


def test_every_expectation_has_an_organism_and_a_metric() -> None:
    assert set(EXPECTED) == set(PLANTED) - {NULL, "loop"}
    assert set(COLUMNS.values()) <= set(METRICS)
    assert all(len(signs) == len(COLUMNS) for _, signs in EXPECTED.values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metrics": ("clasifier",)}, "did you mean 'classifier'"),
        ({"organisms": (NULL, "absorbin")}, "did you mean 'absorbing'"),
        ({"organisms": ("absorbing",)}, "null must be among them"),
        ({"lengths": (64, 16)}, "must ascend"),
        ({"texts": (4,)}, "8 or more"),
        ({"reruns": 0}, "at least 1"),
        ({"permutations": 100}, "must be whole"),
        ({"metrics": ()}, "at least one"),
    ],
)
def test_impossible_plans_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(TINY, **change)


def test_the_null_is_always_there() -> None:
    assert chosen_plan(organisms=("hash",)).organisms == (NULL, "hash")
    assert chosen_plan(full=True, metrics=("loss",), seed=3) == replace(FULL, metrics=("loss",), seed=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PowerResult]:
    return power(TINY, out=tmp_path_factory.mktemp("power") / "run", workers=1, command="freerun power")


def test_the_result_is_plain_and_complete(whole: tuple[Path, PowerResult]) -> None:
    path, result = whole
    text = (path / "result.json").read_text()
    assert json.loads(text) == to_json(result)
    assert from_json(PowerResult, json.loads(text)) == result
    assert not {"NaN", "Infinity"} & set(text.split())
    assert result.schema_version == 1
    assert result.plan_hash == TINY.hash
    assert (path / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert len(result.cells) == 2 * 5 * 2
    for cell in result.cells:
        assert cell.runs == (6 if cell.organism == NULL else 4)
        assert 0 <= cell.low <= cell.rate == cell.rejected / cell.runs <= cell.high <= 1
    assert result.null.cells == 4 * 2, "the control is not counted twice: where nothing is planted it is z itself"
    assert result.controls is not None
    assert [m.metric for m in result.controls.by_metric] == ["z_own"]
    excess = {(e.organism, e.tokens): e.excess_nats_per_text for e in result.effects}
    assert excess[NULL, 16] == 0.0
    assert excess["absorbing", 16] == pytest.approx(0.1608, abs=1e-4)  # −16 ln 0.99


def test_an_interrupted_run_goes_on_to_the_same_result(
    whole: tuple[Path, PowerResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def stops(plan: PowerPlan, unit: Any) -> Part:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(unit.name)
        return run_unit(plan, unit)

    run = tmp_path / "run"
    monkeypatch.setattr(experiment, "run_unit", stops)
    with pytest.raises(KeyboardInterrupt):
        power(TINY, out=run, workers=1, command="freerun power")
    assert len(list((run / "cells").glob("*.json"))) == 2
    assert not (run / "result.json").exists()
    done.clear()
    monkeypatch.setattr(experiment, "run_unit", lambda plan, unit: done.append(unit.name) or run_unit(plan, unit))
    _, again = power(TINY, out=run, workers=1, command="freerun power")
    assert len(done) == len(TINY.units()) - 2
    assert without_times(again) == without_times(whole[1])
    done.clear()
    power(TINY, out=run, workers=1)
    assert not done


@pytest.mark.parametrize("damage", ["cut", "counts", "another plan", "gone"])
def test_damaged_parts_are_made_again(
    damage: str, whole: tuple[Path, PowerResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    power(TINY, out=run, workers=1, command="freerun power")
    unit = TINY.units()[1]
    part = run / "cells" / f"{unit.name}.json"
    held = json.loads(part.read_text())
    if damage == "cut":
        part.write_text(part.read_text()[:40])
    elif damage == "counts":
        held["part"]["rejected"]["loss"]["8x8"] += 1
        part.write_text(json.dumps(held))
    elif damage == "another plan":
        part.write_text((run / "cells" / f"{TINY.units()[0].name}.json").read_text())
    else:
        part.unlink()
    assert read_part(run, unit, TINY) is None
    made: list[str] = []
    monkeypatch.setattr(experiment, "run_unit", lambda plan, u: made.append(u.name) or run_unit(plan, u))
    _, again = power(TINY, out=run, workers=1, command="freerun power")
    assert made == [unit.name]
    assert without_times(again) == without_times(whole[1])


def test_two_workers_give_the_same(whole: tuple[Path, PowerResult], tmp_path: Path) -> None:
    _, result = power(TINY, out=tmp_path / "run", workers=2, command="freerun power")
    assert without_times(result) == without_times(whole[1])


_A_PARENT = """
import multiprocessing, time
from concurrent.futures import ProcessPoolExecutor
from freerun.runs.executors.pool import end_with_parent
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent)
    pool.submit(print, "ready", flush=True).result()
    pool.submit(time.sleep, 600).result()
"""


def test_workers_end_where_their_parent_is_killed(tmp_path: Path) -> None:
    """The worker holds the pipe that it writes to: reading it ends when the worker has."""
    script = tmp_path / "parent.py"
    script.write_text(_A_PARENT)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    parent.send_signal(signal.SIGKILL)
    rest, _ = parent.communicate(timeout=60)
    assert rest == ""


def test_another_plan_or_something_else_in_the_folder_is_refused(tmp_path: Path) -> None:
    power(replace(TINY, organisms=(NULL,), metrics=("loss",)), out=tmp_path / "run", workers=1)
    with pytest.raises(DataError, match="another plan"):
        power(TINY, out=tmp_path / "run", workers=1)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is not a run"):
        power(TINY, out=other, workers=1)
    with pytest.raises(UsageError, match="--workers"):
        power(TINY, out=tmp_path / "new", workers=0)
    assert not (tmp_path / "new").exists()


# ---- from counts to words --------------------------------------------------------------------------------------------


def made_up(plan: PowerPlan, rate: Any) -> PowerResult:
    """A result of counts that were not simulated: `rate(base, organism, metric, tokens, texts)` of every unit's reruns."""
    parts = []
    for unit in plan.units():
        runs = unit.stop - unit.first
        rejected: dict[str, dict[str, int]] = {}
        for metric, tokens, texts in plan.cells(unit.base):
            share = rate(unit.base, unit.organism, metric, tokens, texts)
            rejected.setdefault(metric, {})[f"{tokens}x{texts}"] = round(runs * share)
        excess = {str(t): (float(runs), 0.0, 0.0) for t in plan.lengths}
        parts.append(Part(unit.name, unit.base, unit.organism, runs, rejected, excess, 1.0))
    facts = {"machine": "a machine", "python": "3", "numpy": "2", "scikit-learn": "1"}
    return power_result(plan, parts, {"command": "freerun power --full", "provenance": facts})


def expected(rate: Any) -> list[Expectation]:
    return list(with_expectations(made_up(FULL, rate)).expectations)


def test_a_null_rate_off_the_band_is_said() -> None:
    good = made_up(FULL, lambda b, o, m, t, n: 0.05)
    assert good.status == "good"
    assert good.sentence == (
        "0 of 9 planted defects are noticed by metrics that can be had for a real model; "
        "0 by metrics that know the true law, an upper limit."
    )
    oracle = made_up(FULL, lambda b, o, m, t, n: 0.9 if o != NULL and m in ("likelihood_ratio", "sources") else 0.05)
    assert oracle.sentence.startswith("0 of 9 "), "what knows the truth is no help with a real model"
    assert "; 9 by metrics that know the true law (most by likelihood ratio: 9)" in oracle.sentence
    assert good.points[2].text.startswith("Nothing planted: all ")
    bad = made_up(FULL, lambda b, o, m, t, n: 0.1 if (b, m, t, n) == ("words", "rep", 64, 20) else 0.05)
    assert bad.status == "bad"
    assert bad.sentence.startswith("1 of ")
    assert "null rates lies outside the simultaneous band" in bad.sentence
    assert bad.null.outside == ("rep-4, null on words, 64 tokens, 20 texts: 10.0%",)
    low = made_up(FULL, lambda b, o, m, t, n: 0.0 if m in ("rep", "z_declared") else 0.05)
    assert {w.split(",")[0] + "," + w.split(",")[1] for w in low.null.outside} == {"z, declared"}


def test_signs_follow_from_counts() -> None:
    powers = {16: 0.04, 64: 0.5, 256: 1.0}

    def rate(base: str, organism: str, metric: str, tokens: int, texts: int) -> float:
        if metric == "classifier":
            return 1.0 if base == "authors" else 0.05
        return powers[tokens] if metric == "z_declared" else 0.9 if metric == "likelihood_ratio" else 0.05

    found = {(e.organism, e.column): e for e in expected(rate)}
    assert len(found) == 8 * 6
    one = found["absorbing", "z on declared t=1"]
    assert (one.found, one.expected, one.confirmed) == ("○", "●", False)
    assert found["absorbing", "LR against Q_0"].found == "●"
    assert found["absorbing", "data loss"].found == "–"
    assert found["hash", "classifier"].by_base == {"authors": "●", "characters": "–", "words": "–"}
    assert found["hash", "classifier"].found == "○"
    assert found["hash", "z on declared t=1"].confirmed is True, "'depends' is not a sign to be corrected"
    assert found["absorbing", "source drift"].by_base == {"authors": "–"}


def test_long_texts_are_judged_by_the_longest() -> None:
    rows = expected(lambda b, o, m, t, n: (0.1 if t < 256 else 1.0) if m == "classifier" else 0.05)
    found = {e.organism: (e.found, e.confirmed) for e in rows if e.column == "classifier"}
    assert found["self-detector"] == ("●", True)
    assert found["absorbing"] == ("○", False)
    assert found["int8 / bf16"] == ("○", False)


def test_no_sign_is_chance() -> None:
    """Nothing planted anywhere: a rate that some of the table's cells reach by chance most of the time is called blind."""
    once = 20
    cells = 8 * (5 * 3 + 1) * 3
    assert 1 - binom.cdf(once - 1, 200, 0.05) ** cells > 0.5
    assert {e.found for e in expected(lambda b, o, m, t, n: once / 200)} == {"–"}


# ---- the page --------------------------------------------------------------------------------------------------------


def test_blocks_are_filled_and_nothing_else_is_touched() -> None:
    page = (ROOT / "docs" / "power.md").read_text(encoding="utf-8")
    blocks = blocks_markdown(with_expectations(made_up(FULL, lambda b, o, m, t, n: 0.05)))
    once = filled(page, blocks)
    assert "Not run yet" not in once
    assert filled(once, blocks) == once
    for line in page.split("\n## ")[1:]:
        assert f"\n## {line.splitlines()[0]}\n" in once
    with pytest.raises(DataError, match="no block"):
        filled(page, {"nothing": ""})


def test_the_page_says_what_the_code_tests() -> None:
    """If it fails: python -c "…filled(page, {'metrics': metrics_markdown(…)})", or studies/power/run.py."""
    page = (ROOT / "docs" / "power.md").read_text(encoding="utf-8")
    table = metrics_markdown(made_up(FULL, lambda b, o, m, t, n: 0.05).metrics)
    assert filled(page, {"metrics": table}) == page


def test_the_committed_data_and_the_page_agree() -> None:
    data = ROOT / "studies" / "power" / "result.json"
    if not data.exists():
        pytest.skip("the full table has not been run")
    result = read_compact(data.read_text())
    assert compact(result) == data.read_text()
    assert with_words(result) == result, (
        "the words are not those of the code: write result.json again by compact(with_words(result))"
    )
    assert result.plan_hash == FULL.hash
    page = (ROOT / "docs" / "power.md").read_text(encoding="utf-8")
    assert filled(page, blocks_markdown(result)) == page
    assert result.null.all_inside, result.null.outside
