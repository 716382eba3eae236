"""Exports: the same numbers in every format, what the hub's own reader makes of the card, and trackers by stubs."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

import freerun
from freerun.commands.main import main
from freerun.errors import UsageError
from freerun.exports.model_card import card_section, eval_results, model_index, yaml_text
from freerun.exports.tables import csv_text, estimate_columns
from freerun.exports.trackers import TRACKERS, track, tracked_numbers
from freerun.report.pages.summary_card import summary_card


def test_tables_hold_every_estimate_and_documents_add_up(
    base: freerun.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("csv", "parquet"):
        assert main(["export", str(base.path), "--to", kind, "-o", str(tmp_path)]) == 0
    assert str(tmp_path / "estimates.csv") in capsys.readouterr().out
    columns = pq.read_table(tmp_path / "estimates.parquet").to_pydict()
    with (tmp_path / "estimates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    known = [(f["name"], e["name"], e["value"]) for f in base.result["findings"] for e in f["estimates"]]
    assert list(zip(columns["finding"], columns["name"], columns["value"], strict=True)) == known
    assert [(r["finding"], r["name"], float(r["value"]) if r["value"] else None) for r in rows] == known
    documents = pq.read_table(tmp_path / "documents.parquet").to_pydict()
    loss = [i for i, name in enumerate(documents["name"]) if name == "loss_nats_per_token"]
    assert len(loss) == 64
    value = sum(documents["top"][i] for i in loss) / sum(documents["bottom"][i] for i in loss)
    assert value == pytest.approx({n: v for _, n, v in known}["loss_nats_per_token"])
    with (tmp_path / "documents.csv").open(newline="") as file:
        assert sum(1 for _ in csv.DictReader(file)) == len(documents["name"])


def test_a_cell_is_no_formula() -> None:
    assert csv_text({"a": ["=1", "+2", "x", None], "b": [-1.0, 2, 3, None]}) == "a,b\n'=1,-1.0\n'+2,2\nx,3\n,\n"


def test_the_hub_reads_the_card(example: dict[str, Any]) -> None:
    """The metadata goes through YAML and the hub's own parser (huggingface_hub) and comes back the same."""
    yaml = pytest.importorskip("yaml")
    cards = pytest.importorskip("huggingface_hub.repocard_data")
    data = yaml.safe_load(yaml_text(model_index(example)))
    name, results = cards.model_index_to_eval_results(data["model-index"])
    assert name == example["plan"]["model"]
    held = {r.metric_type: r.metric_value for r in results}
    e = {e["name"]: e for f in example["findings"] for e in f["estimates"]}
    assert held["h75"] == pytest.approx(e["h75"]["value"], rel=1e-5)
    assert held["loss_nats_per_token"] == pytest.approx(e["loss_nats_per_token"]["value"], rel=1e-5)
    card = cards.CardData(**data)
    assert card.to_dict()["model-index"][0]["results"][0]["task"]["type"] == "text-generation"


def test_eval_results_only_for_data_sets_of_the_hub(example: dict[str, Any]) -> None:
    yaml = pytest.importorskip("yaml")
    hub = pytest.importorskip("huggingface_hub._eval_results")
    assert eval_results(example) == []
    example["plan"]["corpus"] = "hf/some/essays@abc[test]"
    entries = hub.parse_eval_result_entries(yaml.safe_load(yaml_text(eval_results(example))))
    assert entries[0].dataset_id == "some/essays"
    assert entries[0].date == example["created"]
    assert model_index(example)["model-index"][0]["results"][0]["dataset"] == {
        "type": "some/essays",
        "name": "some/essays",
        "revision": "abc",
        "split": "test",
    }


def horizon(example: dict[str, Any]) -> dict[str, Any]:
    """The H75 of a result, as `result.json` holds it."""
    found = {f["name"]: f for f in example["findings"]}["detectability"]["estimates"]
    (h75,) = [e for e in found if e["name"] == "h75"]
    return h75


def test_the_section_has_intervals_and_no_markup_of_the_run(example: dict[str, Any]) -> None:
    text = card_section(example)
    h75 = horizon(example)
    row = f"| Free-run horizon H75 | {h75['value']:.4g} tokens | {h75['low']:.4g} to {h75['high']:.4g} | {h75['n']} |"
    assert row in text
    example["verdict"]["sentence"] = "<script>\n# x | y"
    text = card_section(example)
    assert "<script>" not in text.replace("\\<", "")
    assert "\n# x" not in text


def test_the_card_on_the_command_line(base: freerun.Run, tmp_path: Path) -> None:
    assert main(["export", str(base.path), "--to", "model-card", "-o", str(tmp_path)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model-card.md", "model-index.yaml"]


class Stub(ModuleType):
    """Records what a tracker is told."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any]] = []
        self.summary: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **options: Any) -> Any:
            self.calls.append((name, args[0] if args else options))
            return self

        return call

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *args: object) -> None:
        self.calls.append(("left", None))


@pytest.mark.parametrize("to", TRACKERS)
def test_trackers_get_every_number(
    example: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    stub = Stub(to)
    monkeypatch.setitem(sys.modules, to, stub)
    (tmp_path / "report.html").write_text("x")
    assert to in track(example, tmp_path, to=to, project="p")
    told = dict(stub.calls)
    numbers = told.get("log_metrics") or told["log"]
    assert numbers == tracked_numbers(example)
    assert numbers["detectability/h75_low"] == pytest.approx(horizon(example)["low"])
    assert stub.calls[-1][0] in ("finish", "left")
    if to == "mlflow":
        assert told["log_artifact"] == str(tmp_path / "report.html")
        assert all(len(v) <= 500 for v in told["log_params"].values())


@pytest.mark.parametrize("to", TRACKERS)
def test_a_tracker_that_is_missing_names_its_extra(
    example: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    monkeypatch.setitem(sys.modules, to, None)
    with pytest.raises(UsageError, match=rf"pip install 'freerun\[{to}\]'"):
        track(example, tmp_path, to=to, project="p")


def test_pandas_is_asked_for_late(base: freerun.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"freerun\[pandas\]"):
        base.to_pandas()
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))  # type: ignore[arg-type]
    assert base.to_pandas() == estimate_columns(base.result)


def test_a_notebook_shows_the_verdict(base: freerun.Run) -> None:
    text = base._repr_html_()
    assert "Free-run horizon H75" in text
    evil = summary_card({"title": "<i>", "verdict": {"sentence": "a\u202eb<script>"}, "headline": []})
    assert "<script>" not in evil
    assert "\u202e" not in evil
    assert "<i>" not in evil


def test_what_cannot_be_exported_gets_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path), "--to", "csv"]) == 4
    assert main(["export", str(tmp_path), "--to", "cvs"]) == 2
    assert "did you mean 'csv'" in capsys.readouterr().err
