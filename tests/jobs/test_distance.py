"""`freerun distance` on exact worlds, end to end: what it says is what enumeration says, however it is run."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

import freerun
from freerun.commands.main import main
from freerun.errors import DataError, FreerunError, UsageError
from freerun.exports.model_card import distance_sentence
from freerun.exports.trackers import tracked_numbers
from freerun.jobs.distance.distance import report_distance
from freerun.jobs.distance.fitting import Description, check_fit
from freerun.jobs.distance.measuring import SPOOL, measure, units_of
from freerun.jobs.distance.options import DistanceKeywords, DistanceOptions
from freerun.jobs.distance.preparing import prepare
from freerun.predictors.markers import Markers
from freerun.predictors.rules import Identity
from freerun.records.distance import TWO_LAWS, Texts, read_distance
from freerun.records.store import RunFolder
from freerun.runs.run import Run
from freerun.specs.spec import load_predictor
from freerun.worlds.markov import MarkovWorld

A = "world/markov,symbols=4"
B = f"{A}+temperature,t=1.6"
ABSORBING = f"{A}+absorbing,epsilon=0.05"
TOKENS, DOCUMENTS = 5, 120
SMALL: dict[str, Any] = {"documents": DOCUMENTS, "prefix": 3, "tokens": TOKENS, "batch": 50}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return freerun.distance(A, B, A, out=tmp_path_factory.mktemp("exact") / "run", **SMALL)


def texts_of(run: Run) -> dict[str, Texts]:
    return dict(read_distance(RunFolder(run.path)).texts)


def chains() -> tuple[np.ndarray, np.ndarray]:
    """Transitions of A and of B."""
    world = load_predictor(A)
    assert isinstance(world, MarkovWorld)
    p = world.transitions
    q = p ** (1 / 1.6)
    return p, q / q.sum(1, keepdims=True)


def enumerated(start: int) -> tuple[np.ndarray, np.ndarray]:
    """ln P and ln Q of every text of `TOKENS` tokens after a symbol."""
    p, q = chains()
    out = []
    for text in itertools.product(range(4), repeat=TOKENS):
        steps = list(itertools.pairwise((start, *text)))
        with np.errstate(divide="ignore"):
            out.append([sum(np.log(table[a, b]) for a, b in steps) for table in (p, q)])
    log_p, log_q = np.array(out).T
    return log_p, log_q


def estimates(run: Run) -> dict[str, Any]:
    return {e["name"]: e for f in run.result["findings"] for e in f["estimates"]}


# ---- against the truth -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ["real", "a", "b"])
def test_every_token_has_the_closed_form(made: Run, arm: str) -> None:
    p, q = chains()
    texts = texts_of(made)[arm]
    assert texts.n == DOCUMENTS
    for i in range(0, texts.n, 7):
        ids = texts.ids(i)
        before, after = ids[2:-1], ids[3:]
        laws = texts.laws
        np.testing.assert_allclose(laws.log_p[i], np.log(p[before, after]), atol=1e-10)
        np.testing.assert_allclose(laws.log_q[i], np.log(q[before, after]), atol=1e-10)
        np.testing.assert_allclose(laws.kl_pq[i], (p * np.log(p / q)).sum(1)[before], atol=1e-10)
        np.testing.assert_allclose(laws.kl_qp[i], (q * np.log(q / p)).sum(1)[before], atol=1e-10)
        np.testing.assert_allclose(laws.tv[i], 0.5 * np.abs(p - q).sum(1)[before], atol=1e-10)


def test_k_total_variation_and_auc_hold_what_enumeration_gives(made: Run) -> None:
    """Averages over the prefixes of this run: the truth is known exactly, the interval must hold it."""
    starts = np.array([ids[-1] for ids in texts_of(made)["a"].prefix_ids or ()])
    by_start = {int(s): enumerated(int(s)) for s in np.unique(starts)}
    k, k_reverse, tv = (
        np.mean([f(*by_start[int(s)]) for s in starts])
        for f in (
            lambda u, v: (np.exp(u) * (u - v)).sum(),
            lambda u, v: (np.exp(v) * (v - u)).sum(),
            lambda u, v: 0.5 * np.abs(np.exp(u) - np.exp(v)).sum(),
        )
    )
    said = estimates(made)
    for name, truth in (("k_nats", k), ("k_reverse_nats", k_reverse), ("tv", tv), ("best_auc", _auc(by_start, starts))):
        e = said[name]
        assert e["low"] <= truth <= e["high"], (name, e["low"], truth, e["high"])
        assert e["high"] - e["low"] < 0.5, "an interval that says something"
    certificate = made.result["certificate"]
    assert certificate["tv"] >= tv
    assert certificate["sides_agree"]
    assert f"up to {TOKENS} tokens" in certificate["sentence"]


def _auc(by_start: dict[int, tuple[np.ndarray, np.ndarray]], starts: np.ndarray) -> float:
    """P(L(X) > L(Y)) + ½ P(=), X of A and Y of B after prefixes chosen independently."""
    share = {s: float(np.mean(starts == s)) for s in by_start}
    scores = np.concatenate([u - v for u, v in by_start.values()])
    p = np.concatenate([share[s] * np.exp(u) for s, (u, _) in by_start.items()])
    q = np.concatenate([share[s] * np.exp(v) for s, (_, v) in by_start.items()])
    order = np.argsort(scores)
    scores, p, q = np.round(scores[order], 9), p[order], q[order]
    edges = np.flatnonzero(np.diff(scores, prepend=-np.inf))
    p, q = np.add.reduceat(p, edges), np.add.reduceat(q, edges)
    return float((p * (np.cumsum(q) - 0.5 * q)).sum())


def test_an_absorbing_token_is_exact_and_its_reverse_is_infinite(tmp_path: Path) -> None:
    """KL(A‖B) = −ln(1 − ε) at every token; K = T times that; B's own texts go where A cannot follow."""
    run = freerun.distance(A, ABSORBING, A, out=tmp_path / "run", documents=40, prefix=3, tokens=8)
    said, cost = estimates(run), -np.log(0.95)
    assert said["kl_nats"]["value"] == pytest.approx(cost, abs=1e-10)
    assert said["k_nats"]["value"] == pytest.approx(8 * cost, abs=1e-9)
    assert set(run.result["infinite"]) == {"kl_reverse_nats", "k_reverse_nats"}
    assert said["tv"]["low"] <= 1 - 0.95**8 <= said["tv"]["high"]
    b = texts_of(run)["b"]
    taken = (b.token_id == 4).any(axis=1) if b.token_id is not None else np.zeros(0)
    assert 0 < taken.mean() < 1
    assert (np.isneginf(b.laws.log_p) == (b.token_id == 4)).all(), "from the first one on A cannot follow"
    assert np.isfinite(b.laws.log_q).all()


def test_a_model_beside_itself_is_nowhere_apart(tmp_path: Path) -> None:
    run = freerun.distance(A, f"{A}+null", A, out=tmp_path / "run", documents=32, prefix=3, tokens=4)
    said = estimates(run)
    assert said["kl_nats"]["value"] == 0
    assert said["tv"]["value"] == 0
    assert said["best_auc"]["value"] == 0.5
    certificate = run.result["certificate"]
    assert certificate["least_tv"] <= certificate["tv"] < 1.1 * certificate["least_tv"]
    assert "no more than computing A's law again" in run.verdict


# ---- however it is run ---------------------------------------------------------------------------------------------------


def columns(run: Run) -> dict[str, np.ndarray]:
    return {
        f"{arm}/{name}": getattr(texts.laws, name)
        for arm, texts in texts_of(run).items()
        for name in ("unit", "n_tokens", "ended", "log_p", "log_q", "kl_pq", "kl_qp", "tv", "same_top")
    }


def assert_same(a: Run, b: Run, atol: float = 0.0) -> None:
    first, second = columns(a), columns(b)
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_allclose(values, second[name], atol=atol, err_msg=name)


@pytest.mark.parametrize("b", [B, ABSORBING])
def test_one_at_a_time_says_the_same_and_leaves_no_laws_behind(tmp_path: Path, b: str) -> None:
    settings: DistanceKeywords = {"documents": 30, "prefix": 3, "tokens": 6, "batch": 8}
    both = freerun.distance(A, b, A, out=tmp_path / "both", **settings)
    apart = freerun.distance(A, b, A, out=tmp_path / "apart", one_at_a_time=True, **settings)
    assert_same(both, apart, atol=1e-12)
    assert not (apart.path / SPOOL).exists()


def test_resumed_is_uninterrupted_and_damage_is_made_again(made: Run, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    ready = prepare(A, B, A, DistanceOptions(**SMALL), out=tmp_path / "run")
    ready.folder.open(ready.manifest)
    done = 0

    def stop(n: int) -> None:
        nonlocal done
        done += n
        if done > 2 * 50 * TOKENS:
            raise Stop

    with pytest.raises(Stop):
        measure(ready, on_tokens=stop)
    with pytest.raises(DataError, match="is not finished"):
        report_distance(tmp_path / "run")
    del ready
    part = sorted((tmp_path / "run" / TWO_LAWS.kind).glob("*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-9])
    assert_same(freerun.distance(A, B, A, out=tmp_path / "run", **SMALL), made)


def test_the_report_is_made_again_without_a_model(
    made: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made.path, copy)
    for name in ("result.json", "report.html"):
        (copy / name).unlink()
    assert main(["report", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made.result
    assert (copy / "report.html").read_text() == made.report.read_text()


def test_the_page_shows_the_numbers_and_escapes(made: Run) -> None:
    page = made.report.read_text()
    for words in ("Where do they part?", "Mean KLD", "best possible detector", made.result["certificate"]["sentence"]):
        assert words in page
    assert "<script" not in page


def test_a_redacted_run_holds_no_text(tmp_path: Path) -> None:
    run = freerun.distance(A, B, A, out=tmp_path / "run", documents=32, prefix=16, tokens=4, redact_text=True)
    texts = texts_of(run)["a"]
    assert texts.token_id is None
    assert texts.prefix_ids is None
    assert not run.result["partings"]
    assert A not in json.dumps(run.result["plan"]["corpus"])


def test_llama_cpp_windows_are_scored_in_their_second_half(tmp_path: Path) -> None:
    run = freerun.distance(A, B, A, out=tmp_path / "run", documents=20, protocol="llama.cpp", window=32, tokens=None)
    assert run.result["plan"]["arms"] == ["real"]
    assert run.result["plan"]["prefix"] == 17
    assert run.result["plan"]["tokens"] == 15
    assert run.result["certificate"] is None


# ---- gates, errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ("kl_nats>0.0001", 1),
        ("kl_nats>5", 0),
        ("same_top<0.001", 0),
        ("tv>0.001", 1),
        ("tv>0.99", 0),
        ("k_nats>9", 0),
        ("best_horizon<2", 0),
        ("best_horizon<4096", 3),
    ],
)
def test_gates(made: Run, gate: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["distance", A, B, A, "-o", str(made.path), "--fail-on", gate, "--json"]
    options = ["--documents", str(DOCUMENTS), "--prefix", "3", "--tokens", str(TOKENS), "--batch", "50"]
    assert main([*words, *options]) == code
    assert json.loads(capsys.readouterr().out)["gates"][0]["name"] == gate.partition(">")[0].partition("<")[0]


def test_an_infinite_k_is_more_than_any_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = f"{A}+top_k,k=2"
    words = ["distance", A, top, A, "-o", str(tmp_path / "run"), "--documents", "32", "--prefix", "3", "--tokens", "6"]
    assert main([*words, "--fail-on", "k_nats>1e6"]) == 1
    assert "is infinite" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([ABSORBING, A], "other order"),
        ([A, B, "--arms", "real,c"], "none of real, a, b"),
        ([A, B, "--protocol", "llama.cpp", "--tokens", "9"], "leave it out"),
        ([A, B, "--fail-on", "horizon<9"], "no number is called 'horizon'"),
        ([A, B, "--fail-on", "best_horizon>9"], "fails by being short"),
        ([A, "world/markov,symbols=4+hash,n=2"], "header"),
        ([A, "mock/3@markov,symbols=4"], "whole law"),
        (["world/mrkov", B], "did you mean"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    assert main(["distance", *words[:2], A, *words[2:], "-o", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(said, error), error
    assert not (tmp_path / "run").exists()


def test_runs_and_models_name_each_others_verb(made: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", A, B]) == 2
    assert "freerun distance" in capsys.readouterr().err
    assert main(["distance", str(made.path), B]) == 2
    assert "freerun report" in capsys.readouterr().err
    assert main(["distance", A, B, str(made.path)]) == 2
    assert "a corpus is wanted" in capsys.readouterr().err
    assert main(["loops", str(made.path)]) == 2
    assert "a distance between two models" in capsys.readouterr().err
    assert main(["loops", A]) == 2
    assert "freerun audit world/markov" in capsys.readouterr().err
    assert main(["compare", str(made.path), str(made.path) + "x"]) == 2
    assert "freerun report" in capsys.readouterr().err


def described(
    meanings: tuple[bytes | str, ...], *, ends: tuple[int, ...] = (0,), tried: tuple[int, ...] = ()
) -> Description:
    like = Description.of(load_predictor(A), [], device="cpu")  # type: ignore[arg-type]
    return Description(Identity("m", "m"), len(meanings), like.context, ends, Markers(), meanings, (tried,), "cpu")


@pytest.mark.parametrize(
    ("b", "said"),
    [
        (described((b"a", b"x", b"y", b"d")), "id 1 is b'b' against b'x'; id 2 is b'c' against b'y'"),
        (described((b"a", b"b", b"c", b"d"), ends=(0, 3)), "--end-ids 0,3"),
        (described((b"a", b"b", b"c", b"d"), tried=(1,)), "apart differently"),
        (described((b"a", b"b", b"c")), "other order"),
    ],
)
def test_two_models_that_do_not_fit_are_refused(b: Description, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_fit(described((b"a", b"b", b"c", b"d")), b)
    check_fit(described((b"a", b"b", b"c", b"d")), described((b"a", b"b", b"c", b"d", b"")))


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["distance", A, B, A, "-o", str(tmp_path / "run"), "--documents", "32", "--prefix", "3", "--tokens", "6"]
    assert main([*words, "--dry-run", "--one-at-a-time", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["spool_bytes"]["low"] == 2 * 32 * 6 * 4 * 4
    assert said["tokens_to_score"] == 3 * 32 * 6
    assert not (tmp_path / "run").exists()


def test_keywords_are_the_options() -> None:
    from dataclasses import fields

    assert set(DistanceKeywords.__annotations__) == {f.name for f in fields(DistanceOptions)}
    with pytest.raises(FreerunError, match="loaded already"):
        freerun.distance(load_predictor(A), B, A, one_at_a_time=True)


# ---- elsewhere -----------------------------------------------------------------------------------------------------------


def test_the_result_fits_its_schema(made: Run) -> None:
    schema = json.loads((Path(__file__).parents[2] / "docs" / "distance.schema.json").read_text())
    jsonschema.validate(json.loads((made.path / "result.json").read_text()), schema)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_exported_documents_add_up_to_the_estimates(made: Run, kind: str, tmp_path: Path) -> None:
    assert main(["export", str(made.path), "--to", kind, "-o", str(tmp_path)]) == 0
    tables = {}
    for name in ("estimates", "documents"):
        file = tmp_path / f"{name}.{kind}"
        tables[name] = pc.read_csv(file) if kind == "csv" else pq.read_table(file)
    rows = tables["documents"].to_pylist()
    stated = {row["name"]: row["value"] for row in tables["estimates"].to_pylist()}
    assert {row["a"] for row in tables["estimates"].to_pylist()} == {made.result["plan"]["a"]["model"]}
    assert {row["name"] for row in rows} >= {"kl_nats", "same_top", "loss_difference_nats", "k_nats", "tv"}
    for name in {row["name"] for row in rows} - {"k_nats", "k_reverse_nats"}:
        mine = [row for row in rows if row["name"] == name]
        assert sum(r["top"] for r in mine) / sum(r["bottom"] for r in mine) == pytest.approx(stated[name], rel=1e-6)


def test_a_model_card_gains_one_sentence(made: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(made.path), "--to", "model-card", "-o", str(tmp_path)]) == 0
    card = (tmp_path / "model-card.md").read_text()
    limit = f"{np.ceil(made.result['certificate']['tv'] * 1000) / 1000:.3f}"
    assert f"no test on one text of up to {TOKENS} tokens tells the two apart" in card
    assert f"above {limit} (95% confidence" in card
    sentence = distance_sentence(made.result)
    assert sentence in card
    assert B.partition("+")[2] in (tmp_path / "model-index.yaml").read_text()
    assert tracked_numbers(made.result)["writers/tv_high"] == made.result["certificate"]["tv"]
    for words in (["--to", "csv", "--distance", str(made.path)], ["--to", "model-card", "--distance", str(tmp_path)]):
        assert main(["export", str(made.path), *words, "-o", str(tmp_path)]) == 2
        assert "--distance" in capsys.readouterr().err
    assert (
        main(["export", str(made.path), "--to", "model-card", "--distance", str(made.path), "-o", str(tmp_path)]) == 0
    )
    assert (tmp_path / "model-card.md").read_text().count(sentence) == 2


def test_both_models_have_floors(made: Run) -> None:
    texts = texts_of(made)
    for arm, of in (("floor_real", "real"), ("floor_a", "a"), ("floor_real_b", "real"), ("floor_b", "b")):
        laws, first = texts[arm].laws, texts[of].laws
        assert len(laws.unit) == 12
        assert np.nanmax(laws.kl_pq) < 1e-12
        own = first.log_q if arm.endswith("_b") else first.log_p
        assert laws.log_p[:12] == pytest.approx(own[:12], abs=1e-10)


def test_a_plan_of_the_first_version_needs_no_floor_of_b(made: Run) -> None:
    plan = read_distance(RunFolder(made.path)).plan
    assert [u.arm for u in units_of(replace(plan, plan_version=1)) if u.is_floor] == ["floor_real", "floor_a"]
