"""The texts of a finished audit, token by token."""

from __future__ import annotations

from pathlib import Path

import pytest

from freerun.errors import DataError, UsageError
from freerun.explore.desk import RunTextRequest
from freerun.explore.texts import RunTexts
from freerun.jobs.audit.audit import audit
from freerun.runs.run import evidence_of, open_run
from freerun.specs.spec import load_predictor
from tests.explore.site import alone, desk_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return audit(
        "world/markov", "world/markov", out=tmp_path_factory.mktemp("run") / "run", documents=16, tokens=24
    ).path


def test_every_text_is_that_of_the_records(run: Path) -> None:
    texts, records = RunTexts(run), evidence_of(run).records
    card = texts.card(load_predictor("world/markov").identity.fingerprint)
    assert card.same_model
    assert card.model == texts.model
    assert load_predictor(texts.model).identity.fingerprint == load_predictor("world/markov").identity.fingerprint
    assert card.texts[0].shown
    assert {entry.sequence for entry in card.texts} == set(range(len(records.sequences["document_id"])))
    for entry in card.texts[:6]:
        text = texts.text(entry.sequence)
        prefix = [int(i) for i in records.sequences["prefix_ids"][entry.sequence]]
        assert list(text.ids[: text.n_prefix]) == prefix
        assert list(text.ids[text.n_prefix :]) == records.tokens["token_id"][records.rows(entry.sequence)].tolist()
        assert (text.document_id, text.arm) == (entry.document_id, entry.arm)


def test_the_page_opens_one_and_refuses_others(run: Path) -> None:
    desk = desk_of(load_predictor("world/markov"))
    with pytest.raises(UsageError, match="--run"):
        desk.run_text(RunTextRequest(0), alone())
    desk.run = RunTexts(run)
    assert desk.about().run is not None
    assert desk.run_text(RunTextRequest(0), alone()).ids
    for wrong in (-1, 10**6):
        with pytest.raises(UsageError, match="the run has texts"):
            desk.run_text(RunTextRequest(wrong), alone())


def test_another_model_is_said(run: Path) -> None:
    assert not RunTexts(run).card("another").same_model


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        RunTexts(tmp_path)


def test_the_report_has_the_command_that_opens_a_text_at_the_token_expected_least(run: Path) -> None:
    page, result, records = (run / "report.html").read_text(), open_run(run).result, evidence_of(run).records
    texts = RunTexts(run)
    for shown in result["texts"]:
        assert len(shown["places"]) == 1 + len(shown["free"])
        for place in shown["places"]:
            assert f"freerun explore --run {run} --text {place['text']} --token {place['token']}<" in page
            log_prob = records.tokens["log_prob_nats"][records.rows(place["text"])]
            assert log_prob[place["token"] - 1] == log_prob.min()
            fork = texts.text(place["text"]).n_prefix + place["token"] - 1
            assert texts.place(place["text"], place["token"]) == f"#sequence={place['text']}&fork={fork}"
    assert texts.place(3, None) == "#sequence=3"
    for token in (0, 25):
        with pytest.raises(UsageError, match="tokens 1 to 24"):
            texts.place(3, token)
