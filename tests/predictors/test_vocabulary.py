"""The bytes of ids: joined, they are the text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from freerun.predictors.vocabulary import byte_table

TEXTS = ["Déjà vu — naïve café, 日本語, emoji 🙂🙂 and   spaces\n\ttabs", "plain words, plain words and 12345 numbers"]


def byte_level() -> PreTrainedTokenizerFast:
    """As GPT-2 and Llama 3: bytes spelled with printable characters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|end|>", "<|pad|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 20, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
    wrapped.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return wrapped


def sentencepiece() -> PreTrainedTokenizerFast:
    """As Gemma: ▁ for a space and a token for every byte that has no other."""
    words = ["<unk>", "<eos>", *(f"<0x{i:02X}>" for i in range(256)), "▁", *"adeilnoprstuvw", "▁p", "▁▁", "é"]
    vocabulary = {word: i for i, word in enumerate(words)}
    merges = [("▁", "p"), ("▁", "▁")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>")


TOKENIZERS = {"byte level": byte_level(), "sentencepiece": sentencepiece()}


def joined(tokenizer: Any, text: str) -> bytes:
    table = byte_table(tokenizer, len(tokenizer))
    return b"".join(table[i] for i in tokenizer.encode(text, add_special_tokens=False))


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None, max_examples=60)
@given(text=st.one_of(st.text(), st.sampled_from(TEXTS)))
def test_the_bytes_of_a_text_give_the_text_back(name: str, text: str) -> None:
    if "▁" in text and name == "sentencepiece":
        return  # that character is its spelling of a space
    assert joined(TOKENIZERS[name], text) == text.encode()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_markers_stand_for_no_bytes(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    table = byte_table(tokenizer, len(tokenizer) + 5)
    assert len(table) == len(tokenizer) + 5
    assert table[-5:] == [b""] * 5
    assert {table[i] for i in tokenizer.all_special_ids} == {b""}
    assert all(table[i] for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids)


def test_an_added_word_keeps_its_bytes() -> None:
    tokenizer = TOKENIZERS["byte level"]
    table = byte_table(tokenizer, len(tokenizer))
    assert table[tokenizer.convert_tokens_to_ids("<tool>")] == b"<tool>"
    assert joined(tokenizer, "a <tool> b") == b"a <tool> b"


def test_a_table_may_be_shorter_than_the_tokenizer() -> None:
    assert len(byte_table(TOKENIZERS["byte level"], 10)) == 10


def test_every_single_byte_is_spelled() -> None:
    assert {bytes([i]) for i in range(256)} <= set(byte_table(TOKENIZERS["byte level"], 300))
    assert {bytes([i]) for i in range(256)} <= set(byte_table(TOKENIZERS["sentencepiece"], 300))


def test_a_word_bytelevel_in_a_sentencepiece_vocabulary() -> None:
    words = ["<unk>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "a", "é", "ByteLevel"]
    t = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    f = PreTrainedTokenizerFast(tokenizer_object=t, unk_token="<unk>")
    table = byte_table(f, len(words))
    assert b"".join(table[i] for i in f.encode("é a日")) == "é a日".encode()


def test_ids_with_holes_keep_their_bytes() -> None:
    t = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1, "b": 5}, unk_token="<unk>"))
    assert byte_table(PreTrainedTokenizerFast(tokenizer_object=t, unk_token="<unk>"), 8)[5] == b"b"
