"""The plan on the page: every setting has words, fingerprints stand apart, the device is the one that was used."""

from __future__ import annotations

from pathlib import Path

import freerun
from freerun.report.pages.plan_rows import _MACHINERY, _ROWS, machinery_rows, plan_rows


def test_every_setting_of_a_plan_has_words(tmp_path: Path) -> None:
    run = freerun.audit("world/markov", "world/markov", out=tmp_path / "run", documents=16, prefix=4, tokens=8)
    assert set(run.result["plan"]) <= set(_ROWS) | set(_MACHINERY)
    shown = {row.label: row.value for row in plan_rows(run.result)}
    assert shown["Device"] == "cpu (chosen by auto)"
    assert shown["Continuation"] == "8 tokens"
    assert shown["A loop"] == "3 copies of at most 512 tokens in a row, 24 tokens in all at least"
    fingerprint = run.result["plan"]["corpus_fingerprint"]
    assert fingerprint not in shown.values()
    assert fingerprint in {row.value for row in machinery_rows(run.result)}
    assert "cpu (chosen by auto)" in run.report.read_text()


def test_the_device_of_a_run_that_recorded_none_is_what_was_asked() -> None:
    rows = plan_rows({"plan": {"device": "auto"}, "provenance": {"python": "3"}})
    assert [(row.label, row.value) for row in rows] == [("Device", "auto")]
