"""`audit --sources`: the recorded posterior is Bayes', belief drifts where it must, and measuring goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import freerun
from freerun.commands.main import main
from freerun.errors import DataError, UsageError
from freerun.findings.evidence import Evidence
from freerun.findings.sources.evidence import SourceEvidence, source_evidence
from freerun.findings.sources.finding import source as source_finding
from freerun.jobs.audit.audit import report
from freerun.jobs.audit.dry_run import dry_run
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.source.file import parse_sources
from freerun.jobs.source.in_audit import FEWEST, MOST, ids_in, planned
from freerun.jobs.source.question import SourceOptions, questions_of
from freerun.jobs.source.source import source
from freerun.organisms.collapse import Collapse
from freerun.records.measure import MeasurePlan
from freerun.records.redact import redacted
from freerun.records.source_likelihoods import read_sources_of
from freerun.records.store import RunFolder, load_records
from freerun.results.finding import to_json
from freerun.text.pairs import Pair
from freerun.worlds.authors import authors
from freerun.worlds.markov import MarkovWorld
from freerun.worlds.mixture import Latent, MixtureWorld

WORLD = "world/authors"
SMALL: dict[str, Any] = {"documents": 20, "prefix": 4, "tokens": 12, "sources": "own", "source_documents": 20}
FILE = """
title = "Speakers"
[latent.speaker]
other = 0.2
templates = ["{speaker}:", "{speaker}.", "{speaker}", ".{speaker}", ":{speaker}"]
cues = [":"]
[[latent.speaker.value]]
name = "A"
[[latent.speaker.value]]
name = "B"
"""


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is measured, and of the findings only this one derived: the others take longer than all of it."""

    def derived(evidence: Evidence, **_: Any) -> dict[str, Any]:
        return {"findings": [source_finding(evidence, evidence.sources)]}

    monkeypatch.setattr("freerun.jobs.audit.audit.derive_from", derived)
    monkeypatch.setattr("freerun.jobs.audit.audit.render_page", lambda result, **_: "")


def found_in(path: Path) -> dict[str, SourceEvidence]:
    folder = RunFolder(path)
    evidence = Evidence(load_records(folder))
    out = {}
    for records in read_sources_of(folder):
        one = source_evidence(evidence, records)
        assert one is not None
        out[records.asked.latent] = one
    return out


def estimates(run: freerun.Run) -> dict[str, Any]:
    return {e["name"]: e for e in run.findings["source"]["estimates"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> freerun.Run:
    return freerun.audit(WORLD, WORLD, out=tmp_path_factory.mktemp("runs") / "run", **SMALL)


def test_the_posterior_is_bayes_at_every_position_of_both_texts(run: freerun.Run) -> None:
    world, records = authors(), load_records(RunFolder(run.path))
    found = found_in(run.path)
    assert list(found) == ["publication", "author", "date"]
    for latent, one in found.items():
        assert one.n == 20
        for d, row in enumerate(one.texts.own_rows):
            document = records.sequences["document_id"][row]
            prefix = np.array(records.sequences["prefix_ids"][row], np.int64)
            real = int(records.chosen(document_id=document, arm="real")[0])
            for place, path in ((row, one.all.own[d]), (real, one.all.real[d])):
                ids = np.concatenate([prefix, records.tokens["token_id"][records.rows(place)]]).astype(np.int64)
                exact = world.marginal(world.posterior(ids)[len(prefix) :], latent)
                np.testing.assert_allclose(path[:, :-1], exact, atol=1e-10)
                assert (path[:, -1] == 0).all()


def test_a_mixtures_own_text_is_no_news_to_it(run: freerun.Run) -> None:
    """Own text costs nothing more under the mixture, and no drift is found (20 documents, this seed)."""
    for name in ("publication", "author", "date"):
        excess = estimates(run)[f"{name}_mixture_excess_nats_per_token"]
        assert excess["value"] == pytest.approx(0.0, abs=1e-12)
    for one in found_in(run.path).values():
        assert one.same
        assert one.drift is not None
        assert one.drift.p_holm.min() > 0.05
        assert one.drift_all is None
    assert "No drift of mean belief along its own text is shown" in run.findings["source"]["sentence"]


def test_the_finding_is_in_result_and_page(run: freerun.Run) -> None:
    finding = run.findings["source"]
    assert finding["status"] == "neutral"
    assert {c["name"] for c in finding["charts"]} >= {"publication_entropy", "publication_belief_1", "date_belief_2"}
    assert {t["name"] for t in finding["tables"]} >= {"author_drift", "author_by_position"}
    gap = estimates(run)["publication_entropy_gap_bits"]
    assert gap["low"] < gap["value"] < gap["high"]
    assert gap["n"] == 20
    page = run.report.read_text()
    assert "Who does the text seem to be by" in page
    assert "Mean belief that the publication is onion" in page
    json.dumps(run.result, allow_nan=False)


@pytest.mark.usefixtures("light")
def test_no_drift_is_no_proof(tmp_path: Path) -> None:
    """The same world at temperature ½ leans to neither publication, so beliefs do not drift; what it is not shows in nats."""
    run = freerun.audit(f"{WORLD}+temperature,t=0.5", WORLD, out=tmp_path / "run", **SMALL)
    assert estimates(run)["publication_mixture_excess_nats_per_token"]["low"] > 0.05
    assert "No drift of mean belief along its own text is shown" in run.findings["source"]["sentence"]


@pytest.mark.usefixtures("light")
def test_a_model_that_recites_one_source_is_found_to_drift(tmp_path: Path) -> None:
    """Nine texts of ten are recited from documents of one publication: belief in it rises from ½ at the start."""
    world = authors()
    recited = [np.array(d.ids) for d in world.given({"publication": "onion"}).corpus(6, 16, seed=3).documents]
    model = Collapse(world, recited, weight=0.9, name="world/authors+collapse")
    run = freerun.audit(model, WORLD, out=tmp_path / "run", **{**SMALL, "documents": 48, "prefix": 0, "tokens": 16})
    one = found_in(run.path)["publication"]
    assert one.drift is not None
    assert one.drift.change.start[0] == pytest.approx(0.5)
    assert one.drift.change.low[0] > 0
    assert one.drift.p_holm[0] < 0.05
    assert one.drift.exact_p < 0.05


@pytest.mark.usefixtures("light")
def test_text_is_read_up_to_a_token_that_no_source_knows(tmp_path: Path) -> None:
    run = freerun.audit(f"{WORLD}+absorbing,epsilon=0.2", WORLD, out=tmp_path / "run", **SMALL)
    one = found_in(run.path)["publication"]
    assert one.texts.n_cut > 5
    assert any("up to the first token that no source knows" in n for n in run.findings["source"]["notes"])


# ---- headers -----------------------------------------------------------------------------------------------------------


def talker() -> MixtureWorld:
    """Two chains that name themselves in headers."""
    parts: dict[tuple[str, ...], Any] = {}
    for s, name in enumerate("AB"):
        row = np.array([0.002, 0.002, 0.02, 0.02, *np.array([0.6, 0.3, 0.056])[:: 1 if s == 0 else -1]])
        row[s] = 0.06
        parts[(name,)] = MarkovWorld(
            np.tile(row / row.sum(), (7, 1)), initial=np.full(7, 1 / 7), symbols="AB:.abc", name=f"world/{name}"
        )
    return MixtureWorld([Latent("speaker", ("A", "B"))], parts, name="world/talker")


@pytest.mark.usefixtures("light")
def test_headers_give_the_posterior_of_freerun_source(tmp_path: Path) -> None:
    world, path = talker(), tmp_path / "speakers.toml"
    path.write_text(FILE)
    corpus = world.corpus(24, 40, seed=4)
    options = {"documents": 24, "prefix": 6, "tokens": 12, "sources": str(path), "source_documents": 8}
    run = freerun.audit(world, corpus, out=tmp_path / "run", **options)
    one, records = found_in(run.path)["speaker"], load_records(RunFolder(run.path))
    assert one.asked.values == ("A", "B", "other")
    assert not one.same
    sources = parse_sources(FILE, "speakers.toml")
    for d, row in enumerate(one.texts.own_rows):
        text = records.sequences["prefix_text"][row] + records.sequences["text"][row]
        asked = to_json(source(world, text, sources, SourceOptions(readouts=("header",), own_tokens=0)))["latents"][0][
            "header"
        ]
        np.testing.assert_allclose(one.all.own[d], np.array(asked["path"])[6:], atol=1e-10)
        named = one.all.own[d][:, :2] / one.all.own[d][:, :2].sum(axis=1, keepdims=True)
        np.testing.assert_allclose(one.named.own[d][:, :2], named, atol=1e-9)
    assert any(
        "With other counted as one more source" in n or one.drift_all is None for n in run.findings["source"]["notes"]
    )
    command = json.loads((run.path / "manifest.json").read_text())["command"]
    assert f"--sources {path} --source-documents 8" in command


# ---- measuring ---------------------------------------------------------------------------------------------------------


def parts_of(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((path / "sources").glob("*.parquet"))}


@pytest.mark.usefixtures("light")
def test_asked_later_nothing_else_is_measured_again(tmp_path: Path) -> None:
    without = {k: v for k, v in SMALL.items() if not k.startswith("source")}
    run = freerun.audit(WORLD, WORLD, out=tmp_path / "run", **without)
    assert run.findings["source"]["status"] == "unknown"
    assert "--sources news" in run.findings["source"]["sentence"]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "tokens").iterdir()}
    again = freerun.audit(WORLD, WORLD, out=tmp_path / "run", **SMALL)
    assert again.findings["source"]["status"] == "neutral"
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "tokens").iterdir()} == before
    later = freerun.audit(WORLD, WORLD, out=tmp_path / "run", **without)
    assert later.findings["source"]["status"] == "neutral"  # what is recorded stays in the report


@pytest.mark.usefixtures("light")
def test_an_interrupted_measurement_goes_on(run: freerun.Run, tmp_path: Path) -> None:
    again = freerun.audit(WORLD, WORLD, out=tmp_path / "run", **SMALL)
    whole = parts_of(again.path)
    assert whole == parts_of(run.path)
    assert len(whole) == 3 * 5
    (again.path / "sources" / "source-0-000004.parquet").unlink()
    (again.path / "sources" / "source-2-000000.parquet").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"source-2-000000\.parquet is damaged"):
        report(again.path)
    kept = (again.path / "sources" / "source-1-000000.parquet").stat().st_mtime_ns
    freerun.audit(WORLD, WORLD, out=tmp_path / "run", **SMALL)
    assert parts_of(again.path) == whole
    assert (again.path / "sources" / "source-1-000000.parquet").stat().st_mtime_ns == kept
    (again.path / "sources" / "source-0-000004.parquet").unlink()
    missing = report(again.path).findings["source"]["sentence"]
    assert "Belief about publication is recorded for 16 of 20 documents" in missing


@pytest.mark.usefixtures("light")
def test_fewer_documents_or_another_file_replace_what_was_asked(tmp_path: Path) -> None:
    freerun.audit(WORLD, WORLD, out=tmp_path / "run", **SMALL)
    run = freerun.audit(WORLD, WORLD, out=tmp_path / "run", **{**SMALL, "source_documents": 8})
    assert len(parts_of(run.path)) == 3 * 2
    assert estimates(run)["date_entropy_gap_bits"]["n"] == 8


@pytest.mark.usefixtures("light")
def test_redacted_records_hold_the_likelihoods_of_texts_that_they_do_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ids as they were before they were left out give the same posterior; later nobody can ask about them."""
    ids: dict[int, np.ndarray] = {}

    def kept(sequences: Any, tokens: Any, **known: Any) -> tuple[Any, Any]:
        for number, prefix in zip(*(sequences[c].to_pylist() for c in ("sequence", "prefix_ids")), strict=True):
            ids[number] = np.concatenate([prefix, ids_in([tokens], [number])[number]]).astype(np.int64)
        return redacted(sequences, tokens, **known)

    monkeypatch.setattr("freerun.records.redact.redacted", kept)
    options = {**SMALL, "prefix": 16, "batch": 16, "redact_text": True}
    run = freerun.audit(WORLD, WORLD, out=tmp_path / "run", **options)
    world, one, records = authors(), found_in(run.path)["author"], load_records(RunFolder(run.path))
    for path, row in zip(one.all.own, one.texts.own_rows, strict=True):
        exact = world.marginal(world.posterior(ids[int(records.sequences["sequence"][row])])[16:], "author")
        np.testing.assert_allclose(path[:, :-1], exact, atol=1e-10)
    assert not any(c in pq.read_schema(p).names for p in (run.path / "sources").iterdir() for c in ("token_id", "text"))
    before = parts_of(run.path)
    freerun.audit(WORLD, WORLD, out=tmp_path / "run", **options)
    assert parts_of(run.path) == before
    next((run.path / "sources").iterdir()).unlink()
    with pytest.raises(UsageError, match=r"recorded without their ids \(--redact-text\)"):
        freerun.audit(WORLD, WORLD, out=tmp_path / "run", **options)


def test_ids_come_back_in_order(run: freerun.Run) -> None:
    records = load_records(RunFolder(run.path))
    free = records.chosen(arm="free")
    numbers = [int(records.sequences["sequence"][i]) for i in free[:5]]
    found = ids_in(RunFolder(run.path).parts("tokens"), [*numbers, 10**6])
    for i, number in zip(free[:5], numbers, strict=True):
        assert found[number].tolist() == records.tokens["token_id"][records.rows(i)].tolist()
    assert found[10**6].size == 0


# ---- before it begins --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("light")
def test_the_dry_run_says_what_it_costs(tmp_path: Path) -> None:
    options = AuditOptions(**SMALL)
    found = dry_run(WORLD, WORLD, options, out=tmp_path / "run")
    # (2 + 1) × 3 latents, 20 documents, 2 texts, 4 + 12 tokens
    assert found.tokens_to_score_after_headers == 9 * 20 * 2 * 16
    assert 0 < found.parts_seconds["sources"].low <= found.parts_seconds["sources"].high
    assert list(tmp_path.iterdir()) == []
    told: list[str] = []

    class Told:
        say = told.append

        def begin(self, total_tokens: int) -> None:
            self.total, self.done = total_tokens, 0

        def phase(self, name: str) -> None: ...

        def known(self, so_far: object) -> None: ...

        def advance(self, n_tokens: int) -> None:
            self.done += n_tokens

        def end(self) -> None:
            assert self.done == self.total

    freerun.audit(WORLD, WORLD, out=tmp_path / "run", progress=Told(), **SMALL)
    assert any("20 documents × 2 texts × 9 header rows, 5,760 tokens to score" in line for line in told)
    after = dry_run(WORLD, WORLD, options, out=tmp_path / "run")
    assert after.parts_seconds["sources"].high == 0


@pytest.mark.parametrize(("tokens", "documents"), [(20, MOST), (3000, FEWEST), (500, 22)])
def test_how_many_documents_by_default(tokens: int, documents: int) -> None:
    """Nine rows × 2 texts × (4 + tokens) of each: 200,000 tokens are 462 documents, 3 and 22; one document a unit."""
    empty = np.zeros(0, np.int64)
    pairs = [
        Pair(f"d{i}", f"u{i // 2}", "test", np.zeros(4, np.int64), np.zeros(tokens, np.int64), before=empty)
        for i in range(160)
    ]
    questions, plan = questions_of(authors(), None, SourceOptions()), MeasurePlan(tokens, 8, 0)
    names = {"title": "", "origin": "own", "fingerprint": "f"}
    found = planned(questions, pairs, plan, "hash", n_documents=None, **names)
    assert found.chosen == tuple(range(0, 2 * documents, 2))
    more = planned(questions, pairs, plan, "hash", n_documents=70, **names)
    assert more.chosen[:documents] == found.chosen
    assert [i for part in found.parts if part.latent == 1 for i in part.pairs] == list(found.chosen)
    assert sum(part.n_tokens for part in found.parts) == 9 * 2 * (4 + tokens) * documents


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"sources": None, "source_documents": 4}, "goes with --sources"),
        ({"source_documents": 0}, "--source-documents must be at least 1"),
        ({"exemplars": 2}, "leave one out"),
    ],
)
def test_refusals(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=reason):
        freerun.audit(WORLD, WORLD, out=tmp_path / "run", **{**SMALL, **options})
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_asked_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a mixture of known sources"):
        freerun.audit("world/markov", "world/markov", out=tmp_path / "run", **SMALL)
    with pytest.raises(DataError, match="built in are news"):
        freerun.audit(WORLD, WORLD, out=tmp_path / "run", **{**SMALL, "sources": "newz"})
    assert not (tmp_path / "run").exists()


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", WORLD, WORLD, "--documents", "16", "--prefix", "4", "--tokens", "8", "--sources", "own"]
    words += ["--source-documents", "8", "-o", str(tmp_path / "run")]
    assert main([*words, "--dry-run"]) == 0
    assert "to score after headers" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "source" in [f["name"] for f in told["findings"]]
