"""`freerun verify` from a file to a verdict, on an exact world; every way in which files mislead has a test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

from freerun.commands.main import main
from freerun.errors import DataError, TooFewDocuments, UsageError
from freerun.jobs.audit.audit import audit
from freerun.jobs.verify.own_run import verify_run
from freerun.jobs.verify.verify import verify
from freerun.predictors.base import Continuations
from freerun.predictors.rules import SamplingRule
from freerun.report.pages.verify import render_verify
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.results.verify import VerifyResult
from freerun.specs.spec import load_predictor

WORLD = "world/authors"
N, TOKENS = 60, 48
MODEL = load_predictor(WORLD)
Row = dict[str, Any]


def drawn(
    rule: str = "t=1", *, n: int = N, seed: int = 3, tokens: int = TOKENS, begin: Sequence[int] = ()
) -> list[Row]:
    """Rows as an engine would write them, with the log-probabilities of the model's own law; prompts begin with `begin`."""
    rng = np.random.default_rng(0)
    prompts = [np.append(np.array(begin, np.int64), rng.integers(0, MODEL.n_tokens - 1, 6)) for _ in range(n)]
    wanted = Continuations(prompts, np.arange(n)[:, None], tokens, seed=seed, sampling=SamplingRule.declared(rule))
    rows = []
    for sample in sorted(MODEL.generate(wanted), key=lambda s: s.row):
        seen = sample.observation
        rows.append(
            {
                "prompt_ids": prompts[sample.row].tolist(),
                "completion_ids": seen.token_id.tolist(),
                "logprobs": seen.log_prob_nats.tolist(),
                "finish_reason": "stop" if sample.end_reason == "end_of_text" else "length",
            }
        )
    return rows


def written(folder: Path, rows: list[Row]) -> Path:
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def verified(folder: Path, rows: list[Row], **options: Any) -> VerifyResult:
    return verify(written(folder, rows), MODEL, out=folder / "out", **options)


def estimate(result: VerifyResult, finding: str, name: str) -> float | None:
    found = next(f for f in result.findings if f.name == finding)
    return next(e.value for e in found.estimates if e.name == name)


def test_its_own_draws_agree_and_the_result_is_a_value(tmp_path: Path) -> None:
    result = verified(tmp_path, drawn())
    assert result.verdict.match == "agrees"
    assert result.cause.kind == "none_needed"
    assert estimate(result, "rollout_against_trainer", "outside_band") == 0.0
    assert result.samples.n_completions == N
    held = to_json(result)
    assert from_json(VerifyResult, json.loads(json.dumps(held, allow_nan=False))) == from_json(VerifyResult, held)
    page = render_verify(held)
    assert str(escape(result.verdict.sentence)) in page
    assert (tmp_path / "out" / "report.html").read_text() == page


@pytest.mark.parametrize(("rule", "words"), [("t=0.7", "temperature 0.7"), ("min_p=0.2", "temperature 1, min-p 0.2")])
def test_another_rule_is_seen(tmp_path: Path, rule: str, words: str) -> None:
    result = verified(tmp_path, drawn(rule))
    assert result.verdict.match == "differs"
    assert result.cause.kind == "rule"
    assert result.cause.candidate is not None
    assert result.cause.candidate.words == words
    again = verify(tmp_path / "samples.jsonl", MODEL, out=tmp_path / "declared", declared=rule)
    assert again.verdict.match == "agrees"


def test_the_same_command_goes_on_from_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = drawn()
    first = verified(tmp_path, rows)
    (tmp_path / "out" / "scores" / "unit-000001.parquet").unlink()
    passes = []
    laws = type(MODEL).laws
    monkeypatch.setattr(
        type(MODEL), "laws", lambda self, texts, **k: passes.append(len(texts)) or laws(self, texts, **k)
    )
    second = verified(tmp_path, rows)
    assert sum(passes) == N - 32
    assert to_json(second.findings) == to_json(first.findings)


def test_another_plan_is_refused(tmp_path: Path) -> None:
    rows = drawn(n=8)
    verified(tmp_path, rows)
    with pytest.raises(DataError, match="another file, model or rule"):
        verified(tmp_path, rows, declared="t=0.9")


# ---- what misleads -----------------------------------------------------------------------------------------------------


def test_tokens_that_were_not_drawn_leave_the_test_by_their_mask(tmp_path: Path) -> None:
    """A tool writes eight tokens into every completion: masked they change nothing, unmasked they are seen."""
    rows = drawn(tokens=24)
    tool = [int(np.argmin(MODEL.law(MODEL.start([np.zeros(1, np.int64)])).probs()))] * 8
    masked = []
    for row in rows:
        begun = row["prompt_ids"] + row["completion_ids"]
        more = MODEL.generate(Continuations([np.array(begun + tool)], np.array([[len(masked) + 7_000]]), 24, seed=1))
        after = next(iter(more)).observation
        masked.append(
            {
                "prompt_ids": row["prompt_ids"],
                "completion_ids": row["completion_ids"] + tool + after.token_id.tolist(),
                "drawn": [1] * len(row["completion_ids"]) + [0] * 8 + [1] * len(after.token_id),
            }
        )
    assert verified(tmp_path, masked).verdict.match == "agrees"
    bare = [{k: v for k, v in row.items() if k != "drawn"} for row in masked]
    other = tmp_path / "bare"
    other.mkdir()
    assert verified(other, bare).verdict.match == "differs"


def test_one_seed_for_all_is_not_judged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, MODEL.n_tokens - 1, 6) for _ in range(30)]
    one_key = np.zeros((30, 1), np.int64)
    rows = [
        {"prompt_ids": prompts[s.row].tolist(), "completion_ids": s.observation.token_id.tolist()}
        for s in MODEL.generate(Continuations(prompts, one_key, TOKENS, seed=3))
    ]
    result = verified(tmp_path, rows)
    assert result.verdict.match == "not_judged"
    assert "one and the same seed" in result.verdict.sentence


def test_copies_of_one_draw_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = drawn(n=30)
    result = verified(tmp_path, [*rows, *rows[:5]])
    assert result.samples.n_copies == 5
    assert result.verdict.match == "agrees"


def test_a_beginning_that_was_put_there_is_named(tmp_path: Path) -> None:
    rows = drawn(n=40, tokens=40)
    rare = int(np.argmin(MODEL.law(MODEL.start([np.zeros(1, np.int64)])).probs()))
    prefilled = []
    for i, row in enumerate(rows):
        begun = [*row["prompt_ids"], rare, rare]
        after = next(iter(MODEL.generate(Continuations([np.array(begun)], np.array([[i + 900]]), 40, seed=2))))
        prefilled.append(
            {"prompt_ids": row["prompt_ids"], "completion_ids": [rare, rare, *after.observation.token_id.tolist()]}
        )
    result = verified(tmp_path, prefilled)
    assert (result.cause.kind, result.cause.beginning_tokens) == ("beginning_not_drawn", 2)


ENDING = load_predictor(f"{WORLD}+end,hazard=0.04")


def ended(tokens: int, *, n: int) -> list[Row]:
    """Rows of a model whose texts end."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, MODEL.n_tokens - 1, 6) for _ in range(n)]
    rows = []
    for sample in ENDING.generate(Continuations(prompts, np.arange(n)[:, None], tokens, seed=6)):
        finish = "stop" if sample.end_reason == "end_of_text" else "length"
        ids = sample.observation.token_id.tolist()
        rows.append({"prompt_ids": prompts[sample.row].tolist(), "completion_ids": ids, "finish_reason": finish})
    return rows


def test_end_tokens_that_are_missing_from_the_file(tmp_path: Path) -> None:
    """Stripped ends are found, and the law without them fits; held against the law with ends the same file is rejected."""
    rows = ended(60, n=120)
    whole = verify(written(tmp_path, rows), ENDING, out=tmp_path / "whole")
    assert (whole.verdict.match, whole.samples.ends) == ("agrees", "present")
    for row in rows:
        row["completion_ids"] = [i for i in row["completion_ids"] if i not in ENDING.end_ids]
    stripped = [row for row in rows if row["completion_ids"]]
    found = verify(written(tmp_path, stripped), ENDING, out=tmp_path / "auto")
    assert (found.verdict.match, found.samples.ends) == ("agrees", "missing")
    wrong = verify(written(tmp_path, stripped), ENDING, out=tmp_path / "wrong", ends="present")
    assert wrong.verdict.match == "differs"


def test_an_end_token_that_was_not_drawn_is_no_end(tmp_path: Path) -> None:
    """A template that puts the end token there and masks it: ends are missing, and nothing is said of how often texts end."""
    rows = ended(60, n=120)
    for row in rows:
        row["drawn"] = [int(i not in ENDING.end_ids) for i in row["completion_ids"]]
    rows = [row for row in rows if any(row["drawn"])]
    found = verify(written(tmp_path, rows), ENDING, out=tmp_path / "out")
    assert (found.verdict.match, found.samples.ends) == ("agrees", "missing")


def test_tokens_that_were_not_drawn_need_no_spelling(tmp_path: Path) -> None:
    """Stand-ins for them may lie beyond the vocabulary."""
    world = load_predictor("world/markov")
    prompts = [np.array([i % 3], np.int64) for i in range(40)]
    rows = [
        {
            "prompt_ids": prompts[s.row].tolist(),
            "completion_ids": s.observation.token_id.tolist(),
            "drawn": [int(i % 5 > 0) for i in range(len(s.observation.token_id))],
        }
        for s in world.generate(Continuations(prompts, np.arange(40)[:, None], 30, seed=2))
    ]
    assert verify(written(tmp_path, rows), world, out=tmp_path / "out").verdict.match == "agrees"


@pytest.mark.parametrize(
    ("order", "rule"),
    [("sglang", "repetition_penalty=1.2"), ("llama.cpp", "presence_penalty=1"), ("llama.cpp", "frequency_penalty=1")],
)
def test_penalties_that_an_engine_counts_otherwise_are_refused(tmp_path: Path, order: str, rule: str) -> None:
    with pytest.raises(UsageError, match="counts"):
        verify(written(tmp_path, drawn(n=4)), MODEL, out=tmp_path / "out", declared=rule, order=order)


def test_a_file_of_finished_texts_alone_is_told_from_a_wrong_law(tmp_path: Path) -> None:
    finished = [row for row in ended(14, n=300) if row["finish_reason"] == "stop"]
    result = verify(written(tmp_path, finished), ENDING, out=tmp_path / "out")
    assert result.verdict.match == "differs"
    assert result.cause.kind == "ends_chosen"


# ---- bad input ---------------------------------------------------------------------------------------------------------


def test_rows_that_cannot_be_used_are_counted_by_name(tmp_path: Path) -> None:
    rows = drawn(n=12)
    bad: list[Row] = [
        {**rows[0], "completion_ids": [MODEL.n_tokens + 5], "logprobs": [-1.0]},
        {**rows[0], "completion_ids": [], "logprobs": []},
        {**rows[0], "logprobs": rows[0]["logprobs"][:-1]},
        {**rows[0], "logprobs": [0.5, *rows[0]["logprobs"][1:]]},
        {k: v for k, v in rows[0].items() if k != "prompt_ids"},
    ]
    result = verified(tmp_path, [*rows, *bad])
    assert result.samples.n_completions == 12
    assert {e.reason for e in result.samples.excluded} == {
        "id beyond the vocabulary",
        "empty completion",
        "lengths that differ",
        "log-probability above 0",
        "no prompt",
    }


def test_missing_log_probs_are_no_numbers(tmp_path: Path) -> None:
    rows = drawn(n=12)
    rows[0]["logprobs"][3] = None
    rows[1]["logprobs"][:4] = [0.0] * 4
    result = verified(tmp_path, rows)
    rollout = next(f for f in result.findings if f.name == "rollout_against_trainer")
    assert any("exactly 0" in note for note in rollout.notes)
    assert estimate(result, "rollout_against_trainer", "mean_abs_gap_nats") < 1e-6  # type: ignore[operator]


def test_what_cannot_be_verified_is_refused_in_one_line(tmp_path: Path) -> None:
    row = drawn(n=1)[0]
    nothing = written(tmp_path, [{**row, "drawn": [0] * len(row["completion_ids"])}])
    with pytest.raises((DataError, TooFewDocuments)):
        verify(nothing, MODEL, out=tmp_path / "out")
    with pytest.raises(UsageError, match="leaves nothing to chance"):
        verify(nothing, MODEL, declared="greedy")


# ---- the verb ----------------------------------------------------------------------------------------------------------


def test_gates_and_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = drawn("t=0.7", n=72)
    rng = np.random.default_rng(5)
    for row in rows:  # as two engines differ
        row["logprobs"] = [min(0.0, x + 1e-4 * rng.normal()) for x in row["logprobs"]]
    path, out = str(written(tmp_path, rows)), str(tmp_path / "out")
    words = ["verify", path, "--model", WORLD, "-o", out]
    assert main(words) == 0  # a verdict without a gate fails nothing
    assert "are not draws from the model's law" in " ".join(capsys.readouterr().out.split())
    assert main([*words, "--json", "--fail-on", "outside_band>0.1", "--fail-on", "logprob_gap>0.1"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert (held["kind"], held["gates_decision"]) == ("verify", "pass")
    assert main([*words, "--fail-on", "logprob_gap<0.1"]) == 1
    capsys.readouterr()
    assert main([*words, "--fail-on", "ess<0.9", "--fail-on", "kl_nats>0.1"]) == 0
    assert main([*words, "--fail-on", "ess<=1"]) == 1
    shown = capsys.readouterr().out
    assert "Effective sample size by token is" in shown
    assert main([*words, "--fail-on", "horizon<9"]) == 2
    assert "names: logprob_gap, outside_band, ess, kl_nats" in capsys.readouterr().err
    assert main(["verify", path]) == 2


def test_the_samples_of_a_run_are_held_against_its_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = audit(WORLD, WORLD, out=tmp_path / "run", documents=24, prefix=4, tokens=16)
    assert main(["verify", str(run.path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["kind"], result["verdict"]["match"]) == ("verify", "agrees")
    part = next((run.path / "tokens").glob("free-*.parquet"))
    part.write_bytes(part.read_bytes()[:-64])
    assert main(["verify", str(run.path)]) == 4
    assert part.name in capsys.readouterr().err


def test_text_of_another_rule_is_not_held_against_the_law_at_temperature_1(tmp_path: Path) -> None:
    """The rule was declared, so that a run in good order is no fault; its records hold no law to judge its draws by."""
    run = audit(WORLD, WORLD, out=tmp_path / "run", documents=24, prefix=4, tokens=16, sample_with="t=0.3")
    result = verify_run(run.path)
    assert (result.verdict.match, result.verdict.status, result.cause.kind) == ("not_judged", "unknown", "not_searched")
    assert "were sampled with temperature 0.3, as declared" in result.verdict.sentence
    assert "A fresh pass gives them the same laws" in result.verdict.sentence
    assert result.verdict.next_step.type == "--sample-with"


def test_copies_are_said_and_the_command_makes_it_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = drawn(n=20)
    path = written(tmp_path, rows + rows)
    words = ["verify", str(path), "--model", WORLD, "-o", str(tmp_path / "out"), "--device", "cpu"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "of 20 completions" in shown
    assert "left out: 20 completions equal to another of the same prompt" in shown
    assert "--device cpu" in json.loads((tmp_path / "out" / "result.json").read_text())["command"]
