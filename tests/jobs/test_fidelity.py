"""Tokenizers that change the text: how many documents, and over which bytes the loss is."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import freerun
from freerun.errors import DataError
from freerun.jobs.audit.fidelity import fidelity, renamed
from freerun.jobs.audit.token_words import changes_in_words
from freerun.jobs.predict import predict
from freerun.predictors.huggingface import HuggingFacePredictor
from freerun.predictors.markers import Markers
from freerun.predictors.rules import Identity
from freerun.predictors.vocabulary import control_tokens
from freerun.predictors.weights.declared import chosen_ends
from freerun.text.documents import Corpus, Document
from freerun.text.pairs import cut_pairs

N_DOCUMENTS = 18
CUT, TOKENS = 3, 6
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def wordpiece(*, lowercase: bool) -> Tokenizer:
    """As BERT: words apart at white space, accents off and lower case, a letter at a time."""
    letters = ALPHABET + ("" if lowercase else ALPHABET.upper())
    words = ["[UNK]", "[SEP]", *letters, *(f"##{c}" for c in letters), "."]
    made = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return made


def byte_level(normalizer: Any = None, *, prefix_space: bool = False) -> Tokenizer:
    """As GPT-2, a byte a token."""
    made = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=False)
    made.decoder = decoders.ByteLevel()
    if normalizer is not None:
        made.normalizer = normalizer
    return made


def metaspace() -> Tokenizer:
    """As Llama 2: ▁ for a space, one put first."""
    made = Tokenizer(
        models.BPE({c: i for i, c in enumerate(["<unk>", "▁", *ALPHABET, ".", "é", "É"])}, [], unk_token="<unk>")
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    made.decoder = decoders.Metaspace(prepend_scheme="never")
    return made


def predictor(tokenizer: Tokenizer, **special: str) -> HuggingFacePredictor:
    """A tiny model with random weights around a tokenizer."""
    torch.manual_seed(0)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    size = len(fast)
    config = GPT2Config(
        vocab_size=size,
        n_embd=8,
        n_layer=1,
        n_head=1,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.3,
    )
    control = control_tokens(fast, size)
    markers = Markers(ends=chosen_ends((size - 1,), control, n_tokens=size, name="m"), control=control)
    return HuggingFacePredictor(
        GPT2LMHeadModel(config), fast, identity=Identity("tiny", "tiny"), lead=(), end_ids=(size - 1,), markers=markers
    )


def corpus(text: str) -> Corpus:
    """So many documents, each with a word of its own at its end."""
    return Corpus(
        spec="texts",
        name="texts",
        documents=tuple(Document(f"d{i}", f"{text} {'ab' * (i + 1)}", f"d{i}") for i in range(N_DOCUMENTS)),
        fingerprint="f",
        independent=True,
        notes=(),
        n_duplicates=0,
        n_near_duplicates=0,
    )


def of(made: HuggingFacePredictor, text: str, *, cut: int = CUT) -> Any:
    texts = corpus(text)
    pairs = cut_pairs(
        texts, made.encode, n_documents=N_DOCUMENTS, prefix_tokens=cut, continuation_tokens=TOKENS, seed=0
    )
    return fidelity(texts, made, pairs)


@pytest.mark.parametrize("text", ["plain words and more", "Ünïcödé 日本語 🙂🙂 words", "  spaces   and\ttabs"])
def test_a_byte_level_tokenizer_changes_nothing(text: str) -> None:
    """Also where the last token is half a character."""
    found = of(predictor(byte_level()), text)
    assert (found.documents, found.changed, found.space_first, found.original_bytes_of) == (N_DOCUMENTS, 0, 0, {})
    assert found.original_bytes == found.token_bytes == N_DOCUMENTS * TOKENS
    assert changes_in_words(found) == []


def test_lower_case_keeps_the_bytes_and_is_counted() -> None:
    found = of(predictor(byte_level(normalizers.Lowercase())), "SHOUTED words and more")
    assert (found.changed, found.space_first) == (N_DOCUMENTS, 0)
    assert found.original_bytes == found.token_bytes
    assert f"{N_DOCUMENTS} of {N_DOCUMENTS} documents" in changes_in_words(found)[0]


def test_composed_accents_have_fewer_bytes_than_the_text() -> None:
    """e + U+0301 (three bytes) becomes é (two): six tokens are three letters, nine bytes of the text."""
    found = of(predictor(byte_level(normalizers.NFC())), unicodedata.normalize("NFD", "abcéééééé words"))
    assert found.changed == N_DOCUMENTS
    assert (found.token_bytes, found.original_bytes) == (N_DOCUMENTS * 6, N_DOCUMENTS * 9)
    assert found.original_bytes_of == {f"d{i}": 9 for i in range(N_DOCUMENTS)}
    assert found.by_offsets


def test_wordpiece_is_spelled_with_its_spaces_and_folds_others() -> None:
    """`abc  defgh …`: the six tokens after `abc` are two spaces and five letters, and one more, of the text."""
    found = of(predictor(wordpiece(lowercase=True), unk_token="[UNK]"), "abc   Défgh ijk lmn")
    assert (found.changed, found.control_tokens) == (N_DOCUMENTS, {})
    assert found.token_bytes == N_DOCUMENTS * len(" defgh i")
    assert found.original_bytes == N_DOCUMENTS * len("   Défgh i".encode())


def test_a_space_put_first_is_not_a_change_of_the_text() -> None:
    for made in (predictor(metaspace(), unk_token="<unk>"), predictor(byte_level(prefix_space=True))):
        found = of(made, "plain words and more")
        assert (found.changed, found.space_first) == (0, N_DOCUMENTS)
        assert found.original_bytes == found.token_bytes == N_DOCUMENTS * TOKENS
        assert "a space before the text" in changes_in_words(found)[0]


def test_the_space_put_first_is_no_byte_of_the_text_where_nothing_is_cut_off() -> None:
    found = of(predictor(metaspace(), unk_token="<unk>"), "plain words and more", cut=0)
    assert (found.token_bytes, found.original_bytes) == (N_DOCUMENTS * TOKENS, N_DOCUMENTS * (TOKENS - 1))


def test_unknown_words_have_bytes_in_the_text_and_none_in_the_tokens() -> None:
    found = of(predictor(wordpiece(lowercase=False), unk_token="[UNK]"), "abc 日本 d ef gh ij")
    assert found.control_tokens == {"[UNK]": N_DOCUMENTS}
    assert found.original_bytes - found.token_bytes == N_DOCUMENTS * len(" 日本".encode())
    assert "[UNK]" in changes_in_words(found)[1]


def test_nothing_but_unknown_words_is_refused() -> None:
    made = predictor(wordpiece(lowercase=False), unk_token="[UNK]")
    texts = corpus("日 本 " * 12)
    pairs = cut_pairs(texts, made.encode, n_documents=N_DOCUMENTS, prefix_tokens=2, continuation_tokens=6, seed=0)
    with pytest.raises(DataError, match=r"not made for this text.*\[UNK\]"):
        fidelity(texts, made, pairs)


def test_names_can_be_hidden() -> None:
    found = of(predictor(byte_level(normalizers.NFC())), unicodedata.normalize("NFD", "abcéééééé words"))
    hidden = renamed(found, {f"d{i}": f"document {i}" for i in range(N_DOCUMENTS)})
    assert set(hidden.original_bytes_of) == {f"document {i}" for i in range(N_DOCUMENTS)}
    assert hidden.original_bytes == found.original_bytes


def test_documents_given_as_ids_have_no_text_to_compare() -> None:
    made = predictor(byte_level())
    texts = corpus("words")
    ids = replace(texts, documents=tuple(replace(d, ids=tuple(range(20))) for d in texts.documents))
    pairs = cut_pairs(ids, made.encode, n_documents=N_DOCUMENTS, prefix_tokens=3, continuation_tokens=6, seed=0)
    assert fidelity(ids, made, pairs).documents == 0


def test_bits_a_byte_are_over_the_bytes_of_the_text(tmp_path: Path) -> None:
    """Nine bytes of text for every six of tokens: two thirds of the bits that the tokens' own bytes give; it is in the report."""
    made = predictor(byte_level(normalizers.NFC()))
    run = freerun.audit(
        made,
        corpus(unicodedata.normalize("NFD", "abcéééééé words")),
        out=tmp_path / "run",
        documents=18,
        prefix=3,
        tokens=6,
    )
    values = {e["name"]: e for e in run.findings["loss"]["estimates"]}
    ratio = values["loss_bits_per_byte"]["value"] / values["loss_bits_per_byte_of_tokens"]["value"]
    assert ratio == pytest.approx(2 / 3)
    nats = values["loss_nats_per_token"]["value"]
    assert values["loss_bits_per_byte"]["value"] == pytest.approx(nats * 6 / math.log(2) / 9)
    assert any(t["title"] == "The tokenizer changes the text" for t in run.result["threats"])
    assert any("changes the text of 18 of 18 documents" in n for n in run.result["corpus_notes"])


def test_predict_counts_the_bytes_of_the_text_too() -> None:
    made = predictor(byte_level(normalizers.NFC()))
    text = unicodedata.normalize("NFD", "aéé")
    total = predict(made, text).sum
    assert (total.n_bytes_scored, total.n_bytes_of_text) == (4, 6)
    assert total.bits_per_byte == pytest.approx(total.nats / math.log(2) / 6)
    plain = predict(made, "aee").sum
    assert plain.n_bytes_scored == plain.n_bytes_of_text == 2


def test_an_end_of_word_sign_is_a_space() -> None:
    """As OpenAI's first GPT: `</w>` ends a word."""
    made = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=60, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    made.train_from_iterator(["plain words and more"] * 4, trainer)
    spelled = predictor(made, unk_token="<unk>")
    ids = np.array(spelled.encode("plain words"))
    assert b"".join(spelled.token_bytes(int(i)) for i in ids) == b"plain words "
