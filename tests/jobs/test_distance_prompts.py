"""Distances on answers to prompts: each prompt has its own length, one template serves both models."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import freerun
from freerun.commands.main import main
from freerun.errors import UsageError
from freerun.jobs.distance.options import DistanceOptions
from freerun.jobs.distance.preparing import prepare
from freerun.organisms.ending import Ending
from freerun.predictors.ngram import byte_ngram
from freerun.records.distance import read_distance
from freerun.records.store import RunFolder
from freerun.runs.run import Run
from freerun.text.corpora import read_corpus
from freerun.text.instructions import instructions
from tests.templates import Marking, talking

SMALL: dict[str, Any] = {"documents": 32, "tokens": 16, "batch": 20}


def ending(hazard: float) -> Any:
    texts = [document.text for document in instructions().documents]
    return Ending(byte_ngram(texts, order=2, name="truth"), hazard=hazard, name=f"truth+end,hazard={hazard}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("prompts") / "run"
    return freerun.distance(ending(0.06), ending(0.3), "builtin/instructions", out=path, **SMALL)


def test_every_text_starts_after_its_own_prompt(made: Run) -> None:
    """Log-probabilities of both models, token by token, as each gives them to the text alone."""
    texts = read_distance(RunFolder(made.path)).texts
    models = {"log_p": ending(0.06), "log_q": ending(0.3)}
    lengths = set()
    for arm in ("real", "a", "b"):
        found = texts[arm]
        for i in range(0, found.n, 7):
            assert found.prefix_ids is not None
            first, ids = len(found.prefix_ids[i]), found.ids(i)
            lengths.add(first)
            for column, model in models.items():
                alone = model.log_probs([ids], first=first)[0]
                mine = getattr(found.laws, column)[i, : found.laws.n_tokens[i]]
                assert mine == pytest.approx(alone, abs=1e-10)
    assert len(lengths) > 3


def test_ends_are_tokens_and_what_is_recorded_says_so(made: Run) -> None:
    result = made.result
    assert result["plan"]["prompts"]["template"] is None
    assert result["plan"]["prompts"]["end_id"] == ending(0.06).end_ids[0]
    assert result["prompts"]["gap"] == "\n\n"
    assert any("plain text" in note for note in result["corpus_notes"])
    texts = read_distance(RunFolder(made.path)).texts
    assert texts["a"].laws.ended.mean() < texts["b"].laws.ended.mean()
    assert texts["a"].laws.n_tokens.min() < 16
    assert "--prefix" not in result["command"]
    assert result["certificate"]["low"] > 0.2  # the end comes five times as often


def test_one_at_a_time_has_the_same_laws(tmp_path: Path) -> None:
    """From the disk, from each text's own start; a model beside itself differs nowhere."""
    text = tmp_path / "text.txt"
    text.write_text("A short text of a few words, which is enough for counts of bytes.\n" * 9)
    words = ["distance", f"ngram/2@{text}", f"ngram/2@{text}", "builtin/instructions"]
    options = ["--documents", "32", "--tokens", "12", "--one-at-a-time", "-o", str(tmp_path / "run")]
    assert main([*words, *options]) == 0
    texts = read_distance(RunFolder(tmp_path / "run")).texts
    for arm in ("real", "a", "b", "floor_real_b", "floor_b"):
        assert np.nanmax(texts[arm].laws.kl_pq) < 1e-12


def test_a_resumed_run_is_the_same(made: Run, tmp_path: Path) -> None:
    import shutil

    copied = tmp_path / "run"
    shutil.copytree(made.path, copied)
    for part in (copied / "two_laws").glob("b-*"):
        part.unlink()
    again = freerun.distance(ending(0.06), ending(0.3), "builtin/instructions", out=copied, **SMALL)
    assert again.result["findings"] == made.result["findings"]


# ---- templates ---------------------------------------------------------------------------------------------------------


def other_template() -> Any:
    other = talking()
    other.template = copy.copy(other.template)
    other.template.source = Marking.source + " {{ more }}"
    return other


def without_template() -> Any:
    other = talking()
    other.template = None
    return other


@pytest.mark.parametrize(
    ("b", "words"),
    [
        (talking, "B's own is the same"),
        (other_template, "B's own differs"),
        (without_template, "B has none of its own"),
    ],
)
def test_the_template_is_a_s_and_the_run_says_what_b_has(b: Any, words: str, tmp_path: Path) -> None:
    run = freerun.distance(talking(), b(), "builtin/instructions", chat=True, out=tmp_path / "run", **SMALL)
    notes = run.result["corpus_notes"]
    assert any("The template is A's, for both models" in note and words in note for note in notes), notes
    assert run.result["prompts"]["template"]["before"] == "user:"
    assert run.result["plan"]["prompts"]["template"]["sha256"] == talking().template.sha256
    assert "--chat" in run.result["command"]
    page = run.report.read_text()
    assert "The template is A&#39;s" in page
    first = read_distance(RunFolder(run.path)).texts["real"].prefix_text
    assert first is not None
    assert first[0].startswith("user:")


def test_a_system_turn_is_in_the_plan_by_its_hash(tmp_path: Path) -> None:
    options = DistanceOptions(chat=True, system="Be brief.", documents=32, tokens=8)
    corpus = instructions()
    ready = prepare(talking(), talking(), corpus, options, out=tmp_path / "run")
    assert ready.plan.prompts is not None
    assert ready.plan.prompts.template is not None
    assert ready.plan.prompts.template.system_sha256 is not None
    assert "Be brief." in ready.manifest["prompts"]["template"]["before"]
    hidden = DistanceOptions(chat=True, system="Be brief.", documents=32, tokens=8, redact_text=True)
    secret = prepare(talking(), talking(), corpus, hidden, out=tmp_path / "run")
    assert "Be brief." not in json.dumps(secret.manifest)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--chat"], "has no chat template"),
        (["--system", "x"], "goes with --chat"),
        (["--template-option", "a=1"], "goes with --chat"),
        (["--prefix", "9"], "the prompt is the prefix"),
        (["--protocol", "llama.cpp"], "prompts with responses"),
    ],
)
def test_what_has_no_place_is_one_line(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    text = tmp_path / "text.txt"
    text.write_text("A short text of a few words, which is enough for counts of bytes.\n" * 9)
    spec = f"ngram/2@{text}"
    code = main(["distance", spec, spec, "builtin/instructions", *flags, "-o", str(tmp_path / "run")])
    assert code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(said, error), error
    assert not (tmp_path / "run").exists()


def test_chat_without_prompts_is_refused() -> None:
    with pytest.raises(UsageError, match="has none"):
        prepare(talking(), talking(), read_corpus("builtin/python-docs"), DistanceOptions(chat=True))
