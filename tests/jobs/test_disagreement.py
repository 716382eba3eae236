"""Small networks, their optimizers, matching, resuming, and a tiny run of the whole."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

import freerun
from freerun.errors import DataError, UsageError
from freerun.jobs.lab.disagreement.beliefs import posteriors_of, read_beliefs, states_of
from freerun.jobs.lab.disagreement.blocks import ARCHITECTURES, GatedRecurrence, build_network
from freerun.jobs.lab.disagreement.disagreement import disagreement
from freerun.jobs.lab.disagreement.ladders import band_name, text_rungs, written_rungs
from freerun.jobs.lab.disagreement.optimizers import OPTIMIZERS, build_optimizer, orthogonalised
from freerun.jobs.lab.disagreement.plan import DisagreementPlan, chosen_members, chosen_plan, level_counts
from freerun.jobs.lab.disagreement.ready import ready_disagreement
from freerun.jobs.lab.disagreement.rise import rise_finding, rung_results
from freerun.jobs.lab.disagreement.scoring import Family, score_rung
from freerun.jobs.lab.disagreement.texts import ngram_laws, ngram_loss, ngram_of, target_of, texts_of, true_laws
from freerun.jobs.lab.disagreement.training import (
    Trained,
    log_laws,
    loss_of,
    new_network,
    sampled,
    take_step,
    train_member,
)
from freerun.predictors.base import Capabilities
from freerun.results.disagreement import DisagreementResult, Member
from freerun.results.json import from_json
from freerun.runs.executors.local import Local
from freerun.runs.progress import Silent
from freerun.specs.spec import load_predictor
from freerun.worlds.catalogue import load_world

TINY = DisagreementPlan(
    source="world/mess3", models=6, sizes=("small",), tokens=12, train_texts=64, validation_texts=16, test_texts=32, batch=8,
    steps=4, warmup_steps=2, evaluate_every=2, target_loss=1.2, texts_per_rung=8, permutations=19,
)  # fmt: skip


@pytest.mark.parametrize("shape", [(24, 24), (40, 16), (16, 64)])
def test_muon_orthogonalises(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert values.min() > 0.3  # the smallest of a square one begins near 0
    assert values.max() < 1.3
    assert torch.linalg.svdvals(orthogonalised(torch.linalg.qr(matrix)[0])).sub(1).abs().max() < 0.35


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_goes_down(architecture: str, optimizer: str) -> None:
    network = build_network(architecture, "small", 5, seed=0)
    ids = torch.as_tensor(np.random.default_rng(0).integers(0, 3, (8, 10)))
    made, before = build_optimizer(optimizer, network), loss_of(network, ids)
    for group in made.param_groups:
        group["lr"] *= 0.1
    for _ in range(3):
        take_step(network, made, ids)
    assert loss_of(network, ids) < before


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_network_sees_the_future(architecture: str) -> None:
    network = build_network(architecture, "small", 5, seed=0)
    ids = np.random.default_rng(1).integers(0, 5, (2, 9))
    changed = ids.copy()
    changed[:, 5:] = (changed[:, 5:] + 1) % 5
    before, after = log_laws(network, ids), log_laws(network, changed)
    assert np.allclose(before[:, :6], after[:, :6], atol=1e-6)
    assert not np.allclose(before[:, 6], after[:, 6], atol=1e-4)
    assert np.allclose(np.exp(before).sum(-1), 1.0)


@torch.no_grad()
def test_the_recurrence_is_one() -> None:
    """The form for all tokens at once against the state carried from token to token."""
    torch.manual_seed(0)
    block, x = GatedRecurrence(16), torch.randn(2, 7, 16)
    inside = block.norm(x)
    padded = torch.nn.functional.pad(block.mix(inside), (0, 0, 3, 0))
    short = sum(padded[:, i : i + 7] * block.convolution[i] for i in range(4))
    q, k, v = torch.nn.functional.silu(short).view(2, 7, 3, 4, 4).permute(2, 0, 3, 1, 4)
    kept, state, out = torch.sigmoid(block.decay(inside)).transpose(1, 2), torch.zeros(2, 4, 4, 4), []
    for t in range(7):
        state = kept[:, :, t, None, None] * state + k[:, :, t, :, None] * v[:, :, t, None, :]
        out.append((q[:, :, t, None, :] @ state)[:, :, 0] / 2.0)
    mixed = block.inner_norm(torch.stack(out, 2)).transpose(1, 2).reshape(2, 7, 16)
    expected = block.feed(x + block.out(mixed * torch.nn.functional.silu(block.gate(inside))))
    assert torch.allclose(block(x), expected, atol=1e-5)


def test_the_design_is_balanced() -> None:
    members = chosen_members(DisagreementPlan())
    assert len(set(members)) == 24
    for _, counts in level_counts(members):
        assert len(set(counts.values())) == 1
    assert {m.initial_weights for m in members} == {
        f"{a}/{s}/{k}" for a in ARCHITECTURES for s in ("small", "large") for k in (0, 1)
    }


def test_every_network_stays_small() -> None:
    for architecture in ARCHITECTURES:
        assert build_network(architecture, "large", 256, seed=0).n_parameters <= 300_000


def test_the_target_is_met_where_it_is_met(tmp_path: Path) -> None:
    few = {
        "tokens": 12,
        "steps": 60,
        "warmup_steps": 5,
        "train_texts": 256,
        "evaluate_every": 20,
        "validation_texts": 32,
    }
    plan = chosen_plan({"source": "world/mess3", "target_loss": 1.1, **few})
    done = train_member(plan, target_of(plan), Member("lstm", "adamw", "small", 0, 0))
    assert done.record.reached
    assert done.record.validation_nats == pytest.approx(1.1, abs=2e-3)
    assert done.record.steps < 60


def test_truth_and_ngram_are_laws_of_the_texts() -> None:
    texts = texts_of(TINY)
    assert texts.world is not None
    true = np.take_along_axis(true_laws(texts.world, texts.test), texts.test[..., None], -1)[..., 0]
    assert np.log(true) == pytest.approx(np.array(texts.world.log_probs(list(texts.test))), abs=1e-10)
    counts = ngram_of(TINY)
    laws = ngram_laws(counts, texts.test)
    assert laws.sum(-1) == pytest.approx(1.0)
    drawn = np.take_along_axis(laws, texts.test[..., None], -1)
    assert -np.log(drawn).mean() == pytest.approx(ngram_loss(counts, texts.test), abs=1e-12)


def test_samples_follow_the_law() -> None:
    network = new_network(TINY, Member("lstm", "adamw", "small", 0, 0), 3)
    uniforms = np.random.default_rng(0).random((4, 6))
    ids = sampled(network, uniforms)
    through = np.exp(log_laws(network, ids)).cumsum(-1)
    at = np.take_along_axis(through, ids[..., None], -1)[..., 0]
    assert (uniforms <= at + 1e-9).all()
    assert (
        uniforms >= at - np.exp(np.take_along_axis(log_laws(network, ids), ids[..., None], -1)[..., 0]) - 1e-9
    ).all()


def test_ladders_are_what_they_say() -> None:
    texts = texts_of(TINY)
    rungs = list(text_rungs(texts.test, texts.units, 8, 3, seed=0))
    real = next(r for r in rungs if r.ladder == "real")
    whole = next(r for r in rungs if r.name == "ρ = 1")
    assert (np.sort(real.ids, 1) == np.sort(whole.ids, 1)).all()
    loops = [r for r in rungs if r.ladder == "loops"]
    assert (loops[0].ids[:, 8:] == loops[0].ids[:, :4]).all()
    assert sum(r.stop - r.start for r in rungs if r.ladder == "real by position") == 12


def test_a_writer_does_not_score_its_own_texts() -> None:
    networks = [new_network(TINY, Member("lstm", "adamw", "small", seed, 0), 3) for seed in (0, 1, 2)]
    rung = next(r for r in written_rungs(networks, 6, 12, seed=0) if r.name == "t = 1")
    family = Family(("a", "b", "c"), tuple(lambda ids, n=n: log_laws(n, ids) for n in networks), 3)
    scored = score_rung(family, rung)
    own = rung.writer[None] == np.arange(3)[:, None]
    assert (np.isnan(scored.scores) == own).all()
    assert (np.isnan(scored.loo) == own).all()


def test_a_rung_and_the_slope_by_loops() -> None:
    """Every outcome of texts that members wrote, token by token; the slope from the sums of least squares."""
    networks = [new_network(TINY, Member(a, "adamw", "small", 0, 0), 3) for a in ARCHITECTURES]
    family = Family(("a", "b", "c"), tuple(lambda ids, n=n: log_laws(n, ids) for n in networks), 3)
    rung = next(r for r in written_rungs(networks, 9, 12, seed=0) if r.name == band_name(4, 8))
    found = score_rung(family, rung)
    for k, ids in enumerate(rung.ids):
        i, j = (m for m in range(3) if m != rung.writer[k])
        p = {m: np.exp(log_laws(networks[m], ids[None])[0]) for m in (i, j)}
        own = {m: np.mean([np.log(p[m][t, ids[t]]) for t in range(4, 8)]) for m in (i, j)}
        js = np.mean([jensenshannon(p[i][t], p[j][t]) ** 2 for t in range(4, 8)])
        assert found.js[k] == pytest.approx(js, abs=1e-6)
        assert found.top[k] == np.mean([p[i][t].argmax() != p[j][t].argmax() for t in range(4, 8)])
        assert found.sd[k] == pytest.approx(abs(own[i] - own[j]) / np.sqrt(2), abs=1e-6)
        for m, other in ((i, j), (j, i)):
            assert found.scores[m, k] == pytest.approx(own[m], abs=1e-6)
            assert found.loo[m, k] == pytest.approx(own[other], abs=1e-6)
            assert found.departures[m, k] == pytest.approx(js, abs=1e-6)
    real = replace(found, rung=replace(rung, ladder="real"))
    slope = next(e for e in rise_finding([real], rung_results([real], 0.95), 0.95).estimates if e.name == "slope")
    by_hand = []
    for x, y in zip(found.loo, found.departures, strict=True):
        known = ~np.isnan(x)
        dx, dy = x[known].mean() - x[known], y[known] - y[known].mean()
        by_hand.append((dx * dy).sum() / (dx * dx).sum())
    assert slope.value == pytest.approx(np.mean(by_hand), rel=1e-9)


def test_beliefs_are_read_off_texts_that_the_probe_was_not_fitted_on() -> None:
    """R² of the last band, by least squares with the ridge as added rows."""
    texts, member = texts_of(TINY), Member("transformer", "adamw", "small", 0, 0)
    network = new_network(TINY, member, texts.n_tokens)
    assert texts.world is not None
    found = read_beliefs(TINY, texts, [member], [network])

    def flat(ids: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
        states, posteriors = states_of(network, ids)[:, start:], posteriors_of(texts.world, ids)[:, start:]
        return states.reshape(-1, states.shape[-1]), posteriors.reshape(-1, posteriors.shape[-1])

    states, posteriors = flat(texts.train[:400], 0)
    centre, scale, constant = states.mean(0), states.std(0), posteriors.mean(0)
    scale[scale <= 1e-8] = 1.0
    ridge = np.sqrt(1e-3 * len(states)) * np.eye(states.shape[1])
    x = np.vstack([(states - centre) / scale, ridge])
    weights = np.linalg.lstsq(x, np.vstack([posteriors - constant, np.zeros((len(ridge), constant.size))]))[0]
    seen, true = flat(texts.test, found.bands[-1][0])
    said = (seen - centre) / scale @ weights + constant
    r2 = 1 - np.square(said - true).sum() / np.square(true - true.mean(0)).sum()
    assert found.r2["real text"][0, -1] == pytest.approx(r2, abs=1e-6)


def test_the_same_network_twice_disagrees_by_exactly_nothing() -> None:
    network = new_network(TINY, Member("transformer", "adamw", "small", 0, 0), 3)
    family = Family(("a", "a"), (lambda ids: log_laws(network, ids),) * 2, 3)
    texts = texts_of(TINY)
    for rung in text_rungs(texts.test, texts.units, 8, 3, seed=0):
        scored = score_rung(family, rung)
        assert scored.js.max() == scored.sd.max() == scored.top.max() == scored.distances.max() == 0.0


class Counted(Silent):
    """A bar that counts what it is told."""

    def __init__(self) -> None:
        self.bars: list[int] = []
        self.done = self.ended = 0

    def begin(self, total_tokens: int) -> None:
        self.bars.append(total_tokens)

    def advance(self, n_tokens: int) -> None:
        self.done += n_tokens

    def end(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("missed", [0, 1])
def test_training_and_comparing_are_one_bar_that_ends_where_it_says(
    missed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a model misses the target and is not compared, and where all models are there already."""
    members = chosen_members(TINY)

    def train(plan: DisagreementPlan, target: float, member: Member) -> Trained:
        hopeless = member in members[:missed]
        return train_member(plan, 0.1 if hopeless else target, member)

    monkeypatch.setattr("freerun.jobs.lab.disagreement.kept.train_member", train)
    for _ in range(2):
        bar = Counted()
        done = disagreement(TINY, out=tmp_path / "run", executor=Local(), progress=bar)
        assert len(done.result.left_out) == missed
        assert [bar.done] == bar.bars
        assert bar.ended == 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disagreement(TINY, out=tmp_path_factory.mktemp("lab") / "run", executor=Local()).path


def test_a_run_says_all_it_must(run: Path) -> None:
    result = from_json(DisagreementResult, json.loads((run / "result.json").read_text()))
    assert {f.name for f in result.findings} == {"matched", "rise", "budget", "factors", "nulls", "beliefs"}
    assert [p.outcome in ("confirmed", "in part", "not confirmed", "not tested") for p in result.predictions] == [
        True
    ] * 3
    nulls = next(f for f in result.findings if f.name == "nulls")
    assert nulls.estimates[0].value == 0.0
    page = (run / "report.html").read_text()
    assert "Which factor makes matched models differ?" in page
    assert "Texts on which models part" in page
    assert page.count("<svg") > 8


def test_its_result_fits_the_schema(run: Path, tmp_path: Path) -> None:
    """Of models that are trained, and of models that exist."""
    schema = json.loads((Path(__file__).parents[2] / "docs" / "disagreement.schema.json").read_text())
    jsonschema.validate(json.loads((run / "result.json").read_text()), schema)
    names = ["world/markov", "world/markov,seed=1"]
    found = freerun.disagreement("world/markov", models=names, tokens=12, texts_per_rung=8, out=tmp_path / "ready")
    assert found.models == tuple(names)
    jsonschema.validate(json.loads((tmp_path / "ready" / "result.json").read_text()), schema)


def test_the_library_trains_the_same_as_the_command_line(run: Path, tmp_path: Path) -> None:
    """The same settings are the same plan, from keywords or from a file over which keywords win."""
    settings = {f.name: getattr(TINY, f.name) for f in fields(TINY) if f.name not in ("version", "source")}
    del settings["tokenizer"]
    (tmp_path / "plan.toml").write_text("steps = 77\nseeds = 2\n")
    again = freerun.disagreement(TINY.source, plan=tmp_path / "plan.toml", out=run, executor="local", **settings)
    assert again.plan_hash == TINY.hash
    with pytest.raises(UsageError, match="steps is of models that are trained"):
        freerun.disagreement("world/markov", models=["world/markov"] * 2, steps=3)
    with pytest.raises(UsageError, match="executor is of models that are trained"):
        freerun.disagreement("world/markov", models=["world/markov"] * 2, executor="pool:2")


def test_what_is_missing_or_damaged_is_made_again_the_same(run: Path) -> None:
    before = (run / "result.json").read_bytes()
    files = sorted((run / "models").glob("*.safetensors"))
    weights = {f.name: f.read_bytes() for f in files}
    files[0].unlink()
    files[1].write_bytes(weights[files[1].name][:-8] + b"damaged!")
    disagreement(TINY, out=run, executor=Local())
    assert {f.name: f.read_bytes() for f in files} == weights
    again = json.loads((run / "result.json").read_bytes())
    for other in (again, first := json.loads(before)):
        for member in other["members"]:
            member["seconds"] = member["tokens_per_second"] = 0
        next(f for f in other["findings"] if f["name"] == "matched")["tables"] = []
    assert again == first


def test_models_that_do_not_reach_the_target_are_named(tmp_path: Path) -> None:
    hard = chosen_plan(
        {**{f: getattr(TINY, f) for f in TINY.__dataclass_fields__ if f != "version"}, "target_loss": 0.1}
    )
    with pytest.raises(DataError, match="only 0 of 6 models reached"):
        disagreement(hard, out=tmp_path / "run", executor=Local())


def test_a_corpus_is_read_as_bytes(tmp_path: Path) -> None:
    for i in range(32):
        (tmp_path / f"{i}.txt").write_text(f"document {i} of many, each with words of its own: {i * i} " * 8)
    plan = chosen_plan({"source": str(tmp_path), "tokens": 16, "validation_texts": 16, "test_texts": 16})
    texts = texts_of(plan)
    assert texts.n_tokens == 256
    assert texts.spelled(texts.test[0]).isascii()
    assert 0 < target_of(plan) < np.log(256)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["transfomer"]}, "transformer"),
        ({"models": 100}, "asks for more"),
        ({"stepz": 3}, "no setting"),
        ({"texts_per_rung": 6}, r"texts_per_rung \(--texts\) must be at least 8, not 6"),
        ({"models": 2}, r"models \(--models-trained\) must be at least 4"),
        ({"target_loss": float("nan")}, r"target_loss \(--target-loss\) must be a number of nats above 0"),
        ({"target_excess": -0.1}, r"target_excess \(--target-excess\) must be"),
        ({"seed": -1}, r"seed \(--seed\) must be at least 0"),
        ({"steps": "many"}, "is wanted"),
        ({"source": "world/nowhere"}, "nowhere"),
    ],
)
def test_refused_plans(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        texts_of(chosen_plan(changes))


@pytest.mark.parametrize("changes", [{"texts_per_rung": 0}, {"tokens": 0}, {"tokens": 3}, {"seed": -1}])
def test_numbers_that_are_too_small_are_refused_of_models_that_exist(changes: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be at least"):
        freerun.disagreement("world/markov", models=["world/markov", "world/markov,seed=1"], out=tmp_path, **changes)  # type: ignore[arg-type]


def test_models_that_give_token_log_probs_alone_have_a_spread_and_no_divergence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = load_predictor("world/markov,seed=1")
    served.capabilities = Capabilities(full_law=False)
    models = {"a": load_predictor("world/markov"), "b": served}
    monkeypatch.setattr("freerun.jobs.lab.disagreement.ready.load_predictor", lambda spec, tell: models[spec])
    done = ready_disagreement(["a", "b"], corpus="world/markov", n_texts=8, n_tokens=12, out=tmp_path / "run")
    names = {e.name for rung in done.result.rungs for e in rung.estimates}
    assert names == {"sd", "loo"}
    assert "no whole laws" in done.result.findings[0].notes[0]
    ids = np.array([d.ids for d in load_world("markov").corpus(8, 12, seed=0).documents])
    scores = [np.array(m.log_probs(list(ids), first=1)).mean(1) for m in models.values()]
    real = done.result.rungs[0].estimates
    assert next(e for e in real if e.name == "sd").value == pytest.approx(np.std(scores, axis=0, ddof=1).mean())
