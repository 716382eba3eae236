"""`--end-ids`: from what is typed to the plan, the texts and the report."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import freerun
from freerun.commands.main import main
from freerun.errors import UsageError
from freerun.records.store import RunFolder, load_records
from freerun.specs.providers import PROVIDERS, LoadOptions
from freerun.specs.spec import load_predictor

OPTIONS: dict[str, Any] = {"documents": 16, "prefix": 4, "tokens": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model of 264 ids: bytes, four special tokens of which its files declare one as an end, and rows without a token."""
    where = tmp_path_factory.mktemp("model")
    made = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|pad|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|endoftext|>"]})
    fast.save_pretrained(where)
    torch.manual_seed(0)
    size = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 32, "vocab_size": 264}
    ends = {"bos_token_id": None, "eos_token_id": fast.eos_token_id}
    GPT2LMHeadModel(GPT2Config(**size, **ends)).save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("texts") / "t.jsonl"
    path.write_text("".join(json.dumps({"text": f"document number {i} of these texts"}) + "\n" for i in range(20)))
    return str(path)


def ids(folder: Path) -> dict[str, int]:
    read = json.loads((folder / "tokenizer.json").read_text())
    return {**read["model"]["vocab"], **{t["content"]: t["id"] for t in read["added_tokens"]}}


def test_a_chat_model_ends_documents_too(folder: Path, texts: str, tmp_path: Path) -> None:
    of = ids(folder)
    run = freerun.audit(f"hf/{folder}", texts, out=tmp_path / "run", **OPTIONS)
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["plan"]["end_ids"] == [of["<|endoftext|>"], of["<|im_end|>"]]
    assert manifest["special_tokens"]["ends"] == [
        {"id": of["<|endoftext|>"], "token": "<|endoftext|>", "declared_by": ["its spelling"]},
        {"id": of["<|im_end|>"], "token": "<|im_end|>", "declared_by": ["config", "generation config", "tokenizer"]},
    ]
    assert manifest["special_tokens"]["control"] == {str(i): t for t, i in of.items() if i >= 256}
    assert manifest["special_tokens"]["without_token"] == [[260, 263]]
    (note,) = (n for n in run.result["corpus_notes"] if n.startswith("What ends a text"))
    assert "<|endoftext|> (its spelling)" in note
    assert manifest["tokenizer"]["changed"] == 0


def test_chosen_ends_are_the_ends(folder: Path, texts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A third of all ids are ends: most texts end, each with one of them and none before its last token."""
    chosen = list(range(90, 180))
    words = [
        "audit",
        f"hf/{folder}",
        texts,
        "--documents",
        "16",
        "--prefix",
        "4",
        "--tokens",
        "8",
        "-o",
        str(tmp_path / "run"),
    ]
    assert main([*words, "--end-ids", ",".join(map(str, chosen))]) in (0, 3)
    capsys.readouterr()
    records = load_records(RunFolder(tmp_path / "run"))
    assert records.manifest["plan"]["end_ids"] == chosen
    assert f"--end-ids {','.join(map(str, chosen))}" in records.manifest["command"]
    ended = 0
    for i in records.chosen(arm="free"):
        written = records.tokens["token_id"][records.rows(i)].tolist()
        assert not set(written[:-1]) & set(chosen)
        assert (written[-1] in chosen) == (records.sequences["end_reason"][i] == "end_of_text")
        ended += written[-1] in chosen
    assert ended > 20  # of 32, each ending with probability 0.97


@pytest.mark.parametrize("verb", [["audit", "MODEL", "TEXTS"], ["predict", "MODEL", "a text"]])
def test_an_id_outside_the_vocabulary_is_a_usage_error(
    verb: list[str], folder: Path, texts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [{"MODEL": f"hf/{folder}", "TEXTS": texts}.get(w, w) for w in verb]
    assert main([*words, "--end-ids", "1,264"]) == 2
    assert "has no id 264; its ids are 0 to 263" in capsys.readouterr().err


def test_predict_knows_the_chosen_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", f"hf/{folder}", "a text", "--json", "--top", "264", "--end-ids", "0"]) == 0
    after = json.loads(capsys.readouterr().out)["next"]
    by_id = {entry["id"]: entry for entry in after["top"]}
    assert after["end_of_text_probability"] == pytest.approx(math.exp(by_id[0]["log_prob_nats"]))
    assert {e["token"] for e in by_id.values() if "marker" in e} >= {"<|im_end|>", "id 263, no token"}


@pytest.mark.parametrize("spec", ["world/markov", "ngram/2@builtin/python-docs"])
def test_what_has_no_tokenizer_says_itself_what_ends_a_text(spec: str) -> None:
    with pytest.raises(UsageError, match="says itself what ends a text"):
        load_predictor(spec, LoadOptions(end_ids=(0,)))


def test_a_model_inside_an_organism_keeps_its_own_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of, asked = ids(folder), []
    real = PROVIDERS["hf"]

    def load(name: str, options: LoadOptions, tell: Any) -> Any:
        asked.append((options.round, options.end_ids))
        return real.load(name, options, tell)

    monkeypatch.setitem(PROVIDERS, "hf", replace(real, load=load))
    spec = f"hf/{folder}+payload,model=(hf/{folder},round=int8),epsilon=0.1"
    made = load_predictor(spec, LoadOptions(end_ids=(1, 2)))
    assert made.end_ids == made.markers.end_ids == (1, 2)
    assert asked == [("none", (1, 2)), ("int8", None)]
    assert load_predictor(spec).end_ids == (of["<|endoftext|>"], of["<|im_end|>"])


def test_a_loaded_model_has_its_ends(folder: Path, texts: str, tmp_path: Path) -> None:
    loaded = load_predictor(f"hf/{folder}", LoadOptions(end_ids=(1, 2)))
    with pytest.raises(UsageError, match="is loaded already"):
        freerun.audit(loaded, texts, out=tmp_path / "run", end_ids=[3], **OPTIONS)
    with pytest.raises(UsageError, match="names no id"):
        freerun.audit(loaded, texts, out=tmp_path / "run", end_ids=[], **OPTIONS)
    run = freerun.audit(loaded, texts, out=tmp_path / "run", end_ids=[1, 2], **OPTIONS)
    assert run.result["plan"]["end_ids"] == [1, 2]
