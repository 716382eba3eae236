"""Loops on an exact world whose loop hazard, escape and time in a trap are known, and on hand-made texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import freerun
from freerun.findings.evidence import Evidence
from freerun.findings.loops.evidence import LoopEvidence, first_onsets, loop_evidence
from freerun.findings.loops.finding import loops
from freerun.records.store import Records, RunFolder, load_records
from freerun.results.finding import Cell, to_json
from freerun.stats.bounds.certificates import kl_proven_of_counts
from freerun.stats.loops.lag_runs import LoopRule, first_loop
from freerun.stats.loops.survival import cumulative_incidence, hazard_by_position, hazard_per_token
from freerun.worlds.markov import MarkovWorld
from tests.plans import plan_json

N_NOISE, N_CYCLE, COPIES_TOKENS, PREFIX = 20, 4, 24, 8


def cycling(enter: float, leave: float) -> MarkovWorld:
    """Noise over 20 letters; with chance `enter` a token begins to say u v w x over and over, and with chance `leave` stops."""
    n = N_NOISE + N_CYCLE
    table = np.zeros((n, n))
    table[:N_NOISE, :N_NOISE] = (1 - enter) / N_NOISE
    table[:N_NOISE, N_NOISE] = enter
    for i in range(N_CYCLE):
        table[N_NOISE + i, :N_NOISE] = leave / N_NOISE
        table[N_NOISE + i, N_NOISE + (i + 1) % N_CYCLE] = 1 - leave
    return MarkovWorld(table)


def exact(enter: float, leave: float, length: int) -> tuple[np.ndarray, np.ndarray]:
    """(incidence, hazard) by token: a chain on how many tokens of the cycle stand in a row, from a stationary first token.

    A loop of u v w x is complete when 24 tokens of it stand there: four to begin with, and 20 that repeat.
    """
    law = np.zeros(COPIES_TOKENS)
    law[1] = enter / (enter + leave)
    law[0] = 1 - law[1]
    incidence = []
    looped = 0.0
    for t in range(1, PREFIX + length):
        new = np.zeros(COPIES_TOKENS)
        new[0] = law[0] * (1 - enter) + law[1:].sum() * leave
        new[1] = law[0] * enter
        new[2:] = law[1:-1] * (1 - leave)
        looped += law[-1] * (1 - leave)
        law = new
        if t >= PREFIX:
            incidence.append(looped)
    incidence = np.array(incidence)
    before = np.concatenate([[0.0], incidence[:-1]])
    return incidence, (incidence - before) / (1 - before)


def named(run: freerun.Run) -> dict[str, Any]:
    return {e["name"]: e for e in run.findings["loops"]["estimates"]}


@pytest.fixture(scope="module")
def perfect(tmp_path_factory: pytest.TempPathFactory) -> freerun.Run:
    world = cycling(0.05, 0.05)
    corpus = world.corpus(96, PREFIX + 97, seed=1)
    return freerun.audit(
        world, corpus, out=tmp_path_factory.mktemp("loops") / "r", tokens=96, prefix=PREFIX, documents=96
    )


def test_a_known_loop_hazard_is_found(perfect: freerun.Run) -> None:
    """The truth may lie up to one more half-width beyond an interval: over the five numbers that happens with probability below
    .002. The chance of leaving by mass is exact: every token of a loop has the same."""
    found = named(perfect)
    incidence, _ = exact(0.05, 0.05, 96)
    per_token = incidence[-1] / (1 - np.concatenate([[0.0], incidence[:-1]])).sum()
    truth = {
        "loop_incidence": incidence[-1],
        "loop_incidence_real": incidence[-1],
        "loop_hazard": per_token,
        "loop_hazard_rao_blackwell": per_token,
        "loop_escape_per_token": 0.05,
    }
    for name, value in truth.items():
        e = found[name]
        assert 2 * e["low"] - e["value"] <= value <= 2 * e["high"] - e["value"], name
    assert found["loop_escape_rao_blackwell"]["value"] == pytest.approx(0.05, abs=1e-6)
    assert found["time_in_trap_tokens"]["value"] == pytest.approx(20.0, abs=1e-3)
    by_mass, counted = found["loop_hazard_rao_blackwell"], found["loop_hazard"]
    assert by_mass["high"] - by_mass["low"] < counted["high"] - counted["low"]


def test_a_perfect_predictor_loops_no_more_than_its_source(perfect: freerun.Run) -> None:
    """p below 0.01 has probability below 0.01 under the null, at a seed fixed before; the control likewise."""
    found, finding = named(perfect), perfect.findings["loops"]
    assert found["loop_log_rank_p"]["value"] > 0.01
    assert found["kl_from_loops_at_least_nats"]["value"] == 0
    assert finding["status"] == "neutral"
    control = finding["tables"][2]["rows"][1]
    assert control[0].startswith("control: one own continuation")
    assert control[-1]["value"] > 1e-4


def test_the_hazard_chart_has_both_estimates_of_one_hazard(perfect: freerun.Run) -> None:
    chart = perfect.findings["loops"]["charts"][1]
    by_name = {s["name"]: s for s in chart["series"]}
    assert set(by_name) == {"real text, counted", "own text, counted", "own text, by mass"}
    _, hazard = exact(0.05, 0.05, 96)
    last = by_name["own text, by mass"]
    # tokens 65 to 96, hazard nearly constant there; twice the interval's width
    value, low, high = last["y"][-1], last["low"][-1], last["high"][-1]
    assert 2 * low - value <= hazard[64:].mean() <= 2 * high - value
    assert last["y"][0] == 0  # no loop can be complete at the first token after 8


def test_a_looping_model_against_a_source_without_loops(tmp_path: Path) -> None:
    model, source = cycling(0.05, 0.02), cycling(0.001, 0.9)
    run = freerun.audit(
        model, source.corpus(64, PREFIX + 97, seed=1), out=tmp_path / "r", tokens=96, prefix=PREFIX, documents=64
    )
    found, finding = named(run), run.findings["loops"]
    assert finding["status"] == "bad"
    assert found["loop_log_rank_p"]["value"] < 1e-6
    evidence = Evidence(load_records(RunFolder(Path(run.path))))
    onset = evidence.once(loop_evidence).onset
    sequences = evidence.records.sequences
    first = [
        int((onset[(sequences["arm"] == arm) & (sequences["replicate"] == 0)] >= 0).sum()) for arm in ("real", "free")
    ]
    assert first[0] == 0
    assert found["kl_from_loops_at_least_nats"]["value"] == kl_proven_of_counts(0, 64, first[1], 64).kl_nats > 0
    assert "log-rank test within documents, p < 0.0001" in finding["sentence"]
    assert "about 50 tokens in a trap" in finding["sentence"]
    rows = next(t for t in finding["tables"] if t["name"] == "loop_onsets")["rows"]
    assert len(rows) == 5
    assert {r[5]["value"] for r in rows} == {4}
    assert all(sorted(r[3].strip("“”")) == ["u", "v", "w", "x"] for r in rows)
    text = json.dumps(to_json(finding), allow_nan=False)
    assert "absorbing" not in finding["sentence"]
    assert "No trap is called absorbing" in text


def test_greedy_text_is_counted_once_and_nothing_is_said_by_mass(tmp_path: Path) -> None:
    world = cycling(0.2, 0.05)  # the likeliest token after noise is u, and after u it is v: greedy never leaves
    run = freerun.audit(
        world, world.corpus(16, PREFIX + 65, seed=2), out=tmp_path / "r", tokens=64, prefix=PREFIX, sample_with="greedy"
    )
    found, finding = named(run), run.findings["loops"]
    assert found["loop_incidence"]["value"] == 1
    assert finding["tables"][0]["rows"][1][1:3] == [to_json(Cell.number(16, ","))] * 2
    assert "loop_hazard_rao_blackwell" not in found
    assert "loop_escape_rao_blackwell" not in found
    time = found["time_in_trap_tokens"]
    assert (time["value"], time["high"], time["text"]) == (None, None, "none left")
    assert time["low"] > 10
    assert "none left it: the expected time in a trap is at least" in finding["sentence"]
    assert [r[0] for r in finding["tables"][2]["rows"]] == [
        "own text against real text",
        "control: own text at t = 0.9 against own text",
    ]


# ---- coverage --------------------------------------------------------------------------------------------------------


def run_length(
    enter: float, leave: float, n: int, length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Texts two a document that share their prefix: (time, mass) of the first loop, without the letters."""
    in_cycle = np.repeat(rng.random(n) < enter / (enter + leave), 2)
    count = in_cycle.astype(int)
    out = []
    for t in range(1, PREFIX + length):
        u = np.repeat(rng.random(n), 2) if t < PREFIX else rng.random(2 * n)
        out.append(count)
        count = np.where(count > 0, np.where(u < leave, 0, count + 1), (u < enter).astype(int))
    out.append(count)
    history = np.stack(out, axis=1)[:, PREFIX - 1 :]
    looped = history[:, 1:] >= COPIES_TOKENS
    time = np.where(looped.any(1), looped.argmax(1) + 1, 0)
    return time, np.where(history[:, :-1] == COPIES_TOKENS - 1, 1 - leave, 0.0)


@pytest.mark.parametrize(("enter", "leave"), [(0.05, 0.05), (0.004, 0.03)])
def test_incidence_and_hazard_intervals_cover(enter: float, leave: float) -> None:
    """300 runs of 48 documents × 2 texts × 64 tokens, against the exact chain; at the second pair about 13 of 96 texts loop.

    Nominal 95%. At most 27 misses of 300 are allowed: a true rate of 5% leaves more with probability .001, and 27 has a
    Clopper–Pearson upper limit of 13%: 300 runs show no more than that. Four intervals are held to it.
    """
    rng = np.random.default_rng(31)
    incidence, _ = exact(enter, leave, 64)
    before = np.concatenate([[0.0], incidence[:-1]])
    per_token = incidence[-1] / (1 - before).sum()
    late = (incidence[-1] - incidence[31]) / (1 - before[32:]).sum()
    groups = np.repeat(np.arange(48), 2)
    edges = np.array([0, 32, 64])
    misses = {"incidence": 0, "hazard": 0, "late": 0, "late by mass": 0}
    for _ in range(300):
        time, mass = run_length(enter, leave, 48, 64, rng)
        cause = (time > 0).astype(int)
        time = np.where(time > 0, time, 64)
        curve = cumulative_incidence(time, cause, groups=groups)
        hazard = hazard_per_token(time, cause, groups=groups)
        counted = hazard_by_position(time, cause, edges=edges, groups=groups)
        massed = hazard_by_position(time, cause, edges=edges, groups=groups, mass=mass)
        misses["incidence"] += not curve.low[-1] <= incidence[curve.times[-1] - 1] <= curve.high[-1]
        misses["hazard"] += not hazard.low <= per_token <= hazard.high
        misses["late"] += not counted.low[1] <= late <= counted.high[1]
        misses["late by mass"] += not massed.low[1] <= late <= massed.high[1]
    assert max(misses.values()) <= 27, misses


# ---- hand-made texts -------------------------------------------------------------------------------------------------


def records(texts: list[tuple[str, str, list[int], str]], *, tokens: int, **plan: Any) -> Records:
    """(arm, document, ids, end reason); the prefix is 100 101; a letter an id."""
    lengths = [len(ids) for _, _, ids, _ in texts]
    counter: dict[tuple[str, str], int] = {}
    replicate = []
    for arm, document, _, _ in texts:
        replicate.append(counter.get((arm, document), 0))
        counter[(arm, document)] = replicate[-1] + 1
    sequences = {
        "arm": np.array([t[0] for t in texts], object),
        "document_id": np.array([t[1] for t in texts], object),
        "unit": np.array([t[1] for t in texts], object),
        "replicate": np.array(replicate),
        "end_reason": np.array([t[3] for t in texts], object),
        "prefix_ids": [[100, 101] for _ in texts],
        "text": np.array(["".join(chr(97 + i % 26) if i % 2 else "é" for i in t[2]) for t in texts], object),
    }
    ids = np.concatenate([np.array(t[2]) for t in texts])
    columns = {
        "token_id": ids,
        "loop_mass": np.full(ids.size, 0.25, np.float32),
        "n_bytes": np.where(ids % 2, 1, 2),
        "position": np.concatenate([np.arange(n) for n in lengths]),
    }
    rule = LoopRule(copies=3, min_tokens=6, max_period=8)
    settings = plan_json(**{"tokens": tokens, "continuations": 1, "prefix": 2, "loop_rule": rule, **plan})
    manifest = {"plan": settings, "counts": {"documents_ended_in_window": 0, "documents_at_risk_of_ending": len(texts)}}
    return Records(manifest, sequences, columns, np.concatenate([[0], np.cumsum(lengths)]))


PLAIN = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]


def test_an_onset_by_hand() -> None:
    # 7 8 9 | 1 2 1 2 1 2: complete at token 9 (index 8), goes on for 2 more, then is left
    looping = [7, 8, 9, 1, 2, 1, 2, 1, 2, 1, 2, 5]
    held = [("real", d, PLAIN, "length") for d in "ab"]
    held += [("free", "a", looping, "length"), ("free", "b", [*PLAIN[:10], 3], "end_of_text")]
    finding = loops(Evidence(records(held, tokens=12)))
    row = next(t for t in finding.tables if t.name == "loop_onsets").rows[0]
    assert [c.text if isinstance(c, Cell) else c for c in row] == [
        "own",
        "a",
        "9",
        "“bé”",
        "1 2",
        "2",
        "4",
        "3 tokens, then left",
    ]
    found = LoopEvidence(Evidence(records(held, tokens=12)), LoopRule(3, 6, 8))
    assert found.onset.tolist() == [-1, -1, 8, -1]
    assert [first_loop(found.ids(i), found.rule, start=2) for i in range(4)] == [None, None, 10, None]
    assert found.times(np.array([0, 2, 3]))[0].tolist() == [12, 9, 11]
    assert found.times(np.array([0, 2, 3]))[1].tolist() == [0, 1, 2]
    assert first_onsets(found, "free", 5)[0].copies == 4
    estimates = {e.name: e for e in finding.estimates}
    # one loop over 9 + 11 tokens at risk, and a quarter of each by mass
    assert estimates["loop_hazard"].value == pytest.approx(1 / 20)
    assert estimates["loop_hazard_rao_blackwell"].value == pytest.approx(0.25)
    assert estimates["loop_escape_per_token"].value is None
    assert estimates["loop_escape_per_token"].text == "loops in one document only"


def test_an_end_of_text_competes_and_leaves_a_trap() -> None:
    trapped = [1, 2] * 5
    held = [("real", d, PLAIN, "length") for d in "abc"]
    held += [("free", d, [*trapped, 0], "end_of_text") for d in "ab"] + [("free", "c", [3, 0], "end_of_text")]
    finding = loops(Evidence(records(held, tokens=12)))
    estimates = {e.name: e for e in finding.estimates}
    # complete at token 6; four tokens of each loop follow, and the end: 5 at risk, one of them leaves
    assert estimates["loop_escape_per_token"].value == pytest.approx(1 / 5)
    assert estimates["loop_escape_rao_blackwell"].value == pytest.approx(0.75)
    assert estimates["end_incidence"].value == pytest.approx(1 / 3)
    assert estimates["loop_incidence"].value == pytest.approx(2 / 3)


def test_none_seen_says_so_in_words() -> None:
    held = [(arm, d, PLAIN, "length") for d in "abcd" for arm in ("real", "free")]
    finding = loops(Evidence(records(held, tokens=12)))
    assert finding.sentence.startswith(
        "None of its 4 texts loops within 12 tokens (95% interval 0.0% to 60.2%), nor does a real one;"
    )
    estimates = {e.name: e for e in finding.estimates}
    assert estimates["time_in_trap_tokens"].text == "no loop seen"
    assert estimates["loop_log_rank_p"].value == 1
    assert "loop_onsets" not in {t.name for t in finding.tables}
    plain = to_json(finding)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_one_document_gives_no_inference() -> None:
    finding = loops(Evidence(records([("real", "a", PLAIN, "length"), ("free", "a", PLAIN, "length")], tokens=12)))
    assert (finding.status, finding.estimates[0].name, finding.estimates[0].value) == (
        "unknown",
        "loop_incidence",
        None,
    )
