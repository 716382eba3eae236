"""Special tokens in the texts of a run: counted, spelled, and how much of the horizon is theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import freerun
from freerun.findings.detectability.comparison import Comparison, compare
from freerun.findings.detectability.control_tokens import control_tokens
from freerun.findings.detectability.leaks import CONTROL_TOKENS, leaks
from freerun.findings.evidence import Evidence
from freerun.findings.plain_text import PlainText
from freerun.findings.special_tokens import shown_text
from freerun.findings.summary import derive
from freerun.records.store import Records, RunFolder, load_records

LENGTH = 32
SPECIAL: dict[str, Any] = {
    "ends": [],
    "ends_without_row": [],
    "control": {"100": "<|im_start|>", "101": "<|pad|>", "102": "<|end|>"},
    "without_token": [[110, 120]],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Records, Comparison]:
    """A chain audited against another one: 32 test documents, and any detector sees it."""
    folder = tmp_path_factory.mktemp("runs") / "bad"
    freerun.audit("world/markov,seed=1", "world/markov,seed=0", out=folder, documents=64, tokens=LENGTH, prefix=4)
    records = load_records(RunFolder(folder))
    return records, compare(Evidence(records))


def with_tokens(records: Records, written: dict[tuple[int, int], int], **manifest: Any) -> Evidence:
    """The records with other ids, which stand for no text, at some (sequence, token) places."""
    columns = {name: np.array(records.tokens[name]) for name in records.tokens}
    texts = records.sequences["text"].copy()
    for (sequence, at), token_id in sorted(written.items(), reverse=True):
        row = int(records.starts[sequence]) + at
        columns["token_id"][row], columns["n_bytes"][row] = token_id, 0
        texts[sequence] = texts[sequence][:at] + texts[sequence][at + 1 :]  # a symbol of the chain is a byte
    plan = {**records.manifest["plan"], "end_ids": [102]}
    return Evidence(
        replace(
            records,
            manifest=type(records.manifest)({**records.manifest, "plan": plan, "special_tokens": SPECIAL, **manifest}),
            tokens=columns,  # type: ignore[arg-type]
            sequences={**records.sequences, "text": texts},
        )
    )


def row(evidence: Evidence, found: Comparison) -> str:
    return next(left for leak, _, left in leaks(evidence, found).rows if leak == CONTROL_TOKENS)


def test_none_is_said_to_be_none(made: tuple[Records, Comparison]) -> None:
    records, found = made
    held = control_tokens(with_tokens(records, {}), found)
    assert held is not None
    assert (held.own_texts, held.n_own_texts, held.written, held.first_token) == (0, 128, (), None)
    assert (held.real.value, held.own.value, held.n_left, held.h75_cut) == (0.0, 0.0, 32, None)
    assert (
        row(with_tokens(records, {}), found)
        == "documents with one: 0% (0% to 6%) in real text, 0% (0% to 6%) in own text"
    )


def test_own_texts_are_counted_and_spelled(made: tuple[Records, Comparison]) -> None:
    """Two texts of one document and one of another; an end is not a leak, nor is anything past the panel."""
    records, found = made
    panel = Evidence(records).panel
    test = found.test_pairs
    places = {
        (panel.free[test[0], 0], 4): 100,
        (panel.free[test[0], 0], 9): 100,
        (panel.free[test[0], 1], 6): 115,
        (panel.free[test[1], 0], 20): 100,
        (panel.free[test[2], 0], LENGTH - 1): 102,
    }
    evidence = with_tokens(records, places)
    held = control_tokens(evidence, found)
    assert held is not None
    assert (held.own_texts, held.n_own_texts) == (3, 128)
    assert held.written == (("<|im_start|>", 2), ("id 115, no token", 1))
    assert held.first_token == 7
    assert held.own.value == pytest.approx(2 / 64)
    assert (held.own.low, held.own.high) == pytest.approx((0.0038, 0.1084), abs=1e-4)  # Clopper and Pearson, 2 of 64
    assert held.real.value == 0
    assert held.n_left == 30
    said = row(evidence, found)
    assert "3 of 128 own texts (<|im_start|> in 2, id 115, no token in 1), at token 7 in the median" in said
    assert "; H75 of the texts cut there: " in said
    assert said.endswith("; 30 test documents without any")


def test_a_text_that_begins_with_one_has_no_part_in_the_horizon(made: tuple[Records, Comparison]) -> None:
    """Scores that differ in documents with control tokens alone: all of the detection is theirs."""
    records, found = made
    leaking = found.test_pairs[:16]
    evidence = with_tokens(records, {(int(found_at), 0): 101 for found_at in Evidence(records).panel.free[leaking, 0]})
    leak = np.isin(found.test_pairs, leaking)
    rng = np.random.default_rng(0)
    real = rng.normal(size=leak.size)
    free = np.where(leak[:, None], 9.0, rng.permutation(real)[:, None] + np.zeros(2))
    same = tuple(replace(d, scores_real=real, scores_free=free) for d in found.main.detections)
    held = control_tokens(evidence, replace(found, main=replace(found.main, detections=same)))
    assert held is not None
    assert held.h75_cut is not None
    assert (held.n_left, held.h75_cut.estimate.where) == (16, "beyond")
    everywhere = np.full((leak.size, 2), 9.0)
    same = tuple(replace(d, scores_real=real, scores_free=everywhere) for d in found.main.detections)
    held = control_tokens(evidence, replace(found, main=replace(found.main, detections=same)))
    assert held is not None
    assert held.h75_cut is not None
    assert held.h75_cut.estimate.where == "before"  # none of the detection is theirs


def test_texts_count_up_to_the_token_that_cuts_them(made: tuple[Records, Comparison]) -> None:
    """What is seen before the token is the text's own; what is seen at it and after is the token's."""
    records, found = made
    at = 8
    evidence = with_tokens(records, {(int(i), at): 101 for i in Evidence(records).panel.free[found.test_pairs[:20], 0]})
    rng = np.random.default_rng(1)
    real = rng.normal(size=found.test_pairs.size)
    alike, apart = rng.permutation(real)[:, None] + np.zeros(2), np.full((real.size, 2), 9.0)
    mixed = np.where(np.arange(real.size)[:, None] < 20, 9.0, alike)

    def horizon_with(before: np.ndarray, after: np.ndarray) -> Any:
        scores = [before if n <= at else after for n in found.lengths]
        same = tuple(
            replace(d, scores_real=real, scores_free=s) for d, s in zip(found.main.detections, scores, strict=True)
        )
        held = control_tokens(evidence, replace(found, main=replace(found.main, detections=same)))
        assert held is not None
        assert held.n_left == 12
        return held.h75_cut

    assert horizon_with(alike, mixed).estimate.where == "beyond"
    assert horizon_with(apart, alike).estimate.where == "before"
    late = horizon_with(alike, apart)
    assert at < late.value <= 2 * at


def test_too_few_left_have_no_horizon(made: tuple[Records, Comparison]) -> None:
    records, found = made
    places = {(int(i), 0): 100 for i in Evidence(records).panel.free[found.test_pairs[:-7], 1]}
    held = control_tokens(with_tokens(records, places), found)
    assert held is not None
    assert (held.n_left, held.h75_cut) == (7, None)
    assert row(with_tokens(records, places), found).endswith(
        "H75 of the texts cut there: too few to say; 7 test documents without any"
    )


def test_real_text_that_holds_one_is_counted_too(made: tuple[Records, Comparison]) -> None:
    """Unknown words are special tokens of many tokenizers."""
    records, found = made
    evidence = with_tokens(records, {(int(Evidence(records).panel.real[found.test_pairs[0]]), 2): 101})
    held = control_tokens(evidence, found)
    assert held is not None
    assert held.real.value == pytest.approx(1 / 64)
    assert held.n_left == 31
    assert "2% (0% to 8%) in real text" in row(evidence, found)


def test_runs_made_before_do_not_know(made: tuple[Records, Comparison]) -> None:
    records, found = made
    old = with_tokens(records, {})
    del old.records.manifest["special_tokens"]  # type: ignore[attr-defined]
    assert control_tokens(old, found) is None
    assert row(old, found) == "not known"


def test_control_tokens_are_seen_where_they_stand(made: tuple[Records, Comparison]) -> None:
    records, _ = made
    free = int(Evidence(records).panel.free[0, 0])
    plain = str(records.sequences["text"][free])
    evidence = with_tokens(records, {(free, 2): 100, (free, LENGTH - 1): 102})
    shown = shown_text(evidence, free)
    assert shown == f"{plain[:2]}⟨<|im_start|>⟩{plain[3:-1]}⟨<|end|>⟩"
    assert shown_text(evidence, free, start=1, stop=4) == f"{plain[1]}⟨<|im_start|>⟩{plain[3]}"


def test_a_control_token_beside_half_a_character_has_no_bytes(made: tuple[Records, Comparison]) -> None:
    """Bytes are looked up by id there, and no text says what this id stands for: nothing, not an unknown character."""
    records, _ = made
    free = int(Evidence(records).panel.free[0, 0])
    evidence = with_tokens(records, {(free, 2): 100})
    texts = evidence.records.sequences["text"]
    plain = texts[free]
    texts[free] = plain[:-1] + "\ufffd"
    words = PlainText(evidence)
    assert not words.whole(free)
    assert words.first(free, 5) == plain[:4].encode()


def test_the_report_shows_them_and_says_so(made: tuple[Records, Comparison]) -> None:
    records, _ = made
    panel = Evidence(records).panel
    evidence = with_tokens(records, {(int(i), 5): 100 for i in panel.free.ravel()})
    result = derive(evidence.records)
    assert all("⟨<|im_start|>⟩" in free for text in result.texts for free in text.free)
    (threat,) = (t for t in result.threats if t.title == "It writes control tokens")
    assert "128 of 128 own texts" in threat.text
    assert not any(t.title == "It writes control tokens" for t in derive(with_tokens(records, {}).records).threats)
