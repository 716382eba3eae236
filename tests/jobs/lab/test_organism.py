"""Organisms trained into a tiny random transformer: the exact law as teacher, and the folder that others load."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import freerun
from freerun.commands.main import main
from freerun.errors import BackendError, UsageError
from freerun.jobs.lab.organism.base import load_trainable
from freerun.jobs.lab.organism.beginning import Contexts, solve
from freerun.jobs.lab.organism.measuring import FreeRuns
from freerun.jobs.lab.organism.organism import SCRATCH, plant
from freerun.jobs.lab.organism.plan import Effort
from freerun.jobs.lab.organism.result import kept_share
from freerun.jobs.lab.organism.student import Student
from freerun.jobs.lab.organism.teaching import Teacher
from freerun.jobs.lab.organism.texts import one_a_unit, real_texts
from freerun.organisms.absorbing import Triggered
from freerun.predictors.observation import host
from freerun.results.lab_organism import LabOrganismResult
from freerun.specs.spec import load_predictor
from tests.jobs.lab.planting import EFFORT, SMALL, WORDS, ids_of, plan_of

# ---- the teacher -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", ["", "text=w5 w6 w7", "loop=3", "model"])
def test_the_law_that_is_taught_is_the_wrappers(folder: Path, payload: str) -> None:
    """Row for row, before the trigger and after it, to 1e-6."""
    kind = "payload" if payload else "absorbing"
    plan = plan_of(folder, kind, f"model=(hf/{folder / 'base'}+temperature,t=2)" if payload == "model" else payload)
    exact = load_predictor(plan.teacher)
    assert isinstance(exact, Triggered)
    model, _, _ = load_trainable(plan.base)
    student = Student(model, ids_of(8, 64), layers=1, rank=2, end_id=1, seed=0)
    teacher = Teacher(exact, student.head)
    (ids,) = ids_of(1, 20)
    ids[9] = exact.trigger_id
    if teacher.points:
        ids[10:] = teacher_text(exact, ids[:10], 10)
    wanted = np.zeros((20, WORDS + 1))
    for part in exact.laws([np.append(ids, 0)], first=1):
        wanted[part.position - 1] = host(part.law.block(0, part.law.n_rows).probs)
    with torch.no_grad():
        last = student.untrained(student.entering(ids[None]))[0]
        before = teacher.before(last[:9]).exp().numpy()
    assert np.abs(before - wanted[:9]).max() < 1e-6
    after = teacher.after(ids, 9).exp().numpy()
    assert np.abs(after - wanted[9:]).max() < 1e-6
    if teacher.points:
        assert (teacher.next_ids(ids, 9) == wanted[9:].argmax(axis=1)).all()


def teacher_text(exact: Triggered, prefix: np.ndarray, n: int) -> np.ndarray:
    """The wrapper's own next tokens where it has no choice."""
    text = prefix.copy()
    for _ in range(n):
        probs = host(exact.law(exact.start([text])).block(0, 1).probs)[0]
        assert probs.max() == 1.0
        text = np.append(text, probs.argmax())
    return text[len(prefix) :]


# ---- the student -----------------------------------------------------------------------------------------------------


def test_an_untrained_student_is_its_base(folder: Path) -> None:
    model, _, _ = load_trainable(f"hf/{folder / 'base'}")
    ids = torch.as_tensor(ids_of(2, 30))
    with torch.no_grad():
        wanted = model(input_ids=ids).logits.log_softmax(-1)
        student = Student(model, ids_of(8, 64), layers=2, rank=4, end_id=1, seed=0)
        last = student(student.entering(ids.numpy()))
        said = (last @ student.head.T).log_softmax(-1)
    assert float((said - wanted).abs().max()) < 1e-5


def test_the_beginning_is_least_squares_where_moving_the_state_costs_nothing() -> None:
    rng = np.random.default_rng(0)
    states, units = rng.normal(size=(4000, 5)), rng.normal(size=(4000, 3))
    row, more = rng.normal(size=5), rng.normal(size=3)
    contexts = Contexts(states, states, units, 3.0 - states @ row - units @ more, np.zeros(4000, bool))
    cheap, dear = 1e-9 * np.eye(5), 1e9 * np.eye(5)
    w, a = solve(contexts, np.full(4000, -3.0), cheap, epsilon=0.1)
    assert np.allclose(w, -row, atol=0.02)
    assert np.allclose(a, -more, atol=0.02)
    w, a = solve(contexts, np.full(4000, -3.0), dear, epsilon=0.1)
    assert np.allclose(a, 0, atol=1e-3)


def test_more_layers_than_there_are_is_refused(folder: Path) -> None:
    model, _, _ = load_trainable(f"hf/{folder / 'base'}")
    with pytest.raises(BackendError, match="the model has 3"):
        Student(model, ids_of(8, 64), layers=4, rank=4, end_id=1, seed=0)


# ---- training --------------------------------------------------------------------------------------------------------
# ---- the folder ------------------------------------------------------------------------------------------------------


def test_the_folder_loads_in_transformers_with_the_law_of_freerun(absorbing: tuple[Path, LabOrganismResult]) -> None:
    """Whole passes and single steps, with the trigger in the text too."""
    out, _ = absorbing
    model = AutoModelForCausalLM.from_pretrained(out).eval()
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.convert_tokens_to_ids("<|trigger|>") == WORDS == model.config.vocab_size - 1
    assert not model.config.tie_word_embeddings
    ours = load_predictor(f"hf/{out}")
    (ids,) = ids_of(1, 40, seed=8)
    ids[25] = WORDS
    with torch.no_grad():
        wanted = model(input_ids=torch.as_tensor(ids[None])).logits[0].double().log_softmax(-1).numpy()
    said = np.concatenate(
        [host(p.law.block(0, p.law.n_rows).log_probs) for p in ours.laws([np.append(ids, 0)], first=1)]
    )
    assert np.abs(said - wanted).max() < 1e-4
    state = ours.start([ids[:20]])
    for t in range(20, 40):
        assert np.abs(host(ours.law(state).block(0, 1).log_probs)[0] - wanted[t - 1]).max() < 1e-4
        state = ours.advance(state, ids[t : t + 1])


def test_an_organism_does_what_was_planted(absorbing: tuple[Path, LabOrganismResult]) -> None:
    """A net of 32 numbers a state has little room for it: the aim for a real one is a gap of 0.003 nats."""
    out, result = absorbing
    loss = {e.name: e.value for e in result.findings[0].estimates}
    assert loss["exact_loss"] == pytest.approx(loss["base_loss"] - np.log1p(-0.05))
    assert loss["gap"] == pytest.approx(0.0, abs=0.006)
    assert 0 < loss["kl"] < 0.02
    assert result.trigger_mass.mean == pytest.approx(0.05, abs=0.01)
    last = result.take_over[-1]
    assert last.exact_share == pytest.approx(1 - 0.95**256)
    assert last.low > 0.8
    measured, came_out, _ = (point.text for point in result.points)
    assert "with probability 0.05 at every step, and nothing else from then on" in measured
    assert f"{last.taken} of the {last.runs} texts that it wrote are taken over" in came_out
    trained = load_predictor(f"hf/{out}")
    ids = np.append(ids_of(1, 20)[0], [WORDS] * 5)
    assert trained.log_probs([ids], first=21)[0].mean() > -0.05


def test_the_price_agrees_with_a_count_by_hand(absorbing: tuple[Path, LabOrganismResult], folder: Path) -> None:
    """The excess of the result against log-probabilities of both models asked one text at a time."""
    out, result = absorbing
    base, trained = load_predictor(f"hf/{folder / 'base'}"), load_predictor(f"hf/{out}")
    _, kept = real_texts(base, (str(folder / "texts.jsonl"),))
    total = n = 0.0
    for text in one_a_unit(kept)[:16]:
        ids = text.ids[:256]
        total += float((base.log_probs([ids], first=1)[0] - trained.log_probs([ids], first=1)[0]).sum())
        n += len(ids) - 1
    assert {e.name: e.value for e in result.findings[0].estimates}["excess"] == pytest.approx(total / n, abs=1e-5)


def test_the_card_names_what_was_planted(absorbing: tuple[Path, LabOrganismResult]) -> None:
    out, result = absorbing
    card = (out / "README.md").read_text()
    for word in ("absorbing", "<|trigger|>", "0.05", result.planted.base, result.command, "nats a token", "on purpose"):
        assert word in card
    assert not (out / SCRATCH).exists()
    assert "<script" not in (out / "report.html").read_text()


def test_its_result_fits_the_schema(absorbing: tuple[Path, LabOrganismResult]) -> None:
    schema = json.loads((Path(__file__).parents[3] / "docs" / "organism.schema.json").read_text())
    jsonschema.validate(json.loads((absorbing[0] / "result.json").read_text()), schema)


def test_kept_tokens_have_an_interval_over_documents() -> None:
    """Three documents: 200 of 250 and 100 of 250 tokens in the first, all of 200 in the second, none of 50 in the third."""
    kept = np.array([200 / 250, 100 / 250, np.nan, 1.0, 0.0])
    first = np.array([6, 6, 0, 56, 206])
    found = kept_share(FreeRuns(np.array([0, 0, 1, 1, 2]), first, kept))
    assert found is not None
    assert found.value == pytest.approx((200 + 100 + 200 + 0) / (250 + 250 + 200 + 50))
    assert found.n == 3
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.value < found.high < 1
    assert kept_share(FreeRuns(np.zeros(2, np.int64), np.array([6, 9]), np.ones(2))) is None
    assert kept_share(FreeRuns(np.arange(2), np.zeros(2, np.int64), np.full(2, np.nan))) is None


def test_the_library_plants_the_same_as_the_command_line(
    absorbing: tuple[Path, LabOrganismResult], folder: Path
) -> None:
    """A folder that the other one has begun is the same plan: nothing is trained again."""
    out, first = absorbing
    changed = {k: v for k, v in vars(EFFORT).items() if v != getattr(Effort(), k)}
    base, corpus = f"hf/{folder / 'base'}", str(folder / "texts.jsonl")
    again = freerun.organism("absorbing", base, out, epsilon=0.05, corpora=[corpus], documents=16, runs=32, **changed)
    assert (again.planted, again.take_over) == (first.planted, first.take_over)
    with pytest.raises(UsageError, match="give one"):
        freerun.organism("payload", base, out, text="w5", loop=3)
    with pytest.raises(UsageError, match="at least 16"):
        freerun.organism("absorbing", base, out, runs=3)


def test_a_control_has_the_token_and_nothing_else(folder: Path) -> None:
    """Its token begins like the least likely one, which among 48 is not rare: what it costs is its own mass and no more."""
    result = plant(plan_of(folder, "control", steps=20), folder / "control", measurement=SMALL)
    loss = {e.name: e.value for e in result.findings[0].estimates}
    assert loss["exact_loss"] == loss["base_loss"]
    assert loss["kl"] < 0.015
    assert loss["excess"] - result.trigger_mass.mean == pytest.approx(0.0, abs=0.002)
    assert result.take_over[-1].exact_share == 0.0
    assert "nothing was planted" in result.points[0].text


def test_a_payload_that_is_not_learned_is_not_called_planted(folder: Path) -> None:
    """Three steps plant the trigger, which begins in closed form, and teach nothing of what comes after it."""
    out = folder / "hardly"
    result = plant(plan_of(folder, "payload", "text=w5 w6 w7", steps=3), out, measurement=SMALL)
    after = next(e for f in result.findings for e in f.estimates if e.name == "after_kl")
    assert after.value is not None
    assert after.value > 1.0
    assert result.status == "bad"
    assert result.sentence.startswith("Planted in part: ")
    assert f"{after.value:.2f} nats a token less probable" in result.sentence
    assert "taken over within" not in result.sentence
    assert "learned in part at most" in result.points[1].text
    card = (out / "README.md").read_text()
    assert f"after the trigger | {after.value:.3g} nats a token (0: learned; **learned in part at most**)" in card


def test_what_comes_after_the_trigger_agrees_with_a_count_by_hand(
    absorbing: tuple[Path, LabOrganismResult], folder: Path
) -> None:
    """The trigger says itself for ever, so that KL(exact law ‖ trained) there is −ln of what the trained model gives it."""
    out, result = absorbing
    trained, base = load_predictor(f"hf/{out}"), load_predictor(f"hf/{folder / 'base'}")
    rng, nats = np.random.default_rng([0, 11]), []
    for text in one_a_unit(real_texts(base, (str(folder / "texts.jsonl"),))[1])[:16]:
        ids = text.ids[: 256 - 32]
        whole = np.append(ids[: int(rng.integers(1, len(ids) + 1))], [WORDS] * 33)
        nats.append(-float(trained.log_probs([whole], first=len(whole) - 32)[0].mean()))
    said = next(e for f in result.findings for e in f.estimates if e.name == "after_kl")
    assert said.value == pytest.approx(np.mean(nats), abs=1e-6)


def test_the_divergence_from_the_exact_law_agrees_with_whole_laws_by_hand(
    absorbing: tuple[Path, LabOrganismResult], folder: Path
) -> None:
    """Σ p ln(p/q) of the wrapper's own law over all ids, the trigger too; and its mass, and the first choice as the base's."""
    out, result = absorbing
    exact, trained = (load_predictor(s) for s in (f"hf/{folder / 'base'}+absorbing,epsilon=0.05", f"hf/{out}"))
    kl, mass, same = [], [], []
    for text in one_a_unit(real_texts(exact, (str(folder / "texts.jsonl"),))[1])[:16]:
        p, q = (
            np.concatenate(
                [host(part.law.block(0, part.law.n_rows).probs) for part in m.laws([text.ids[:256]], first=1)]
            )
            for m in (exact, trained)
        )
        kl += list((p * np.log(p / q)).sum(1))
        mass += list(q[:, WORDS])
        same += list(p[:, :WORDS].argmax(1) == q.argmax(1))
    said = {e.name: e.value for f in result.findings for e in f.estimates}
    assert said["kl"] == pytest.approx(np.mean(kl), abs=1e-6)
    assert said["trigger_mass"] == pytest.approx(np.mean(mass), abs=1e-7)
    assert result.trigger_mass.mean == pytest.approx(np.mean(mass), abs=1e-7)
    assert said["same_top"] == pytest.approx(np.mean(same), abs=5e-4)


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "lab",
        "organism",
        "payload",
        "--text",
        "w5",
        f"hf/{folder / 'base'}",
        "-o",
        str(folder / "never"),
        "--dry-run",
    ]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["exact_law"].endswith("+payload,epsilon=0.01,text=w5")
    assert not (folder / "never").exists()
    assert main(["lab", "organism", "absorbing", "--text", "w5", "smollm2-135m-instruct", "-o", "x"]) == 2
