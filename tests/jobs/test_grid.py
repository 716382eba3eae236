"""`freerun grid`: cells that are ordinary audits, resumed from summaries, compared as `freerun compare` does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.commands.main import main
from freerun.comparisons.grids.summary import read
from freerun.errors import DataError, UsageError
from freerun.jobs.audit.audit import audit
from freerun.jobs.compare import compare
from freerun.jobs.grid.grid import Grid, finished_cells, report_grid, run_grid
from freerun.jobs.grid.plan import GridPlan, grid_of, read_grid
from freerun.records.store import RunFolder
from freerun.results.finding import to_json
from freerun.results.grid import GridResult
from freerun.results.json import from_json
from freerun.runs.executors.pool import Pool
from freerun.runs.progress import Silent

COLD = {"spec": "world/markov+temperature,t=0.5", "label": "cold"}
TABLE: dict[str, Any] = {
    "models": ["world/markov", COLD],
    "corpora": ["world/markov", "builtin/python-docs"],
    "settings": {"documents": 24, "tokens": 16, "batch": 8},
}


class Heard(Silent):
    """Keeps what is said, and counts tokens."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.total = self.done = 0

    def say(self, message: str) -> None:
        self.lines.append(message)

    def begin(self, total_tokens: int) -> None:
        self.total = total_tokens

    def advance(self, n_tokens: int) -> None:
        self.done += n_tokens


def without_times(result: GridResult) -> dict[str, Any]:
    return {**to_json(result), "created": "", "command": ""}


@pytest.fixture(scope="module")
def plan() -> GridPlan:
    return grid_of(TABLE)


@pytest.fixture(scope="module")
def whole(plan: GridPlan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Grid, Heard]:
    """Two models that can read one corpus and not the other."""
    heard = Heard()
    return run_grid(plan, out=tmp_path_factory.mktemp("grids") / "whole", progress=heard), heard


# ---- what is asked for -------------------------------------------------------------------------------------------------


def test_cells_are_all_combinations_and_lists_are_axes() -> None:
    plan = grid_of({**TABLE, "settings": {"prefix": [4, 8], "sample_with": ["none", "top_k=4"], "end_ids": [0, 1]}})
    assert len(plan.cells) == 2 * 2 * 4
    assert plan.axes == (("prefix", (4, 8)), ("sample_with", (None, "top_k=4")))
    assert {c.options.end_ids for c in plan.cells} == {(0, 1)}
    nothing = grid_of({**TABLE, "settings": {"end_ids": "none", "reference": ["none", ["world/markov"]]}})
    assert {(c.options.end_ids, c.options.reference) for c in nothing.cells} == {(None, ()), (None, ("world/markov",))}
    assert plan.baseline == (("model", "world/markov"),)
    last = plan.cells[-1]
    base = plan.baseline_of(last)
    assert base is not None
    assert (base.at.model, base.at.corpus, base.at.settings) == ("world/markov", last.at.corpus, last.at.settings)
    assert plan.baseline_of(base) is None
    assert len({c.name for c in plan.cells}) == len(plan.cells)
    assert from_json(GridPlan, json.loads(json.dumps(to_json(plan)))).hash == plan.hash


def test_a_baseline_may_be_a_setting() -> None:
    settings = {"dtype": ["fp32", "bf16"]}
    plan = grid_of({**TABLE, "settings": settings, "baseline": {"dtype": "fp32"}})
    pairs = [(c.at.model, c.at.settings, b.at.settings) for c in plan.cells if (b := plan.baseline_of(c)) is not None]
    assert pairs == [(m, (("dtype", "bf16"),), (("dtype", "fp32"),)) for m in ("world/markov", "cold") for _ in "12"]
    one = {"models": ["world/markov"], "corpora": ["world/markov"]}
    assert grid_of(one).baseline == ()
    assert grid_of({**one, "settings": settings}).baseline == (("dtype", "fp32"),)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": []}, "a grid has no 'model'; did you mean 'models'"),
        ({"models": []}, "models is a list of at least one"),
        ({"models": "world/markov"}, "models is a list"),
        ({"models": ["world/markow"]}, "unknown world 'markow'"),
        ({"models": ["world/markov", "world/markov"]}, "'world/markov' is given twice; give each a label"),
        ({"models": [{"spec": "world/markov", "steps": 1}]}, "a model has no 'steps'; did you mean 'step'"),
        ({"models": [{"spec": "world/markov", "step": -1}]}, "step = -1 is not a number above 0"),
        ({"models": [3]}, "a model is a table of spec, label"),
        ({"corpora": ["-"]}, "standard input can be read once only"),
        ({"corpora": [{"spec": "x", "field": "y"}]}, "a corpus has no 'field'"),
        ({"settings": {"prefx": 3}}, "settings has no 'prefx'; did you mean 'prefix'"),
        ({"settings": {"prefix": "3"}}, "prefix = '3' is not a whole number"),
        ({"settings": {"prefix": [3]}}, "is an axis: at least two values"),
        ({"settings": {"prefix": [3, 3]}}, "all different"),
        ({"settings": {"dtype": ["fp32", "fp8"]}}, "--dtype must be fp32 or bf16"),
        ({"settings": {"end_ids": ["a"]}}, "end_ids: 'a' is not a whole number"),
        ({"settings": {"end_ids": [True]}}, "end_ids: True is not a whole number"),
        ({"settings": {"reference": [[["x"]], ["y"]]}}, "'x'.* is not a text in quotes"),
        ({"settings": {"reference": ["world/markow"]}}, "unknown world 'markow'"),
        ({"settings": {"sample_with": ["none", "top_j=3"]}}, "sampling rule 'top_j=3': 'top_j=3' is not one of"),
        (
            {"models": [{**COLD, "label": "fp 32"}, {**COLD, "label": "fp-32"}]},
            "'fp 32' and 'fp-32' are one and the same: leave one out",
        ),
        ({"settings": {"quick": True}}, "quick is a first look at one audit"),
        ({"baseline": "warm"}, "model = 'warm' is not in the grid; there are world/markov, cold"),
        ({"baseline": {"prefix": 4}}, "baseline has no 'prefix'"),
        ({"keep": "all"}, "keep = 'all': records or summary"),
    ],
)
def test_plans_that_cannot_be_meant(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        grid_of({**TABLE, **changes})


def test_files_that_are_no_plan(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the grid"):
        read_grid(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("models = [")
    with pytest.raises(UsageError, match=r"bad.toml is not valid TOML: "):
        read_grid(tmp_path / "bad.toml")


# ---- what is made ------------------------------------------------------------------------------------------------------


def test_a_cell_that_cannot_be_measured_is_named_and_the_rest_goes_on(whole: tuple[Grid, Heard]) -> None:
    grid, heard = whole
    assert [c.state for c in grid.result.cells] == ["done", "refused", "done", "refused"]
    assert "knows only the symbols" in grid.result.cells[1].why
    assert grid.exit_code == 3
    assert heard.done == heard.total == 4 * 24 * 16 * 4


def test_each_cell_is_the_audit_that_its_command_makes(whole: tuple[Grid, Heard], tmp_path: Path) -> None:
    cell = whole[0].result.cells[2]
    alone = audit(COLD["spec"], "world/markov", out=tmp_path / "run", documents=24, tokens=16, batch=8)
    held = RunFolder(whole[0].path / cell.folder)
    assert held.manifest()["plan_hash"] == RunFolder(alone.path).manifest()["plan_hash"]
    for kind in ("sequences", "tokens"):
        assert held.read(kind).equals(RunFolder(alone.path).read(kind))
    assert cell.sentence == alone.verdict


def test_differences_are_those_of_compare(whole: tuple[Grid, Heard]) -> None:
    """From summaries here, from records there; p-values are adjusted for other families."""
    grid = whole[0]
    cells = {c.name: c for c in grid.result.cells}
    (pair,) = grid.result.pairs
    assert pair.compared is not None
    first, second = (grid.path / cells[name].folder for name in (pair.baseline, pair.cell))
    wanted = compare(first, second).pairs[0]
    assert pair.compared.documents_shared == wanted.documents_shared
    assert pair.compared.real_tokens_paired == wanted.real_tokens_paired
    assert [d.name for d in pair.compared.differences] == [d.name for d in wanted.differences]
    for mine, theirs in zip(pair.compared.differences, wanted.differences, strict=True):
        for name in ("a", "b", "value", "low", "high", "p_value", "standard_error"):
            ours, other = getattr(mine, name), getattr(theirs, name)
            wanted_value = None if other is None else pytest.approx(other, rel=1e-9, abs=1e-12)
            assert ours == wanted_value, (mine.name, name)
        assert (mine.n, mine.text, mine.identical) == (theirs.n, theirs.text, theirs.identical)


def test_all_tests_of_the_grid_are_adjusted_together() -> None:
    """Benjamini–Yekutieli and Holm by hand over two pairs: the functions of the comparisons."""
    from freerun.comparisons.differences import adjust_together
    from freerun.results.compare import Difference

    def of(p: float, *, primary: bool) -> Difference:
        return Difference("f", "n", "n", "", 0, 1, 1.0, 0.5, 1.5, 0.95, 9, p, None, 0.1, None, "", primary)

    first, second = adjust_together([(of(0.01, primary=True), of(0.02, primary=False)), (of(0.03, primary=True),)])
    assert first[0].adjusted_p == pytest.approx(0.02)
    assert second[0].adjusted_p == pytest.approx(0.03)
    assert first[1].adjusted_p == pytest.approx(0.02)


def test_the_page(whole: tuple[Grid, Heard]) -> None:
    page = whole[0].report.read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    for cell in whole[0].result.cells:
        assert (f'href="{cell.folder}/report.html"' in page) == (cell.state == "done")
    assert "knows only the symbols" in page


# ---- going on ----------------------------------------------------------------------------------------------------------


def test_the_same_grid_again_measures_nothing(whole: tuple[Grid, Heard], plan: GridPlan) -> None:
    grid, _ = whole
    before = {p: p.stat().st_mtime_ns for p in grid.path.rglob("*.parquet")}
    again = run_grid(plan, out=grid.path, progress=(heard := Heard()))
    assert {p: p.stat().st_mtime_ns for p in grid.path.rglob("*.parquet")} == before
    assert "2 of 4 cells are finished" in heard.lines
    assert without_times(again.result) == without_times(grid.result)


def test_records_may_go_once_a_cell_is_summed_up(whole: tuple[Grid, Heard], tmp_path: Path) -> None:
    """Killed after the first cell, then a larger plan, in two processes: nothing is measured twice, and nothing differs."""
    kept = grid_of({**TABLE, "keep": "summary"})
    some = GridPlan(kept.title, kept.cells[:2], kept.axes, (), "summary")
    run_grid(some, out=tmp_path / "grid")
    assert not list(tmp_path.rglob("*.parquet"))
    done = run_grid(kept, out=tmp_path / "grid", executor=Pool(2), progress=(heard := Heard()))
    assert "1 of 4 cells are finished" in heard.lines
    assert not list(tmp_path.rglob("*.parquet"))
    mine, theirs = without_times(done.result), without_times(whole[0].result)
    assert {c.pop("records_kept") for c in mine["cells"]} == {False}
    assert any(c.pop("records_kept") for c in theirs["cells"])
    assert mine == {**theirs, "cells": [{k: v for k, v in c.items() if k != "records_kept"} for c in theirs["cells"]]}
    again = report_grid(tmp_path / "grid")
    assert [c.state for c in again.result.cells] == ["done", "missing", "done", "missing"]  # refusals are not kept


def without_commands(content: str) -> dict[str, Any]:
    """A summary but for the commands of its manifest and the page, which name the folder."""
    held: dict[str, Any] = json.loads(content)["summary"]
    for name in ("command", "earlier_commands"):
        held["manifest"].pop(name, None)
    held["files"].pop("report.html")
    return held


def test_a_damaged_summary_is_made_again(whole: tuple[Grid, Heard], plan: GridPlan, tmp_path: Path) -> None:
    shutil.copytree(whole[0].path, tmp_path / "grid")
    summary = next((tmp_path / "grid" / "summaries").glob("*.json"))
    content = summary.read_text()
    for damaged in (content[:-9], content.replace("0.", "1.", 1), "{}", ""):
        summary.write_text(damaged)
        assert len(finished_cells(tmp_path / "grid", plan)) == 1
    again = run_grid(plan, out=tmp_path / "grid")
    assert without_commands(summary.read_text()) == without_commands(content)
    assert without_times(again.result) == without_times(whole[0].result)


def test_a_summary_comes_back_as_it_was(whole: tuple[Grid, Heard]) -> None:
    path = next((whole[0].path / "summaries").glob("*.json"))
    key, digest = read(path.read_text())
    assert len(key) == 64
    assert digest.curve is not None
    assert digest.curve.spreads[0].move_influence.ndim == 2
    assert all(np.isfinite(s.tops).all() for s in digest.sums)
    assert path.stat().st_size < 1_000_000


def test_a_corpus_that_has_changed_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    corpus = tmp_path / "texts.jsonl"
    rows = [{"text": "".join(rng.choice(list("abcdefgh"), 60))} for _ in range(30)]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = {
        "models": ["world/markov"],
        "corpora": [str(corpus)],
        "settings": {"documents": 20, "tokens": 16, "prefix": 4},
    }
    run_grid(grid_of(table), out=tmp_path / "grid")
    with corpus.open("a") as file:
        file.write(json.dumps({"text": "abc" * 30}) + "\n")
    done = run_grid(grid_of({**table, "models": ["world/markov", COLD]}), out=tmp_path / "grid")
    assert [c.state for c in done.result.cells] == ["done", "failed"]
    assert "is not what it was when" in done.result.cells[1].why


def test_folders_that_are_none(whole: tuple[Grid, Heard], plan: GridPlan, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no grid here"):
        report_grid(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is there and is not a grid"):
        run_grid(plan, out=tmp_path)
    (tmp_path / "grid.json").write_text("{")
    with pytest.raises(DataError, match=r"grid.json cannot be read"):
        run_grid(plan, out=tmp_path)


# ---- on the command line -----------------------------------------------------------------------------------------------

PLAN = """
models = ["world/markov"]
corpora = ["world/markov"]
[settings]
documents = 24
tokens = 16
prefix = [4, 8]
"""


def test_dry_run_and_report(whole: tuple[Grid, Heard], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    words = ["grid", str(tmp_path / "plan.toml"), "-o", str(tmp_path / "grid"), "--dry-run"]
    assert main([*words, "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["kind"] == "grid_forecast"
    assert read["seconds"]["low"] == pytest.approx(sum(c["seconds"]["low"] for c in read["cells"].values()))
    assert main(words) == 0
    assert "2 cells to measure, 0 finished" in capsys.readouterr().out
    assert not (tmp_path / "grid").exists()
    assert main(["report", str(whole[0].path)]) == 4
    out = capsys.readouterr().out
    assert "run the grid again" in out
    assert main(["report", str(whole[0].path), "--transfer", "x"]) == 2
    assert main([*words, "--parts", "memory://x"]) == 2
    assert "--parts memory://x goes with workers" in capsys.readouterr().err


def test_an_audit_by_other_processes_makes_the_same_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once into the folder, once by way of a URL."""
    monkeypatch.chdir(tmp_path)
    words = ["audit", "world/markov", "world/markov", "--documents", "24", "--tokens", "16", "--batch", "8"]
    assert main([*words, "-o", "alone"]) in (0, 3)
    assert main([*words, "-o", "pool", "--executor", "pool:2"]) in (0, 3)
    url = ["--executor", "pool:2", "--parts", f"file://{tmp_path / 'store'}"]
    assert main([*words, "-o", "far", *url]) in (0, 3)
    capsys.readouterr()
    for name in ("pool", "far"):
        for kind in ("sequences", "tokens"):
            assert RunFolder(tmp_path / name).read(kind).equals(RunFolder(tmp_path / "alone").read(kind))
        mine, theirs = (json.loads((tmp_path / n / "result.json").read_text())["findings"] for n in (name, "alone"))
        assert mine == theirs
    assert main(["audit", "world/markov", "-", "--executor", "pool:2"]) == 2
    assert "standard input can be read once" in capsys.readouterr().err
    assert main([*words, "--executor", "pool:2", "--tokens", "0"]) == 2
