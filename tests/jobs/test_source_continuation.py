"""Reading a label in a continuation: which spelling counts, where, and what is not read."""

from __future__ import annotations

import pytest

from freerun.jobs.source.continuation import label_reader
from freerun.jobs.source.file import SourceLatent, Value
from freerun.predictors.ngram import byte_ngram

LATENT = SourceLatent(
    "paper",
    (
        Value("The Onion", ("theonion.com",)),
        Value("The New York Times", ("NY Times",)),
        Value("Times", ()),
        Value("C", ()),
        Value("C++", ()),
    ),
    0.1,
    (),
    (),
)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (" The Onion\n\nCNN", "The Onion"),
        (' "the ONION", 2009', "The Onion"),
        (" https://www.theonion.com/articles", "The Onion"),
        (" The New York Times", "The New York Times"),
        (" The Times", "Times"),
        (" Sometimes it is", None),
        ("\n\nNY Times", "The New York Times"),
        (" someone\nThe Onion", None),
        (" Times, not The Onion", "Times"),
        (" C++ 17", "C++"),
        (" C", "C"),
        (" Cats", None),
        ("", None),
        ("\n", None),
    ],
)
def test_the_first_line_is_read(written: str, value: str | None) -> None:
    model = byte_ngram(["any text"], order=2, name="ngram/2")
    ids = model.encode(written)
    assert label_reader(model, LATENT)(ids) == value  # type: ignore[arg-type]
