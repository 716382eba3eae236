"""Distances with a server on answers to prompts: the model that is here makes the ids, each text begins after its own prompt."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.errors import UsageError
from freerun.jobs.audit.audit import audit
from freerun.jobs.distance.distance import distance
from freerun.jobs.distance.dry_run import dry_run
from freerun.jobs.distance.options import DistanceOptions
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.records.distance import read_distance
from freerun.records.store import RunFolder
from freerun.runs.run import Run
from tests.predictors.servers import fake as fakes
from tests.predictors.servers.checkpoint import Checkpoint, noisy
from tests.predictors.servers.conftest import Served
from tests.predictors.servers.fake import BEGIN, END, TABLE, Fake
from tests.predictors.servers.test_distance import exact_k
from tests.templates import TURN, Marking

SIZE: dict[str, Any] = {"documents": 40, "tokens": 16}


def ending(table: np.ndarray) -> np.ndarray:
    """The same with ends of text at about every twentieth token."""
    raised = table + np.where(np.arange(table.shape[1]) == END, 11.0, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(raised - np.log(np.exp(raised).sum(1, keepdims=True)))


SERVED, OTHER = ending(TABLE), ending(noisy(0.4))


@pytest.fixture(autouse=True)
def texts_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every server here has the law SERVED."""
    monkeypatch.setattr(fakes, "TABLE", SERVED)


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sixty questions of 1 to 12 letters, with answers of 4 to 30."""
    rng = random.Random(5)

    def letters(low: int, high: int) -> str:
        return "".join(rng.choices("abcdefghij ", k=rng.randint(low, high))) + "x"

    path = tmp_path_factory.mktemp("chat") / "chats.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": letters(1, 12)}, {"role": "assistant", "content": letters(4, 30)}]}
        for _ in range(60)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def checkpoint(table: np.ndarray = SERVED) -> Checkpoint:
    """With a template that closes turns with the end of text."""
    model = Checkpoint(table)
    model.template = Marking({TURN: END, "<|begin|>": BEGIN})
    return model


def check_tokens(run: Run, p: np.ndarray, q: np.ndarray) -> None:
    """Every token of every text under both laws, after the token that really stands before it."""
    texts = read_distance(RunFolder(run.path)).texts
    for arm in ("real", "a", "b"):
        found = texts[arm]
        for i in range(found.n):
            ids = found.ids(i)
            assert found.prefix_ids is not None
            first = len(found.prefix_ids[i])
            for column, table in (("log_p", p), ("log_q", q)):
                mine = getattr(found.laws, column)[i, : found.laws.n_tokens[i]]
                np.testing.assert_allclose(mine, table[ids[first - 1 : -1], ids[first:]], atol=1e-12)
        assert found.laws.ended.any()


@pytest.mark.parametrize("served_is", ["a", "b"])
def test_chat_by_the_template_of_the_model_that_is_here(
    served_is: str, served: Served, conversations: str, tmp_path: Path
) -> None:
    fake = Fake()
    server, here = served("vllm", fake), checkpoint(OTHER)
    a, b = (server, here) if served_is == "a" else (here, server)
    run = distance(a, b, conversations, chat=True, out=tmp_path / "run", **SIZE)
    p, q = (SERVED, OTHER) if served_is == "a" else (OTHER, SERVED)
    check_tokens(run, p, q)
    texts = read_distance(RunFolder(run.path)).texts
    prefixes, lengths = texts["a"].prefix_ids, texts["real"].laws.n_tokens
    assert prefixes is not None
    assert len({len(ids) for ids in prefixes}) > 5
    assert len(set(lengths.tolist())) > 5
    spelled = bytes(i if i < 256 else 0x7C for i in prefixes[0])
    assert spelled.startswith(b"user:")
    assert spelled.endswith(b"assistant:")
    estimates = {e["name"]: e for f in run.result["findings"] for e in f["estimates"]}
    last = [int(ids[-1]) for ids in prefixes]
    for name, (one, two) in {"k_nats": (p, q), "k_reverse_nats": (q, p)}.items():
        assert estimates[name]["low"] <= exact_k(one, two, last, 16) <= estimates[name]["high"]
    # what the template wrote, in the record, in the result and on the page
    added = run.result["prompts"]["template"]
    assert (added["before"], added["after"], added["closing_ids"]) == ("user:", f"{TURN}assistant:", [END])
    assert run.result["plan"]["prompts"]["template"]["sha256"] == here.template.sha256  # type: ignore[union-attr]
    assert json.loads((run.path / "manifest.json").read_text())["prompts"] == run.result["prompts"]
    mine, other = ("B", "A") if served_is == "a" else ("A", "B")
    words = f"The template is {mine}'s, for both models, since both must read the same ids; {other}'s server is sent these ids"
    assert any(words in note for note in run.result["corpus_notes"])
    assert f"The template is {mine}&#39;s" in run.report.read_text()
    assert "--chat" in run.result["command"]
    assert "--prefix" not in run.result["command"]
    asked = [body["prompt"] for path, body, _ in fake.seen if path == "/v1/completions"]
    assert all(isinstance(i, int) for ids in asked for i in ids)


def test_plain_prompts_and_a_server_that_pays_for_every_token(
    served: Served, conversations: str, tmp_path: Path
) -> None:
    """No token of a prompt is scored: llama.cpp's server would need a request for each."""
    server, options = served("llama-server", Fake()), DistanceOptions(**SIZE)
    forecast = dry_run(Checkpoint(OTHER), server, conversations, options, out=tmp_path / "run")
    before = server.client.tally.answered
    run = distance(Checkpoint(OTHER), server, conversations, out=tmp_path / "run", **SIZE)
    check_tokens(run, OTHER, SERVED)
    assert run.result["prompts"]["gap"] == "\n\n"
    assert run.result["prompts"]["template"] is None
    texts = read_distance(RunFolder(run.path)).texts
    scored = int(texts["real"].laws.n_tokens.sum() + texts["a"].laws.n_tokens.sum())
    trials = 2 * 11
    answered = server.client.tally.answered - before
    assert scored + 40 + trials <= answered <= 1.05 * (scored + 40 + trials)  # half characters take two
    assert forecast.server is not None
    said = forecast.server.requests - forecast.server.requests_to_know_it
    assert answered <= said <= answered + texts["a"].n * 16 - int(texts["a"].laws.n_tokens.sum()) + 5


def test_prompts_that_do_not_fit_the_server_are_left_out_by_count(
    served: Served, conversations: str, tmp_path: Path
) -> None:
    server = served("vllm", Fake(), options=",window=42")
    run = distance(checkpoint(), server, conversations, out=tmp_path / "run", chat=True, documents=20, tokens=16)
    assert run.result["counts"]["left_out"] > 0
    assert any("do not fit" in note for note in run.result["corpus_notes"])


def test_what_cannot_be_meant_is_said(served: Served, conversations: str, tmp_path: Path) -> None:
    a, b = served("vllm", Fake()), served("sglang", Fake())
    for models, more, words in (
        ((a, b), {"chat": True}, "has no chat template"),
        ((a, Checkpoint()), {"chat": True}, "has no chat template"),
        ((a, checkpoint()), {"prefix": 9}, "the prompt is the prefix"),
        ((a, checkpoint()), {"system": "x"}, "goes with --chat"),
    ):
        with pytest.raises(UsageError, match=words):
            distance(*models, conversations, out=tmp_path / "run", **{**SIZE, **more})
    plain = tmp_path / "plain.jsonl"
    plain.write_text("\n".join(json.dumps({"text": f"some words {i} " * 12}) for i in range(40)))
    with pytest.raises(UsageError, match="--chat renders prompts"):
        distance(a, checkpoint(), str(plain), chat=True, out=tmp_path / "run", **SIZE)
    assert not (tmp_path / "run").exists()
    both = distance(a, b, conversations, out=tmp_path / "run", **SIZE)
    check_tokens(both, SERVED, SERVED)


@pytest.mark.parametrize("served_is", ["a", "b"])
def test_a_text_ends_where_either_model_ends_one(
    served_is: str, served: Served, conversations: str, tmp_path: Path
) -> None:
    server, here = served("vllm", Fake()), checkpoint(OTHER)
    here.end_ids = (END, ord("e"))
    a, b = (server, here) if served_is == "a" else (here, server)
    run = distance(a, b, conversations, chat=True, out=tmp_path / "run", **SIZE)
    texts = read_distance(RunFolder(run.path)).texts
    for arm in ("a", "b"):
        found = texts[arm]
        assert found.token_id is not None
        for i, n in enumerate(found.laws.n_tokens.tolist()):
            is_end = np.isin(found.token_id[i, :n], here.end_ids)
            assert not is_end[:-1].any()
            assert is_end[-1] == found.laws.ended[i]
    assert run.result["plan"]["end_ids"] == sorted(here.end_ids)


def test_an_audit_of_answers_that_a_server_writes(served: Served, conversations: str, tmp_path: Path) -> None:
    """By the reader's template; what it drew is verified after prompts of every length, ends included."""
    both = OwnTextFrom(checkpoint(), served("vllm", Fake()))
    done = audit(both, conversations, chat=True, documents=40, tokens=16, out=tmp_path / "run")
    law = done.result["law_served"]
    assert law["match"] == "agrees"
    assert law["n_tokens"] > 200
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["prompts"]["template"]["before"] == "user:"
    assert done.result["own_text"]["sampler_audit"] == "passed"
