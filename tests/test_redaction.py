"""--redact-text: nothing of texts, ids and names in any byte of a run's folder, and no finding that pretends to have read them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import freerun
from freerun.errors import DataError, UsageError
from freerun.findings import summary
from freerun.findings.evidence import Evidence
from freerun.findings.examples import examples
from freerun.findings.plain_text import PlainText
from freerun.findings.question import Question
from freerun.findings.registry import answer
from freerun.findings.special_tokens import shown_text
from freerun.findings.summary import derive
from freerun.records import redact
from freerun.records.redact import HIDDEN, UNAVAILABLE, TextRedacted, in_order_of_appearance, redacted
from freerun.records.store import RunFolder, load_records
from freerun.results.finding import Finding

WORDS = [
    "CANARYTEXT",
    *(f"xq{word}" for word in ["heron", "willow", "marsh", "lantern", "quarry", "zinnia", "copper", "velvet", "ember"]),
]
SMALL: dict[str, Any] = {"documents": 40, "prefix": 16, "tokens": 48, "text_field": "CANARYFIELD"}


def write_corpus(path: Path, n: int = 48) -> None:
    draw = random.Random(3)
    rows = []
    for i in range(n):
        text = f"CANARYTEXT-{i} " + " ".join(draw.choice(WORDS) for _ in range(60))
        rows.append(json.dumps({"id": f"CANARYNAME-{i}", "unit": f"CANARYUNIT-{i}", "CANARYFIELD": text, "text": text}))
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[freerun.Run, list[tuple[pa.Table, pa.Table]]]:
    """A redacted run over a corpus that is all canaries, and the tables as they were before redaction."""
    folder = tmp_path_factory.mktemp("CANARYPATH")
    path = folder / "CANARYFILE.jsonl"
    write_corpus(path)
    whole: list[tuple[pa.Table, pa.Table]] = []

    def kept(sequences: pa.Table, tokens: pa.Table, **more: Any) -> tuple[pa.Table, pa.Table]:
        whole.append((sequences, tokens))
        return redacted(sequences, tokens, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redact, "redacted", kept)
        out = tmp_path_factory.mktemp("runs") / "run"
        run = freerun.audit(f"ngram/4@{path}", str(path), out=out, redact_text=True, **SMALL)
    return run, whole


def test_no_canary_in_any_byte(made: tuple[freerun.Run, list[Any]]) -> None:
    run, whole = made
    secrets = ["CANARY", *WORDS]
    spoken = [text for sequences, _ in whole for text in sequences["text"].to_pylist()]
    assert any(word in text for text in spoken for word in WORDS)  # the model says the words itself
    secrets += [text[i : i + 12] for text in spoken for i in range(0, len(text) - 12, 12)]
    files = [p for p in run.path.rglob("*") if p.is_file()]
    assert len(files) >= 5
    for path in files:
        content = path.read_bytes().decode("utf-8", "replace") + path.name
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            content += json.dumps(table.to_pylist(), default=str) + str(table.schema)
        for secret in secrets:
            assert secret not in content, f"{secret!r} in {path.name}"


def test_ids_are_numbers_in_order_of_appearance(made: tuple[freerun.Run, list[Any]]) -> None:
    run, whole = made
    records = load_records(RunFolder(run.path))
    ids = {
        int(n): (np.array(prefix), tokens["token_id"].to_numpy()[tokens["sequence"].to_numpy() == n])
        for sequences, tokens in whole
        for n, prefix in zip(sequences["sequence"].to_pylist(), sequences["prefix_ids"].to_pylist(), strict=True)
    }
    assert records.n_sequences == len(ids)
    for i, number in enumerate(records.sequences["sequence"]):
        prefix, own = ids[int(number)]
        codes = np.concatenate([records.sequences["prefix_ids"][i], records.tokens["token_id"][records.rows(i)]])
        told: dict[int, int] = {}
        assert codes.tolist() == [told.setdefault(int(t), len(told)) for t in np.concatenate([prefix, own])]
        top = records.tokens["top_id"][records.rows(i)]
        assert set(top[top >= 0]) <= set(codes)
    assert np.isnan(records.tokens["without_prefix_log_prob_nats"]).all()
    assert records.sequences["document_id"][0] == "document 1"
    sizes = np.add.reduceat(records.tokens["n_bytes"], records.starts[:-1])
    assert sizes.tolist() == records.sequences["n_bytes"].tolist()


def test_what_needs_text_is_not_available(made: tuple[freerun.Run, list[Any]]) -> None:
    run, _ = made
    for name in ("memory", "divergences"):
        assert run.findings[name]["status"] == "unknown"
        assert UNAVAILABLE in run.findings[name]["sentence"]
    tables = {t["name"]: t for t in run.findings["detectability"]["tables"]}
    assert tables["battery"]["columns"] == [
        "tokens",
        "AUC, likelihood features",
        "p (Holm)",
    ]
    assert tables["giveaways"]["rows"][-1][1] == UNAVAILABLE
    left = {row[0]: row for row in tables["leaks"]["rows"]}
    assert all(left[k][2] == UNAVAILABLE for k in ("length", "verbatim copies", "half characters"))
    assert left["duplicates"][2] != UNAVAILABLE
    assert run.result["texts"] == []
    assert any(t["title"] == "Text was redacted" for t in run.result["threats"])
    assert run.result["title"].endswith("on a redacted corpus")


def read_texts(evidence: Evidence) -> Finding:
    longest = max(map(len, evidence.records.sequences["text"]))
    return Finding("planted", "Is text read?", f"The longest text has {longest} characters.", "neutral")


PLANTED: dict[str, Callable[[Evidence], Any]] = {
    "text": read_texts,
    "prefixes": lambda e: e.records.sequences["prefix_text"],
    "ids": lambda e: e.records.tokens["token_id"],
    "the most probable ids": lambda e: e.records.tokens.get("top_id"),
    "ids of the prefix": lambda e: e.records.sequences["prefix_ids"],
    "bytes": lambda e: e.once(PlainText).texts(np.arange(3), 4),
    "marked text": lambda e: shown_text(e, 0),
    "examples": lambda e: examples(e, None),
    "loss without the prefix": lambda e: e.records.tokens["without_prefix_log_prob_nats"],
    "places of texts": lambda e: e.records.sequences["embedding"],
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_finding_that_reads_text_is_refused_and_not_computed(
    made: tuple[freerun.Run, list[Any]], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to remember that a new finding needs text: reading it raises, whether or not its question says so."""
    records = load_records(RunFolder(made[0].path))
    evidence = Evidence(records)
    assert not evidence.has_text
    with pytest.raises(TextRedacted):
        PLANTED[name](evidence)
    monkeypatch.setattr(summary, "QUESTIONS", (*summary.QUESTIONS, Question("planted", "Is text read?", PLANTED[name])))
    planted = derive(records).findings[-1]
    assert (planted.name, planted.status, planted.estimates) == ("planted", "unknown", ())
    assert planted.sentence == f"This is {UNAVAILABLE}."


def test_a_question_that_says_it_needs_text_is_not_asked(made: tuple[freerun.Run, list[Any]]) -> None:
    called: list[Evidence] = []
    question = Question("planted", "Is text read?", lambda e: called.append(e), needs_text=True)
    finding = answer(question, Evidence(load_records(RunFolder(made[0].path))))
    assert finding is not None
    assert finding.sentence == f"This is {UNAVAILABLE}."
    assert not called


def test_what_redaction_keeps_can_be_read(made: tuple[freerun.Run, list[Any]]) -> None:
    records = load_records(RunFolder(made[0].path))
    evidence = Evidence(records)
    assert Evidence(evidence.records).records is evidence.records
    for column in ("token_id", "top_id"):
        assert column not in evidence.records.tokens
        np.testing.assert_array_equal(evidence.local_ids(column), records.tokens[column])
    assert evidence.local_ids("prefix_ids") == records.sequences["prefix_ids"]
    assert "log_prob_nats" in evidence.records.tokens
    assert not HIDDEN & {*evidence.records.tokens, *evidence.records.sequences}
    with pytest.raises(TypeError):
        evidence.records.sequences["text"] = records.sequences["text"]


def test_what_can_be_known_is_what_the_whole_records_say(
    made: tuple[freerun.Run, list[tuple[pa.Table, pa.Table]]], tmp_path: Path
) -> None:
    """The same measurements with their text: loss, loops, drift, calibration and the sampler's audit are the same numbers."""
    run, whole = made
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest["plan"].pop("redacted")
    folder = RunFolder(tmp_path / "whole")
    folder.open(manifest)
    for n, (sequences, tokens) in enumerate(whole):
        folder.write_part(f"part-{n}", sequences, tokens, unit_key=str(n), plan_hash=manifest["plan_hash"])
    found = {f.name: f for f in derive(load_records(folder)).findings}
    for name in ("loss", "self_recognition", "drift", "loops", "calibration"):
        mine = {e["name"]: e["value"] for e in run.findings[name]["estimates"]}
        for estimate in found[name].estimates:
            if estimate.name.startswith("counting_loop"):
                assert estimate.name not in mine  # which tokens are numbers is told by their text
                continue
            known = estimate.value is not None and np.isfinite(estimate.value)
            expected = pytest.approx(estimate.value, rel=1e-12) if known else None
            assert mine[estimate.name] == expected, f"{name}/{estimate.name}"
    assert found["memory"].status != "unknown"  # and this one did need the text


def test_pieces_cut_at_a_secret_separator(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    draw = random.Random(1)
    path.write_text("CANARYSEP".join(" ".join(draw.choice(WORDS) for _ in range(40)) for _ in range(24)))
    run = freerun.audit(
        f"ngram/3@{path}",
        str(path),
        out=tmp_path / "run",
        redact_text=True,
        split_on="CANARYSEP",
        documents=20,
        prefix=16,
        tokens=16,
    )
    for name in ("manifest.json", "result.json", "report.html"):
        text = (run.path / name).read_text()
        assert "CANARY" not in text
        assert str(path) not in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prefix": 4}, "--redact-text needs --prefix 16 or more, not 4"),
        ({"prefix": 16, "ask": 3}, "--ask 3 reads the texts again"),
        ({"prefix": 16, "embed_with": "hf/a/b"}, "--embed-with hf/a/b records vectors that tell their text"),
    ],
)
def test_what_would_tell_the_text_is_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        freerun.audit("world/markov", "world/markov", out=tmp_path / "run", redact_text=True, **options)
    assert not (tmp_path / "run").exists()


def test_a_detector_does_not_move_between_redacted_and_whole_runs(
    made: tuple[freerun.Run, list[Any]], tmp_path: Path
) -> None:
    whole = freerun.audit("world/markov", "world/markov", out=tmp_path / "run", documents=32, tokens=16, prefix=4)
    mine, theirs = (load_records(RunFolder(r.path)) for r in (made[0], whole))
    with pytest.raises(DataError, match="one of the two runs was made with --redact-text"):
        derive(mine, transfer_from=theirs)


def test_a_redacted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """A part that is made again is the same part: nothing in it comes from a secret that was thrown away."""
    options: dict[str, Any] = {"documents": 32, "tokens": 16, "prefix": 16, "batch": 8, "redact_text": True}
    run = freerun.audit("world/markov", "world/markov", out=tmp_path / "run", **options)
    part = sorted((run.path / "sequences").glob("free-*.parquet"))[0]
    tokens = run.path / "tokens" / part.name
    before = pq.read_table(tokens)
    part.unlink()
    freerun.audit("world/markov", "world/markov", out=tmp_path / "run", **options)
    assert pq.read_table(tokens).equals(before)


def test_order_of_appearance_by_hand() -> None:
    assert in_order_of_appearance(np.array([5, 5, 2, 9, 2, 5])).tolist() == [0, 0, 1, 2, 1, 0]
    assert in_order_of_appearance(np.zeros(0, np.int64)).tolist() == []
