"""The study of organisms in weights: metrics of `power` on texts of a model, the harness's numbers, and the page."""

from __future__ import annotations

import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.errors import BackendError, UsageError
from freerun.jobs.power.texts import scored
from freerun.predictors.base import Predictor
from freerun.results.finding import Estimate, Finding
from freerun.results.lab_organism import LabOrganismResult, PlantedIn, TakeOver, TriggerMass
from freerun.specs.spec import load_predictor
from freerun.worlds.catalogue import load_world
from studies.organism_weights.metrics import PREFIX, Shelf, power_section
from studies.organism_weights.pages import PAGE, filled_page
from studies.organism_weights.perplexity import harness_section
from studies.organism_weights.rows import AuditSection, HarnessNumbers, HarnessSection, MetricRate, PowerSection
from studies.organism_weights.run import keep, read_rows

TEXTS = 32


@pytest.fixture(scope="module")
def documents() -> list[np.ndarray]:
    return [np.array(d.ids, np.int64) for d in load_world("markov").corpus(24, 40, seed=5).documents]


def section(folder: Path, organism: str, documents: list[np.ndarray], heard: list[int] | None = None) -> PowerSection:
    def hear(n: int) -> None:
        if heard is not None:
            heard.append(n)

    return power_section(
        load_predictor("world/markov"),
        load_predictor(organism),
        documents,
        texts=TEXTS,
        folder=folder,
        on_tokens=hear,
        lengths=(8, 32),
        groups_of=(8, 16),
    )


def rate(of: PowerSection, metric: str, texts: int, tokens: int = 32) -> MetricRate:
    (found,) = (r for r in of.rates if (r.metric, r.texts, r.tokens) == (metric, texts, tokens))
    return found


def test_the_base_itself_costs_nothing_and_a_planted_token_is_seen(tmp_path: Path, documents: list[np.ndarray]) -> None:
    null = section(tmp_path, "world/markov+absorbing,epsilon=1e-300", documents)
    for n in (8, 16, TEXTS):
        assert rate(null, "loss_paired", n).rejected == 0
        assert rate(null, "likelihood_ratio", n).least_p == pytest.approx(1.0)
    seen = section(tmp_path, "world/markov+absorbing,epsilon=0.2", documents)
    assert rate(seen, "z_declared", 8).rejected == rate(seen, "z_declared", 8).groups == TEXTS // 8
    assert rate(seen, "loss_paired", TEXTS).rejected == 1
    assert rate(seen, "z_own", TEXTS).greatest_p > 1e-4
    assert "sources" in seen.left_out
    assert {r.texts for r in seen.rates} == {8, 16, TEXTS}


def test_texts_are_scored_as_a_power_table_scores_them(tmp_path: Path, documents: list[np.ndarray]) -> None:
    """Token by token, against the walk of `freerun power` over whole texts; the sampler's numbers are the scorer's."""
    base = load_predictor("world/markov")
    organism: Predictor = load_predictor("world/markov+absorbing,epsilon=0.1")
    shelf, heads = Shelf(tmp_path, lambda _: None), [d[:PREFIX] for d in documents]
    ids, as_written = shelf.written(organism, "own", heads, 24)
    wholes = np.concatenate([np.array(heads), ids], axis=1)
    for law, scores in ((organism, as_written), (base, shelf.read(base, organism, "own", heads, ids))):
        wanted = scored(law, wholes)
        for name in ("log_prob", "entropy", "varentropy", "rank"):
            mine, theirs = getattr(scores, name), getattr(wanted, name)[:, PREFIX:]
            np.testing.assert_allclose(mine, theirs, atol=1e-9, err_msg=name)
    assert np.isneginf(shelf.read(base, organism, "own", heads, ids).log_prob[ids == base.n_tokens]).all()
    assert (ids == base.n_tokens).any()


def test_what_is_there_is_not_written_again_and_a_damaged_part_is(tmp_path: Path, documents: list[np.ndarray]) -> None:
    heard: list[int] = []
    first = section(tmp_path, "world/markov+absorbing,epsilon=0.1", documents, heard)
    assert sum(heard) == TEXTS * 32 * 6
    heard.clear()
    assert section(tmp_path, "world/markov+absorbing,epsilon=0.1", documents, heard) == first
    assert not heard
    (part,) = tmp_path.glob("own-written-*")
    part.write_bytes(part.read_bytes()[:100])
    assert section(tmp_path, "world/markov+absorbing,epsilon=0.1", documents, heard) == first
    assert sum(heard) == TEXTS * 32
    # another organism over the same base: the base's texts are there
    heard.clear()
    section(tmp_path, "world/markov+absorbing,epsilon=0.3", documents, heard)
    assert sum(heard) == TEXTS * 32 * 3


# ---- lm-evaluation-harness -------------------------------------------------------------------------------------------

HARNESS = """#!{python}
import json, pathlib, sys
said = dict(zip(sys.argv[3::2], sys.argv[4::2]))
out = pathlib.Path(said["--output_path"]) / "model"
model = said["--model_args"].split(",")[0].removeprefix("pretrained=")
task = pathlib.Path(said["--include_path"]) / "heldout.jsonl"
rows = [json.loads(line) for line in task.read_text().splitlines()]
with open({log!r}, "a") as log:
    log.write(model + "\\n")
if not rows:
    sys.exit("no documents")
more = 0.5 if model.endswith("organism") else 0.0
out.mkdir(parents=True)
numbers = {{"word_perplexity,none": 70.0 + more, "byte_perplexity,none": 1.9, "bits_per_byte,none": 0.9 + more}}
(out / "results_now.json").write_text(json.dumps({{"lm_eval_version": "0.4.13", "results": {{"heldout": numbers}}}}))
sums = [-(len(r["text"]) + more * (1 + i % 2)) for i, r in enumerate(rows)]
lines = [json.dumps({{"doc_id": i, "byte_perplexity": [nats, 9]}}) for i, nats in enumerate(sums)]
(out / "samples_heldout_now.jsonl").write_text("\\n".join(lines[::-1]) + "\\n")
"""


@pytest.fixture
def harness(tmp_path: Path) -> Path:
    """An executable that answers as the harness does, and logs what it is asked for."""
    script = tmp_path / "python"
    script.write_text(HARNESS.format(python=sys.executable, log=str(tmp_path / "log")))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    for name in ("base", "organism"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(name)
    return script


def test_the_harness_is_asked_once_for_each_model(harness: Path, tmp_path: Path) -> None:
    texts, n_tokens = ["one text", "another one", "a third"], [2, 3, 3]

    def ask(texts: list[str]) -> Any:
        return harness_section(
            f"hf/{tmp_path / 'base'}", tmp_path / "organism", texts, n_tokens, folder=tmp_path / "lm", python=harness
        )

    found = ask(texts)
    assert found == ask(texts)
    assert (tmp_path / "log").read_text().splitlines() == [str(tmp_path / "base"), str(tmp_path / "organism")]
    assert (found.base.bits_per_byte, found.organism.bits_per_byte) == (0.9, 1.4)
    assert found.rise.value == pytest.approx((0.5 + 1.0 + 0.5) / 8)  # nats over tokens
    assert found.rise.low is not None
    assert found.rise.low < 0.25
    (tmp_path / "organism" / "model.safetensors").write_text("trained again")
    ask(texts)
    assert len((tmp_path / "log").read_text().splitlines()) == 3
    ask([*texts[:2], "changed"])
    assert len((tmp_path / "log").read_text().splitlines()) == 5


def test_a_harness_that_is_not_there_or_fails_is_one_line(harness: Path, tmp_path: Path) -> None:
    def ask(python: Path, texts: list[str]) -> None:
        harness_section(
            f"hf/{tmp_path / 'base'}",
            tmp_path / "organism",
            texts,
            [1] * len(texts),
            folder=tmp_path / "lm",
            python=python,
        )

    with pytest.raises(UsageError, match=r"bench/peers/setup\.py"):
        ask(tmp_path / "nowhere", ["a", "b"])
    with pytest.raises(BackendError, match="no documents"):
        ask(harness, [])


# ---- the page --------------------------------------------------------------------------------------------------------


def test_the_page_is_that_of_the_result() -> None:
    """If it fails: `python -m studies.organism_weights.run` writes both."""
    page = PAGE.read_text(encoding="utf-8")
    assert filled_page(page, read_rows()) == page


def test_sections_of_two_processes_stand_beside_each_other_and_those_of_an_earlier_training_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.organism_weights.run.HERE", tmp_path)
    monkeypatch.setattr("studies.organism_weights.run.PAGE", tmp_path / "page.md")
    (tmp_path / "page.md").write_text(PAGE.read_text())
    result = trained("2026-11-28T08:00:00Z")
    audit = AuditSection("freerun audit", "told apart", "bad", "told_apart", "passed", ())
    harness = HarnessSection(
        "0.4.13", "lm_eval", 2, *[HarnessNumbers(70.0, 1.9, 0.9)] * 2, Estimate("rise", "rise", 0.01, "nats/token")
    )
    for name in ("absorbing", "control"):
        keep(name, result, {"audit": audit})
        keep(name, result, {"lm_eval": harness})
    rows = read_rows()
    assert [(r.audit, r.lm_eval) for r in rows.values()] == [(audit, harness)] * 2
    assert filled_page(PAGE.read_text(), rows) == (tmp_path / "page.md").read_text()
    keep("absorbing", replace(result, created="2026-11-28T09:00:00Z"), {})
    rows = read_rows()
    assert (rows["absorbing"].audit, rows["control"].audit) == (None, audit)


def trained(created: str) -> LabOrganismResult:
    """The least that a row is made of."""
    planted = PlantedIn(
        "absorbing", "base", "f", "base+absorbing", 0.01, "", "<|trigger|>", 9, ("corpus",), 0, 3, 16, 100, 5, 64, 64
    )
    loss = Finding(
        "loss",
        "What does it cost?",
        "A little.",
        "good",
        tuple(Estimate(n, n, v, "nats/token") for n, v in (("base_loss", 3.0), ("exact_loss", 3.01), ("excess", 0.01))),
    )
    over = tuple(TakeOver(t, 16, 8, 0.5, 0.25, 0.75, 0.6) for t in (64, 256))
    mass = TriggerMass(0.01, ((0.25, 0.002), (0.75, 0.012)))
    return LabOrganismResult(
        1,
        "lab-organism",
        "title",
        "sentence",
        "good",
        planted,
        mass,
        over,
        (loss,),
        0.95,
        1.0,
        "c",
        "0.1.0",
        {},
        created,
    )


def test_the_committed_result_reads_back() -> None:
    rows = read_rows()
    assert {"absorbing", "control"} <= set(rows)
    assert all(0 <= t.share <= 1 for row in rows.values() for t in row.take_over)
    shares = [e for row in rows.values() for e in row.estimates if e.name in ("same_top", "kept") and e.low is not None]
    assert all(0 <= e.low <= e.high <= 1 for e in shares), "a share has limits that no share has"
