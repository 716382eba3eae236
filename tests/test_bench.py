"""The bench's arithmetic, its tables and its way to talk to contestants; no model runs here."""

from __future__ import annotations

import doctest
import importlib
import json
import math
import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from freerun.predictors.law import Dense
from freerun.predictors.observation import POWERS

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "bench"


@pytest.fixture(autouse=True)
def _bench_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH / "peers"))
    monkeypatch.syspath_prepend(str(BENCH))


def bench(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize(
    "name", ["table", "steps", "explore", "peers.contestants", "peers.setup", "peers.machine", "peers.processes"]
)
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(bench(name)).failed == 0


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def test_a_ratio_is_taken_within_a_repeat() -> None:
    """A machine that slows down by half between repeats leaves the ratio as it was; the ratio of medians is another number."""
    mine, theirs = {0: 100.0, 1: 50.0, 2: 25.0}, {0: 50.0, 1: 25.0, 2: 12.5}
    assert bench("table").ratios(mine, theirs) == {"median": 2.0, "min": 2.0, "max": 2.0, "n": 3}
    assert bench("table").ratios(mine, {1: 100.0}) == {"median": 0.5, "min": 0.5, "max": 0.5, "n": 1}
    assert bench("table").ratios(mine, {}) is None


def test_slopes_of_known_powers() -> None:
    """y = 3·x^1.5 exactly; with noise the range holds the truth and the fit lies in the range."""
    slope = bench("table").slope
    exact = {n: [3 * n**1.5] for n in (4.0, 16.0, 256.0)}
    assert slope(exact) == {"exponent": 1.5, "min": 1.5, "max": 1.5, "n": 3}
    noisy = {n: [0.95 * n, n, 1.05 * n] for n in (10.0, 100.0)}
    found = slope(noisy)
    x, y = np.log([10, 100]), np.log([10, 100])
    assert found["exponent"] == pytest.approx(np.polyfit(x, y, 1)[0], abs=1e-9)
    assert found["min"] == pytest.approx(1 + math.log10(0.95 / 1.05), abs=6e-3)  # rounded to three digits
    assert found["max"] == pytest.approx(1 + math.log10(1.05 / 0.95), abs=6e-3)
    with pytest.raises(ValueError, match="two sizes"):
        slope({1.0: [1.0]})


def test_what_is_missed_says_by_how_much() -> None:
    table = bench("table")
    short = table.reach("speed", table.spread([1.2, 1.1, 1.3]), ">=", 1.3, "×")
    assert (short["met"], short["missed_by"]) == (False, 0.1)
    long = table.reach("time", table.spread([7.5]), "<=", 6.0, " s")
    assert (long["met"], long["missed_by"]) == (False, 1.5)
    none = table.reach("bf16", None, ">=", 2.2)
    assert none["met"] is None
    text = table.reach_table([short, long, none])
    assert "missed by 0.1×" in text
    assert "missed by 1.5 s" in text
    assert "not measured here" in text


def test_turns_alternate_and_nobody_always_comes_first() -> None:
    turn = bench("peers.contestants").turn
    orders = [turn(4, r) for r in range(8)]
    assert all(sorted(o) == [0, 1, 2, 3] for o in orders)
    assert [o[::-1] for o in orders[::2]] == orders[1::2]
    assert {o[0] for o in orders} == {0, 1, 2, 3}


# ---- sections and the page -------------------------------------------------------------------------------------------


def run(seconds: float, **more: Any) -> dict[str, Any]:
    common = {"tokens": 1000, "peak_mib": 900.0, "rss_before_mib": 600.0, "foreign_cores": 0.0, "prompts": "a"}
    return {"seconds": seconds, "new_tokens": [10], "ids": [[1] * 10] * 100, **common, **more}


@pytest.fixture
def data() -> dict[str, Any]:
    """A run with two repeats, in which the second took twice as long for everybody; vLLM could not run."""
    engine, contestants = bench("engine"), bench("peers.contestants")
    runs: dict[str, dict[int, Any]] = {e.name: {} for e in contestants.SAMPLING}
    for name, seconds in (("freerun", 2.0), (contestants.SAMPLING[1].name, 4.0), (contestants.SAMPLING[2].name, 2.2)):
        runs[name] = {0: run(seconds), 1: run(2 * seconds)}
    # 500 tokens/s then 250; a limit of 1,000 then 500
    gemm = {"best_gflops_per_s": 200.0, "plain_gflops_per_s": 100.0, "rows": 64, "shapes": []}
    made = {
        "runs": runs,
        "cannot_run": {"vLLM float32, sampled log-prob only": "ImportError: no such instruction"},
        "facts": {"gemm": {"parameters": 100_000_000, "head parameters": 20_000_000}},
        "rates": {64: {0: gemm, 1: gemm | {"best_gflops_per_s": 100.0}}},
        "matrix_rows": None,
    }
    words = {"prompts": [[0] * 11], "new": 10}
    return engine.finished(
        {
            "command": "python bench/engine.py",
            "created": "2026-01-01T00:00:00Z",
            "quick": False,
            "machine": bench("peers.machine").describe(),
            "workload": {"threads": 2, "sequences": 64, "prefix": 32, "new": 256, "repeats": 2},
            "sampling": engine.summary(contestants.SAMPLING, made),
            "gemm": engine.limits(made, {"rates": {}, "facts": {}, "runs": {}}, words),
            "memory": [{"model": "m", "rows": 8, "length": 2048, "rss_mib": 900.0, "over_mib": 600.0}],
        }
    )


def test_ratios_and_shares_of_a_run(data: dict[str, Any]) -> None:
    """By hand: 2.0× and 1.1× in both repeats; half of the limit; with 10 prefix tokens of 80% each, 1.8 times that."""
    contestants = bench("peers.contestants")
    found = data["sampling"]["ratios"]
    assert found[contestants.SAMPLING[1].name]["median"] == 2.0
    assert found[contestants.SAMPLING[2].name]["median"] == 1.1
    line = data["gemm"]["rates"][0]
    assert line["limit_tokens_per_s"] == {"median": 750.0, "min": 500.0, "max": 1000.0, "n": 2}
    assert line["share"]["median"] == 0.5
    assert line["share_with_prefix"]["median"] == pytest.approx(0.9)
    met = {line["what"]: line["met"] for line in data["reaches"]}
    assert met["sampling: over transformers `generate` with the same statistics"] is True
    assert met["sampling: over CTranslate2 float32"] is False
    assert met["scoring: over lm-eval's rolling log-likelihood"] is None
    assert met["scoring: peak over weights (no cache is taken off), any length and both vocabularies"] is False


def test_the_page_states_figures_reasons_and_noise(data: dict[str, Any]) -> None:
    table = bench("table")
    json.dumps(data, allow_nan=False)
    text = table.engine_tables(data)
    assert "| transformers generate + statistics | 188 (125–250) | 2 (2–2) | 300 |" in text
    assert "vLLM float32, sampled log-prob only: not run: ImportError: no such instruction" in text
    assert "missed by 0.2×" in text
    assert "**Noisy:**" not in text
    for runs in data["sampling"]["contestants"].values():
        runs["foreign_cores"] = [0.0, 0.7]
    assert "used up to 0.70 cores" in table.engine_tables(bench("engine").finished(data))
    page = "prose\n<!-- engine:begin -->\nold\n<!-- engine:end -->\nmore"
    done = table.put(page, "engine", text)
    assert done.startswith("prose\n")
    assert done.endswith("\nmore")
    assert "old" not in done
    assert table.put(done, "engine", text) == done
    with pytest.raises(ValueError, match="once each"):
        table.put("no marks", "engine", text)


def test_header_scoring_beside_plain_scoring() -> None:
    """By hand: 4 s against 2 s, then 9 s against 6 s: 1.75 times as long in the median of the ratios, which is more than 1.3."""
    source, table = bench("source"), bench("table")
    found = source.summary({"after headers": {0: 4.0, 1: 9.0}, "plain": {0: 2.0, 1: 6.0}}, 36)
    assert found["ratio"] == {"median": 1.75, "min": 1.5, "max": 2.0, "n": 2}
    assert [line["met"] for line in found["reaches"]] == [True, False]
    assert found["contestants"]["plain"]["tokens_per_s"] == {"median": 12.0, "min": 6.0, "max": 18.0, "n": 2}
    work = {"model": "m", "sources": "s", "rows": 3, "tokens": 12, "header_tokens": 5, "repeats": 2}
    more = {"command": "c", "created": "2026-01-01", "machine": {"processor": "p", "cores": 2}, "quick": True}
    text = table.source_tables({**more, "workload": work, **found})
    assert "missed by 0.45×" in text
    assert "| plain | 3 × 12 | 4 (2–6) | 12 (6–18) |" in text
    assert "A quick run" in text


def test_time_goes_to_the_part_that_called() -> None:
    """By hand, of 100 µs: 40 in a product, 20 in attention with the product that it makes, 10 in a norm, 30 unaccounted for."""
    steps = bench("steps")

    def event(name: str, micros: float, caller: Any = None) -> Any:
        return SimpleNamespace(name=name, self_cpu_time_total=micros, cpu_parent=caller)

    attention = event(steps.ATTENTION, 5)
    events = [
        attention,
        event("aten::bmm", 15, event("aten::matmul", 0, attention)),
        event("mkldnn::_linear_pointwise", 40),
        event("aten::mul", 10),
    ]
    found = steps.shares(events, 100e-6)
    assert found == {
        steps.PRODUCTS: 0.4,
        steps.ATTENTION: 0.2,
        steps.CACHE: 0.0,
        steps.REST: 0.1,
        steps.STATISTICS: 0.0,
        steps.OUTSIDE: 0.3,
    }


def test_samples_of_another_length_do_not_count() -> None:
    engine, contestants = bench("engine"), bench("peers.contestants")
    entry = contestants.SAMPLING[1]
    setting = contestants.Setting("", "", 2, 4, {})
    facts = {"threads": 2, "dtype": "float32"}
    engine._check_facts(entry, facts, setting)
    for wrong, said in (({"threads": 1}, "1 threads, not 2"), ({"dtype": "bfloat16"}, "bfloat16, not float32")):
        with pytest.raises(contestants.ContestantError, match=said):
            engine._check_facts(entry, facts | wrong, setting)
    scores = {"a": 3.0, "b": 3.0005, "c": 3.01}
    entries = [contestants.Entry(name, "x.py", "score") for name in scores]
    made = {
        "facts": {},
        "runs": {n: {0: {"nats_per_token": v, "tokens": 4, "texts": "same"}} for n, v in scores.items()},
    }
    engine.check_scoring(made, entries[:2], {"texts": [[1, 2, 3, 4]]})
    with pytest.raises(AssertionError, match=r"c has 3\.01000 nats/token"):
        engine.check_scoring(made, entries, {"texts": [[1, 2, 3, 4]]})
    with pytest.raises(AssertionError, match="scored 4 tokens, not 3"):
        engine.check_scoring(made, entries, {"texts": [[1, 2, 3]]})


@pytest.mark.parametrize("name", ["engine", "steps", "cost", "source", "findings"])
def test_committed_tables_are_the_committed_figures(name: str) -> None:
    """If it fails: python bench/table.py."""
    table = bench("table")
    page = table.PAGE.read_text()
    if not table.SOURCES[name].exists():
        assert f"<!-- {name}:begin -->\n\n<!-- {name}:end -->" in page
        return
    assert table.put(page, name, table.WRITERS[name](json.loads(table.SOURCES[name].read_text()))) == page


# ---- contestants -----------------------------------------------------------------------------------------------------


def fake(folder: Path) -> Any:
    """A contestant that chatters on stdout, answers, refuses or dies as it is told."""
    script = folder / "run_fake.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, sys
            sys.path.insert(0, {str(BENCH / "peers")!r})
            from worker import serve
            print("chatter before")
            def double(request):
                print("chatter in between")
                return {{"double": 2 * request["n"]}}
            def refuse(request):
                raise ValueError("not on this machine: /home/somebody/lib/thing.so")
            def die(request):
                print("last words", file=sys.stderr, flush=True)
                os._exit(3)
            def load(request):
                return {{"threads": request["threads"]}}, {{"double": double, "refuse": refuse, "die": die}}
            serve(load)
            """
        )
    )
    return bench("peers.contestants").Entry("fake", str(script), "double")


def test_a_worker_answers_refuses_and_dies(tmp_path: Path) -> None:
    contestants = bench("peers.contestants")
    worker = contestants.Worker(fake(tmp_path), contestants.Setting("", "", 2, 4, {}))
    try:
        assert worker.facts == {"threads": 2}
        assert worker.ask("double", n=21)["double"] == 42
        with pytest.raises(contestants.ContestantError, match=r"^ValueError: not on this machine: …/thing.so"):
            worker.ask("refuse")
        assert worker.ask("double", n=4)["double"] == 8
        with pytest.raises(contestants.ContestantError, match="ended with 3: last words"):
            worker.ask("die")
    finally:
        worker.close()


def test_a_missing_environment_is_a_reason_not_an_error(tmp_path: Path) -> None:
    contestants = bench("peers.contestants")
    entry = contestants.Entry("peer", "run_lm_eval.py", "score", "peers")
    nowhere = contestants.Setting("", "", 2, 4, {"peers": tmp_path / ".venv-peers" / "bin" / "python"})
    with contestants.workers([entry], nowhere, lambda _: None) as (ready, refused):
        assert ready == {}
        assert refused == {"peer": "no environment at .venv-peers: python bench/peers/setup.py"}


def test_statistics_written_by_hand_are_those_of_the_records() -> None:
    """The peer's float32 statistics against Law.observe in float64, on 32 random laws of 5,000 tokens."""
    torch = pytest.importorskip("torch")
    by_hand = bench("law_statistics")
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (32, 5000)).astype(np.float32)
    ids = rng.integers(0, 5000, 32)
    seen = Dense(torch.from_numpy(logits)).observe(ids)
    found = {k: v.numpy() for k, v in by_hand.law_statistics(torch.from_numpy(logits), torch.from_numpy(ids)).items()}
    assert by_hand.POWERS == POWERS
    for name, tolerance in (
        ("log_prob_nats", 1e-5),
        ("entropy_nats", 1e-4),
        ("varentropy_nats2", 1e-3),
        ("rank", 0),
        ("top_id", 0),
        ("top_log_prob_nats", 1e-5),
        ("cdf_below", 1e-5),
        ("log_power_sum", 1e-4),
        ("observed_bin", 0),
        ("expected_counts", 1e-3),
    ):
        np.testing.assert_allclose(found[name], getattr(seen, name), rtol=tolerance, atol=tolerance, err_msg=name)


def test_peers_are_pinned() -> None:
    setup = bench("peers.setup")
    for name in ("requirements.txt", "requirements-vllm.txt"):
        lines = setup.pinned(BENCH / "peers" / name)
        assert lines[0].startswith("torch==")
        assert all("==" in line for line in lines)
