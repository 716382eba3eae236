"""How a corpus is cut for `lab disagreement`: bytes, a learned byte-pair encoding, or a file that runs share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from freerun.errors import DataError, FreerunError, UsageError
from freerun.jobs.lab.disagreement.blocks import ARCHITECTURES, build_network
from freerun.jobs.lab.disagreement.disagreement import disagreement
from freerun.jobs.lab.disagreement.plan import DisagreementPlan, chosen_plan
from freerun.jobs.lab.disagreement.texts import ngram_laws, ngram_of, target_of, texts_of
from freerun.jobs.lab.disagreement.tokens import FILE, Bytes, FastTokens, size_of, tokens_of
from freerun.runs.executors.local import Local

SMALL = {
    "models": 4,
    "sizes": ["small"],
    "architectures": ["lstm", "transformer"],
    "optimizers": ["adamw", "muon"],
    "tokens": 12,
    "train_texts": 64,
    "validation_texts": 16,
    "test_texts": 32,
    "batch": 8,
    "steps": 2,
    "warmup_steps": 1,
    "evaluate_every": 1,
    "target_loss": 7.0,
    "texts_per_rung": 8,
    "permutations": 19,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("essays")
    rng = np.random.default_rng(0)
    words = ["".join(chr(97 + i) for i in rng.integers(0, 26, n)) for n in rng.integers(2, 9, 150)]
    for i in range(40):
        (place / f"{i}.txt").write_text(f"Köln № {i} " + " ".join(rng.choice(words, 120)))
    return place


def plan_of(corpus: Path, tokenizer: str, **changed: object) -> DisagreementPlan:
    return chosen_plan({**SMALL, "source": str(corpus), "tokenizer": tokenizer, **changed})


def test_pieces_are_the_text_cut_by_a_tokenizer_of_the_training_documents(corpus: Path) -> None:
    plan = plan_of(corpus, "bpe:320")
    texts = texts_of(plan)
    assert texts.n_tokens == 320
    assert int(texts.train.max()) < 320
    documents = " ".join(p.read_text() for p in corpus.iterdir())
    assert all(texts.spelled(ids).strip("�") in documents for ids in texts.test)
    in_bytes = texts_of(plan_of(corpus, "bytes"))
    spelled = [len(texts.spelled(ids).encode()) for ids in texts.train]
    assert np.mean(spelled) > 1.2 * in_bytes.train.shape[1]  # a token is more than a byte


def test_any_text_can_be_cut_and_put_together(corpus: Path) -> None:
    learned = tokens_of("bpe:320", [p.read_text() for p in corpus.iterdir()])
    for tokens in (Bytes(), learned):
        for text in ("plain", "Ωmega 你好 \n\t", "a\x00b", ""):
            (ids,) = tokens.encode([text])
            assert tokens.spelled(ids) == text
            assert ids.size == 0 or int(ids.max()) < tokens.n_tokens


def test_other_processes_learn_the_same_tokenizer(corpus: Path) -> None:
    """Each worker learns its own: all must be one."""
    script = (
        "import sys, hashlib; from pathlib import Path\n"
        "from freerun.jobs.lab.disagreement.tokens import tokens_of\n"
        "texts = [p.read_text() for p in sorted(Path(sys.argv[1]).iterdir())]\n"
        "print(hashlib.sha256(tokens_of('bpe:400', texts).to_json().encode()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script, str(corpus)],
            env={**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "3")
    }
    assert len(said) == 1


def test_models_and_ngram_share_the_tokens(corpus: Path, tmp_path: Path) -> None:
    """From end to end; then another run by the tokenizer that the first one left."""
    plan = plan_of(corpus, "bpe:320")
    done = disagreement(plan, out=tmp_path / "run", executor=Local())
    texts, laws = texts_of(plan), ngram_laws(ngram_of(plan), texts_of(plan).test)
    assert laws.shape == (*texts.test.shape, 320)
    assert laws.sum(-1) == pytest.approx(1.0)
    assert 0 < target_of(replace(plan, target_loss=None)) < np.log(320)
    assert len(done.result.models) == 4
    assert done.result.plan is not None
    assert done.result.plan.tokenizer == "bpe:320"
    assert done.result.parting[0].text
    file = tmp_path / "run" / FILE
    shared = plan_of(corpus, str(file))
    assert (texts_of(shared).train == texts.train).all()
    assert shared.hash != plan.hash
    again = plan_of(corpus, shared.tokenizer)  # the name with what the file holds
    assert again == shared
    elsewhere = tmp_path / "a@b" / FILE
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(file.read_bytes())
    there = plan_of(corpus, str(elsewhere)).tokenizer
    assert plan_of(corpus, there).tokenizer == there
    file.write_text(file.read_text().replace('"version"', ' "version"', 1))
    with pytest.raises(DataError, match="is not the tokenizer that this run began with"):
        plan_of(corpus, shared.tokenizer)


def test_plans_in_bytes_keep_their_hash() -> None:
    assert DisagreementPlan().hash == "e9ff9dbb87d38a64"
    assert DisagreementPlan(source="essays", tokenizer="bpe:512").hash != DisagreementPlan(source="essays").hash


def test_512_tokens_leave_models_small() -> None:
    for architecture in ARCHITECTURES:
        assert build_network(architecture, "large", 512, seed=0).n_parameters <= 300_000


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bpe:100", "from 300 to 8,192"),
        ("bpe:many", "bpe:N"),
        ("smollm2-135m-instruct", "does not fit small models"),
        ("absent.json", "absent.json"),
        ("broken.json", "is not a tokenizer.json"),
        ("large.json", "more than the 8,192"),
    ],
)
def test_what_is_refused(name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text("{}")
    large = {"type": "WordLevel", "vocab": {f"w{i}": i for i in range(9000)}, "unk_token": "w0"}
    Path("large.json").write_text(json.dumps({"version": "1.0", "model": large, "added_tokens": []}))
    with pytest.raises(FreerunError, match=words):
        chosen_plan({"source": "essays", "tokenizer": name})


def test_a_world_has_tokens_of_its_own() -> None:
    with pytest.raises(UsageError, match="tokens of its own"):
        chosen_plan({"tokenizer": "bpe:512"})
    assert size_of("bpe:512") == 512
    assert isinstance(tokens_of("bpe:300", ["a b"]), FastTokens)
