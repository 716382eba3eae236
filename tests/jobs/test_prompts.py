"""Audits of prompts with responses: nothing where nothing is, planted differences found, resumed, redacted, refused in one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import freerun
from freerun.commands.main import main
from freerun.errors import DataError, UsageError
from freerun.findings.evidence import Evidence
from freerun.jobs.audit.audit import audit
from freerun.jobs.audit.dry_run import dry_run
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.audit.preparing import prepare
from freerun.jobs.audit.prompting import known_ids_of
from freerun.organisms.ending import Ending
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.chat import ChatFeeding, PlainFeeding
from freerun.predictors.ngram import byte_ngram
from freerun.records.plan import AuditPlan, PromptPlan, TemplateOption, TemplatePlan, read_plan
from freerun.records.store import RunFolder, load_records
from freerun.results.finding import to_json
from freerun.text.conversations import Message
from freerun.text.documents import Corpus, Document, assemble
from freerun.text.instructions import instructions
from tests.plans import plan_json
from tests.templates import talking

HAZARD = 0.06
SMALL: dict[str, Any] = {"documents": 48, "tokens": 32}
WORDS = ("list", "a module", "the iterator", "files", "an empty object", "some bytes", "names", "its value")


def ending(hazard: float) -> Predictor:
    """A byte n-gram of the shipped answers whose texts end with this probability at every token, or a little more often."""
    texts = [document.text for document in instructions().documents]
    return Ending(byte_ngram(texts, order=2, name="truth"), hazard=hazard, name=f"truth+end,hazard={hazard}")


def own_answers(predictor: Predictor, n: int, *, seed: int, length: int = 200) -> Corpus:
    """Prompts, and responses that the predictor itself wrote, of any length: real text is its law exactly."""
    rng = np.random.default_rng(seed)
    feeding = PlainFeeding(predictor)
    prompts = [" ".join(rng.choice(WORDS, 1 + int(rng.integers(6)))) + f" {i}?" for i in range(n)]
    turns = [(Message("user", prompt),) for prompt in prompts]
    keys = np.arange(n, dtype=np.uint64)[:, None] + np.uint64(1_000_000 * (seed + 1))
    wanted = Continuations([feeding.ids(turn) for turn in turns], keys, length, seed=seed)
    documents = []
    for sample in sorted(predictor.generate(wanted), key=lambda s: s.row):
        ids = [int(i) for i in sample.observation.token_id]
        ids = ids[:-1] if sample.end_reason == "end_of_text" else ids
        name = f"p{sample.row}"
        documents.append(Document(name, "", name, ids=tuple(ids), before=turns[sample.row]))
    return assemble(documents, name="own", spec="own answers")


@pytest.fixture(scope="module")
def truth() -> Predictor:
    return ending(HAZARD)


@pytest.fixture(scope="module")
def null(truth: Predictor, tmp_path_factory: pytest.TempPathFactory) -> freerun.Run:
    return audit(truth, own_answers(truth, 48, seed=1), out=tmp_path_factory.mktemp("runs") / "null", **SMALL)


def estimates(run: freerun.Run, finding: str) -> dict[str, dict[str, Any]]:
    return {e["name"]: e for e in run.findings[finding]["estimates"]}


def test_both_sides_stop_at_their_own_end(null: freerun.Run) -> None:
    records = load_records(RunFolder(null.path))
    lengths, sequences = np.diff(records.starts), records.sequences
    end = null.result["plan"]["prompts"]["end_id"]
    for i in range(records.n_sequences):
        ids = records.tokens["token_id"][records.rows(i)]
        ended = sequences["end_reason"][i] == "end_of_text"
        assert ended == (ids[-1] == end)
        assert ended or lengths[i] == 32
        assert not (ids[:-1] == end).any()
    for arm in ("real", "free"):
        mine = sequences["arm"] == arm
        share = float((sequences["end_reason"][mine] == "end_of_text").mean())
        # at hazard 0.06 a text ends within 32 tokens with probability 0.862; ±4 standard errors of 48 texts
        assert share == pytest.approx(1 - (1 - HAZARD) ** 32, abs=4 * np.sqrt(0.862 * 0.138 / 48))


def test_the_laws_are_those_of_a_pass_over_each_text_alone(null: freerun.Run, truth: Predictor) -> None:
    records = load_records(RunFolder(null.path))
    for i in records.chosen(arm="real")[:6]:
        prefix, rows = np.asarray(records.sequences["prefix_ids"][i], np.int64), records.rows(int(i))
        text = np.concatenate([prefix, records.tokens["token_id"][rows].astype(np.int64)])
        alone = truth.log_probs([text], first=len(prefix))[0]
        assert records.tokens["log_prob_nats"][rows] == pytest.approx(alone, abs=1e-9)


def test_the_reference_is_that_of_each_text_alone(null: freerun.Run, truth: Predictor, tmp_path: Path) -> None:
    ready = prepare(truth, own_answers(truth, 48, seed=1), AuditOptions(**SMALL), out=tmp_path / "unused")
    reference, records = ready.reference(), load_records(RunFolder(null.path))
    for i in [*records.chosen(arm="real")[:3], *records.chosen(arm="free")[:3]]:
        prefix, rows = np.asarray(records.sequences["prefix_ids"][i], np.int64), records.rows(int(i))
        text = np.concatenate([prefix, records.tokens["token_id"][rows].astype(np.int64)])
        (alone,) = reference.log_probs([str(records.sequences["unit"][i])], [text], first=len(prefix))
        assert records.tokens["reference_log_probs_nats"][rows] == pytest.approx(alone, abs=1e-9)


def test_a_model_that_wrote_the_responses_shows_no_gap(null: freerun.Run) -> None:
    found = estimates(null, "detectability")
    assert "No difference was found" in null.findings["detectability"]["sentence"]
    assert found["auc_length_alone"]["low"] < 0.5 < found["auc_length_alone"]["high"]
    drift = estimates(null, "drift")
    for name in ("entropy_gap_late_nats", "entropy_gap_early_nats"):
        assert drift[name]["low"] < 0 < drift[name]["high"]
    assert "tv_from_loss_at_least" in estimates(null, "certificates")
    leak = {row[0]: row for row in tables(null, "detectability")["leaks"]["rows"]}
    assert leak["where a text ends"][2] == "0 of 48 pairs left out"


def tables(run: freerun.Run, finding: str) -> dict[str, Any]:
    return {t["name"]: t for t in run.findings[finding]["tables"]}


def test_the_audit_rejects_the_truth_no_more_often_than_it_says(truth: Predictor, tmp_path: Path) -> None:
    """Size of `detected` (p < 0.01, all detectors and lengths together, the length's among them): 6 runs.

    At that size three or more rejections have probability 2e-5.
    """
    detected = 0
    for seed in range(6):
        corpus = own_answers(truth, 32, seed=10 + seed)
        run = audit(truth, corpus, out=tmp_path / str(seed), documents=32, tokens=16, seed=seed)
        detected += run.findings["detectability"]["status"] == "bad"
    assert detected <= 2


def test_texts_that_end_too_soon_are_told_by_their_length(truth: Predictor, tmp_path: Path) -> None:
    hasty = ending(0.3)
    run = audit(hasty, own_answers(truth, 48, seed=1), out=tmp_path / "run", **SMALL)
    assert run.findings["detectability"]["status"] == "bad"
    length = estimates(run, "detectability")["auc_length_alone"]
    # geometric lengths at hazards 0.06 and 0.3, stopped at 32; the standard error at 24 test documents is at most 0.06
    assert length["value"] == pytest.approx(_auc_of_lengths(HAZARD, 0.3, 32), abs=0.2)
    assert length["low"] > 0.5
    assert "length alone" in str(run.findings["detectability"]["notes"][0])


def _auc_of_lengths(real: float, own: float, most: int) -> float:
    """By enumeration; a text that has ended at the last token counts as shorter than one that is cut there."""

    def law(hazard: float) -> np.ndarray:
        ended = hazard * (1 - hazard) ** np.arange(most)
        return np.append(ended, 1 - ended.sum())

    joint = np.outer(law(real), law(own))
    return float(np.tril(joint, -1).sum() + 0.5 * np.trace(joint))


def test_a_run_goes_on_where_it_was_stopped(truth: Predictor, null: freerun.Run, tmp_path: Path) -> None:
    corpus = own_answers(truth, 48, seed=1)
    first = audit(truth, corpus, out=tmp_path / "run", **SMALL)
    for part in sorted((first.path / "tokens").glob("free-*"))[:1]:
        part.unlink()
    again = audit(truth, corpus, out=tmp_path / "run", **SMALL)
    for kind in ("loss", "detectability", "drift"):
        assert estimates(again, kind) == estimates(null, kind)
    assert again.result["plan"] == null.result["plan"]


# ---- the template ------------------------------------------------------------------------------------------------------


def conversations(n: int = 24) -> Corpus:
    documents = [
        Document(
            f"SECRETNAME-{i}",
            f"hi there, how are you {i}",
            f"u{i}",
            before=(Message("user", f"hello SECRETWORD, is it {i}?"),),
        )
        for i in range(n)
    ]
    return assemble(documents, name="SECRETCORPUS", spec="SECRETCORPUS")


def test_what_the_template_added_is_in_the_record_and_on_the_page(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "documents": 24,
        "tokens": 24,
        "chat": True,
        "template_options": ("loud=false",),
        "system": "Be dry.",
    }
    run = audit(talking(), conversations(), out=tmp_path / "run", **options)
    manifest = RunFolder(run.path).manifest()
    assert manifest["prompts"]["template"]["before"] == "system:Be dry.<|turn|>user:"
    assert manifest["prompts"]["template"]["after"] == "<|turn|>assistant:"
    plan = read_plan(run.result["plan"])
    assert plan.prompts is not None
    assert plan.prompts.template is not None
    assert plan.prompts.template.options == (TemplateOption("loud", False),)
    assert plan.prompts.end_id == 256
    assert read_plan(json.loads(json.dumps(to_json(plan)))) == plan
    page = (run.path / "report.html").read_text()
    assert "by the model&#39;s own chat template" in page
    assert "system:Be dry.&lt;|turn|&gt;user:" in page
    assert "--chat" in run.result["command"]
    assert "--template-option loud=false" in run.result["command"]
    assert "--prefix" not in run.result["command"]
    plainly = audit(talking(), conversations(), out=tmp_path / "plain", documents=24, tokens=24)
    assert "as plain text, a blank line after each turn" in (plainly.path / "report.html").read_text()
    assert plainly.result["plan"]["prompts"]["template"] is None


def test_a_redacted_run_tells_nothing_of_prompts_and_system(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "documents": 24,
        "tokens": 24,
        "chat": True,
        "system": "SECRETSYSTEM",
        "redact_text": True,
    }
    run = audit(talking(), conversations(), out=tmp_path / "run", **options)
    for path in run.path.rglob("*"):
        if path.is_file():
            assert b"SECRET" not in path.read_bytes(), path
    feeding = ChatFeeding(talking(), system="SECRETSYSTEM")
    known = known_ids_of(feeding)
    records = load_records(RunFolder(run.path))
    words = (Message("user", "hello SECRETWORD, is it 3?"),)
    kept = [i for i in feeding.ids(words).tolist() if i not in known]
    row = next(i for i in records.chosen(arm="real") if len(records.sequences["prefix_ids"][i]) == len(kept))
    assert records.sequences["prefix_ids"][row][0] == 0  # numbered from the first token that nobody knows
    short = [Document(d.id, d.text, d.unit, before=(Message("user", d.id[-3:]),)) for d in conversations().documents]
    with pytest.raises(DataError, match="no conversation can be used"):
        audit(talking(), assemble(short, name="n", spec="s"), out=tmp_path / "short", **options)


def test_conversations_that_the_template_refuses_are_counted(tmp_path: Path) -> None:
    odd = Document("odd", "yes", "odd", before=(Message("tool", "3"), Message("user", "what is it?")))
    marked = Document("marked", "yes", "marked", before=(Message("user", "write <|turn|> please"),))
    corpus = assemble([*conversations().documents, odd, marked], name="n", spec="s")
    run = audit(talking(), corpus, out=tmp_path / "run", documents=26, tokens=16, chat=True)
    assert run.result["counts"]["conversations_left_out"] == 2
    notes = run.result["corpus_notes"]
    assert "1 conversations left out: the chat template says: no tools" in notes
    assert "1 conversations left out: a turn spells the special token <|turn|>" in notes


# ---- the plan ----------------------------------------------------------------------------------------------------------


def test_a_plan_without_prompts_has_the_hash_of_before(tmp_path: Path) -> None:
    run = audit("world/markov", "world/markov", out=tmp_path / "run", documents=20, tokens=8, prefix=4)
    plan = read_plan(run.result["plan"])
    assert plan.prompts is None
    values = to_json(plan)
    del values["prompts"]
    assert read_plan(values) == plan
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
    assert read_plan(values).hash == plan.hash == digest


def test_how_prompts_are_put_decides_the_hash() -> None:
    def plan(prompts: PromptPlan | None) -> AuditPlan:
        return read_plan(plan_json(prompts=prompts))

    plainly = PromptPlan("00", None, 2)
    by_template = [
        PromptPlan("00", TemplatePlan("ab", None, options), 2) for options in ((), (TemplateOption("n", 1),))
    ]
    plans = [plan(p) for p in (None, plainly, *by_template)]
    assert len({p.hash for p in plans}) == 4
    assert [None if p.prompts is None else p.prompts.describe() for p in plans] == [
        None,
        "as plain text, a blank line after each turn",
        "by the model's own chat template",
        "by the model's own chat template, n=1",
    ]


def test_two_ways_of_putting_prompts_are_not_compared_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, chat in (("plain", False), ("chat", True)):
        audit(talking(), conversations(), out=tmp_path / name, documents=24, tokens=16, chat=chat)
    assert main(["compare", str(tmp_path / "plain"), str(tmp_path / "chat")]) == 2
    said = capsys.readouterr()
    assert "ways to put prompts" in said.out + said.err
    assert main(["compare", str(tmp_path / "plain"), str(tmp_path / "chat"), "--anyway", "--json"]) in (0, 3)


# ---- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["builtin/instructions", "--chat"], "has no chat template: leave --chat out"),
        (["world/markov", "--chat"], "--chat renders prompts, and corpus world/markov,symbols=8,seed=0 has none"),
        (["builtin/instructions", "--system", "x"], "--system goes with --chat"),
        (["builtin/instructions", "--template-option", "a=1"], "--template-option goes with --chat"),
        (["builtin/instructions", "--chat", "--template-option", "a"], "give NAME=VALUE"),
        (
            ["builtin/instructions", "--chat", "--template-option", "a=[1]"],
            "give true, false, null, a number or a word",
        ),
        (["builtin/instructions", "--chat", "--ask", "4"], "--ask 4 asks in plain text"),
        (["builtin/instructions", "--prefix", "16"], "--prefix has no place where documents are prompts"),
        (["builtin/instructions", "--exemplars", "1"], "--exemplars has no place"),
        (["builtin/instructions", "--sources", "genre"], "--sources has no place"),
        (["builtin/instructions", "--sweep", "prefix=8,16"], "--sweep varies what stands before the cut"),
        (["world/markov", "--prompt-field", "q"], "--prompt-field q names a field of rows"),
    ],
)
def test_one_line_and_a_way_out(
    words: Sequence[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "world/markov", *words, "-o", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert said in err[-1]
    assert not (tmp_path / "run").exists()


def test_a_forecast_reads_prompts_of_all_lengths(truth: Predictor, tmp_path: Path) -> None:
    forecast = dry_run(
        truth, own_answers(truth, 24, seed=2), AuditOptions(documents=24, tokens=16), out=tmp_path / "run"
    )
    assert forecast.documents == 24
    assert forecast.tokens_to_sample == 24 * 16 * 3
    assert not (tmp_path / "run").exists()


def test_chosen_ends_must_hold_what_closes_a_turn(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="closes a response with id 256"):
        audit(talking(ends=False), conversations(), out=tmp_path / "run", documents=24, tokens=16, chat=True)


def test_of_several_ends_the_one_that_the_model_writes_closes_plain_responses(tmp_path: Path) -> None:
    """Id 1 is declared first, and the model never writes it: closing real text with it would give every real text away."""
    predictor = talking()
    predictor.end_ids = (1, 256)
    run = audit(predictor, conversations(), out=tmp_path / "run", documents=24, tokens=40)
    manifest = RunFolder(run.path).manifest()
    assert (run.result["plan"]["prompts"]["end_id"], run.result["plan"]["end_ids"]) == (256, [1, 256])
    assert 0.5 < manifest["prompts"]["end_share"] <= 1
    records = load_records(RunFolder(run.path))
    ended = [i for i in records.chosen(arm="real") if records.sequences["end_reason"][i] == "end_of_text"]
    assert ended
    assert {int(records.tokens["token_id"][records.rows(int(i))][-1]) for i in ended} == {256}


def test_panels_of_own_lengths_leave_nobody_out(null: freerun.Run) -> None:
    evidence = Evidence(load_records(RunFolder(null.path)))
    assert evidence.own_lengths
    panel = evidence.panel
    assert (panel.n_pairs, panel.n_dropped, panel.length) == (48, 0, 32)
    lengths = np.diff(evidence.records.starts)
    taken = panel.take(evidence.records.tokens["log_prob_nats"], panel.real, padding=7.0)
    for row, i in zip(taken, panel.real, strict=True):
        n = lengths[i]
        assert row[:n].tolist() == evidence.records.tokens["log_prob_nats"][evidence.records.rows(int(i))].tolist()
        assert (row[n:] == 7.0).all()
