"""Asking: what stands in the prompts, that both orders are asked, that an oracle is right, and that answers survive the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from freerun.errors import DataError, UsageError
from freerun.findings.recognition.verbal import verbal
from freerun.jobs.audit.asking import ANSWERS, answer_log_probs, ask, asking_key
from freerun.jobs.audit.audit import audit
from freerun.predictors.base import Capabilities
from freerun.predictors.law import Law
from freerun.predictors.ngram import byte_ngram
from freerun.predictors.rules import ContextRule, Identity
from freerun.predictors.stepwise import Stepwise
from freerun.records.answers import Answer, asked, read_answers, write_answers
from freerun.records.store import Records, RunFolder, load_records
from tests.laws import from_probs

N_TOKENS = 128 + 2
A, B = 128, 129


class Oracle(Stepwise[list[str]]):
    """Reads the prompt; `answer(prompt)` is its probability of A. Letters are ASCII, " A" and " B" one id each."""

    def __init__(self, answer: Any, letters: str) -> None:
        self.answer, self.letters = answer, letters
        self.n_tokens, self.context, self.end_ids = N_TOKENS, ContextRule(window=5000), ()
        self.capabilities = Capabilities()
        self.identity = Identity("oracle", "oracle")
        self.prompts: list[str] = []

    def encode(self, text: str) -> Sequence[int]:
        return [{" A": A, " B": B}[text]] if text in ANSWERS else [min(ord(c), 127) for c in text]

    def token_bytes(self, token_id: int) -> bytes:
        return self.letters[token_id].encode()  # of the run's own ids

    def start(self, prefixes: Sequence[np.ndarray]) -> list[str]:
        return ["".join(chr(int(i)) for i in p) for p in prefixes]

    def law(self, state: list[str]) -> Law:
        self.prompts += state
        probs = np.full((len(state), N_TOKENS), 0.2 / (N_TOKENS - 2))
        for row, prompt in enumerate(state):
            p = self.answer(prompt)
            probs[row, A], probs[row, B] = 0.8 * p, 0.8 * (1 - p)
        return from_probs(probs)

    def advance(self, state: list[str], ids: np.ndarray) -> list[str]:
        raise NotImplementedError

    def select(self, state: list[str], rows: np.ndarray) -> list[str]:
        return [state[int(r)] for r in rows]

    def nbytes(self, state: list[str]) -> int:
        return 0


def sides(prompt: str) -> tuple[str, str]:
    a, rest = prompt.split("Continuation A:\n")[1].split("\n\nContinuation B:\n")
    return a, rest.split("\n\nQuestion")[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    return audit("world/markov", "world/markov", out=out, documents=40, tokens=24, prefix=8).path


@pytest.fixture(scope="module")
def records(run: Path) -> Records:
    return load_records(RunFolder(run))


LETTERS = "abcdefgh"


def oracle(records: Records, bias: float = 0.0) -> Oracle:
    """Knows its own texts, and reads what is quoted."""
    own = {t[:20] for t in records.sequences["text"][records.chosen(arm="free")]}

    def answer(prompt: str) -> float:
        a, b = sides(prompt)
        if "begins with the words" in prompt:
            words = prompt.split('"')[1]
            return 0.9 if a.startswith(words) else 0.1
        odds = bias + 2.0 * ((a in own) - (b in own))
        return float(1 / (1 + np.exp(-odds)))

    return Oracle(answer, LETTERS)


def test_an_oracle_is_right_in_both_orders(records: Records) -> None:
    rows = ask(oracle(records, bias=1.0), records, 10, n_tokens=20)
    real = [r for r in rows if r.kind == "own_real"]
    assert len(real) == 20
    odds = np.array([r.log_odds_a_nats for r in real])
    first = np.array([r.first_is_a for r in real])
    assert odds[first] == pytest.approx(np.full(10, 3.0))
    assert odds[~first] == pytest.approx(np.full(10, -1.0))
    assert [r.answer_mass for r in real] == pytest.approx([0.8] * 20)
    controls = [r.log_odds_a_nats for r in rows if r.kind in ("own_own", "real_real")]
    assert controls == pytest.approx([1.0] * len(controls))
    assert {r.n_tokens_side for r in rows} == {20}


def test_prompts_hold_the_texts_cut_alike_in_both_orders(records: Records) -> None:
    model = oracle(records)
    rows = ask(model, records, 6, n_tokens=10, batch=5)
    number = records.sequences["sequence"]
    text = {int(n): str(t)[:10] for n, t in zip(number, records.sequences["text"], strict=True)}
    seen = {sides(p) for p in model.prompts}
    for r in rows:
        pair = (text[r.sequence_first], text[r.sequence_second])
        assert (pair if r.first_is_a else pair[::-1]) in seen
    arm = dict(zip(number.tolist(), records.sequences["arm"], strict=True))
    unit = dict(zip(number.tolist(), records.sequences["unit"], strict=True))
    kinds = {
        k: [(r.sequence_first, r.sequence_second, r.pair) for r in rows if r.kind == k]
        for k in ("own_real", "own_own", "real_real")
    }
    assert all((arm[a], arm[b]) == ("free", "real") and unit[a] == unit[b] for a, b, _ in kinds["own_real"])
    assert all((arm[a], arm[b]) == ("free", "free") and a != b for a, b, _ in kinds["own_own"])
    assert all(arm[a] == arm[b] == "real" and len({unit[a], unit[b], unit[p]}) == 3 for a, b, p in kinds["real_real"])
    assert len({r.unit for r in rows}) == 6


def test_the_same_seed_asks_the_same_and_more_pairs_keep_the_first(records: Records) -> None:
    few, again, more = (ask(oracle(records), records, n, seed=3, n_tokens=12) for n in (5, 5, 9))
    assert few == again
    assert [r for r in few if r.kind == "own_real"] == [r for r in more if r.kind == "own_real"][: 2 * 5]
    assert asking_key("x", 5) == asking_key("x", 5)
    assert len({asking_key("x", 5), asking_key("x", 6), asking_key("y", 5), asking_key("x", 5, seed=1)}) == 4


def test_answers_of_several_tokens_are_summed() -> None:
    model = byte_ngram(["Answer: A", "Answer: B", "Answer: A"], order=3, name="ngram")
    prompt = np.array(list(b"Answer:"), np.int64)
    a, b, n = answer_log_probs(model, [prompt, prompt[3:]])
    assert n == 2
    whole = model.log_probs([np.append(prompt, list(b" A"))], first=len(prompt))[0]
    assert a[0] == pytest.approx(whole.sum())
    assert a[0] > b[0]


def test_refusals(records: Records) -> None:
    with pytest.raises(UsageError, match="at least one pair"):
        ask(oracle(records), records, 0)
    small = oracle(records)
    small.context = ContextRule(window=50)
    with pytest.raises(UsageError, match="the model sees 50"):
        ask(small, records, 4)
    ended = Records(records.manifest, records.sequences, records.tokens, np.minimum(records.starts, records.starts[1]))
    with pytest.raises(DataError, match="nothing can be asked"):
        ask(oracle(records), ended, 4)


def test_answers_survive_the_disk_and_make_a_finding(run: Path, records: Records) -> None:
    folder, model = RunFolder(run), oracle(records, bias=4.0)
    assert read_answers(folder) is None
    rows = ask(model, records, 16, n_tokens=20)
    plan_hash = records.manifest["plan_hash"]
    key = asking_key(plan_hash, 16)
    (run / "answers").mkdir()
    (run / "answers" / ".verbal.parquet-killed").write_text("half")
    write_answers(folder, rows, unit_key=key, plan_hash=plan_hash)
    assert asked(folder, key)
    assert not asked(folder, key + "x")
    assert [p.name for p in (run / "answers").iterdir()] == ["verbal.parquet"]
    held = read_answers(folder)
    assert held is not None
    assert held.n_rows == len(rows)
    assert held.log_odds_a_nats == pytest.approx(np.array([r.log_odds_a_nats for r in rows]))
    assert held.first_is_a.tolist() == [r.first_is_a for r in rows]
    finding = verbal(held)
    assert finding.status == "neutral"
    assert {e.name: e.value for e in finding.estimates}["verbal_accuracy"] == 1.0
    load_records(folder)  # the answers disturb nothing

    write_answers(folder, rows, unit_key=key, plan_hash="another")
    with pytest.raises(DataError, match="another plan"):
        read_answers(folder)
    (run / "answers" / "verbal.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(DataError, match="damaged"):
        read_answers(folder)
    assert not asked(folder, key)


def test_damaged_answers_are_found_by_their_checksum(tmp_path: Path, run: Path) -> None:
    """Every byte of the file; answers made before there were checksums are read without."""
    (tmp_path / "manifest.json").write_text((run / "manifest.json").read_text())
    folder = RunFolder(tmp_path)
    row = Answer("own_real", 1, "d", "u", 1, 2, True, 0.5, 0.9, 4, 9, 1)
    write_answers(folder, [row], unit_key="k", plan_hash=folder.manifest()["plan_hash"])
    path, sums = tmp_path / "answers" / "verbal.parquet", tmp_path / "checksums" / "verbal.sha256"
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert not asked(folder, "k")
        with pytest.raises(DataError, match=r"verbal\.parquet is damaged"):
            read_answers(folder)
    path.write_bytes(data)
    assert asked(folder, "k")
    sums.unlink()
    assert not asked(folder, "k")
    with pytest.raises(DataError, match="its checksum is gone"):
        read_answers(folder)
    table = pq.read_table(path)
    meta = {k: v for k, v in table.schema.metadata.items() if k != b"checksums"}
    pq.write_table(table.replace_schema_metadata(meta), path)
    assert asked(folder, "k")
    assert read_answers(folder) is not None


def test_no_mass_is_null(tmp_path: Path, run: Path) -> None:
    row = Answer("own_real", 1, "d", "u", 1, 2, True, None, 0.0, 4, 9, 1)
    folder = RunFolder(tmp_path)
    (tmp_path / "manifest.json").write_text((run / "manifest.json").read_text())
    write_answers(folder, [row], unit_key="k", plan_hash=folder.manifest()["plan_hash"])
    held = read_answers(folder)
    assert held is not None
    assert np.isnan(held.log_odds_a_nats[0])
