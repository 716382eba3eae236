"""A made-up result with everything that the page must survive; its numbers mean nothing."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from freerun.results.finding import Chart, Estimate, Finding, Series, Table, to_json

NASTY = "<script>alert('x')</script> \x1b[31mred\x1b[0m \u202egnp.exe\u202c nul:\x00 \ud83d\ude00".encode(
    "utf-16", "surrogatepass"
).decode("utf-16")
LONG_WORD = "Donaudampfschifffahrt" * 12
LENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


def example_result() -> dict[str, Any]:
    """Return a result dict as `json.load` would give it."""
    result = {
        "schema_version": 1,
        "kind": "audit",
        "freerun_version": "0.1.0",
        "created": "2026-11-22T10:00:00Z",
        "title": "smollm2-135m-instruct on builtin/python-docs",
        "verdict": {
            "sentence": "Running free, the model is told from real text after 23 tokens, although it predicts "
            "the next token at 3.05 nats.",
            "points": [
                {"label": "What was measured", "text": "128 documents, 32-token prefixes, 128 tokens each."},
                {"label": "What came out", "text": "Told apart after 23 tokens."},
                {"label": "How sure", "text": "Both controls stay inside their permutation bands."},
            ],
            "strength": "firm",
            "next_step": {"words": "The same command with", "type": "--sweep prefix=8,32,128"},
            "status": "bad",
        },
        "headline": [
            _card("Loss", "3.05", "nats/token", "2.95 to 3.16", "1.31 bits per byte, teacher-forced", "loss"),
            _card(
                "Free-run horizon H75",
                "23",
                "tokens",
                "15 to 31",
                "where the detector reaches AUC 0.75",
                "detectability",
            ),
            _card("H60", "9", "tokens", "6 to 13", ""),
            _card("H90", "71", "tokens", "52 to 96", ""),
            _card("Texts that loop", "2.3", "%", "0.5 to 6.7", "of free texts; 0 of 128 real ones"),
        ],
        "yardsticks": {
            "title": "Is 23 tokens good or bad?",
            "sentence": "The later a text is told from real text, the better it runs. The same detector, with the same "
            "number of documents, on pairs whose answer is known:",
            "columns": ["Comparison", "H75", "Interval", "AUC at 128"],
            "rows": [
                ["this model vs real text", "23", "15 to 31", "0.97"],
                ["temperature 0.9 vs real text", "12", "8 to 19", "0.99"],
                ["real vs real", "later than 128", "–", "0.51"],
            ],
            "scale": [
                _yardstick("this model vs real text", 23.0, 15, 31, "", "free"),
                _yardstick("temperature 0.9 vs real text", 12.0, 8, 19, "", "tempered"),
                _yardstick("1% absorbing token", 96.0, 70, None, "", "other"),
                _yardstick("real text vs real text", None, None, None, "later than 128", "control"),
                _yardstick("model vs itself", None, 101, None, "later than 128", "control"),
                _yardstick("top-k 50 vs the model", None, None, 1, "first token", "reference"),
            ],
            "scale_max": 128,
        },
        "findings": [_detectability(), _loss(), _drift(), _loops(), _hostile()],
        "texts": [
            {
                "document_id": "topic/assignment",
                "why": "random (seed 0)",
                "prefix": "Assignment statements\n*********************\n\nAssignment statements are used to (re)bind",
                "real": "names to values and to modify attributes or items of mutable objects:\n\n   assignment_stmt: "
                '(target_list "=")+ (starred_expression | yield_expression)\n   target_list:     target ("," target)* '
                '[","]\n\n(See section Primaries for the syntax definitions.)',
                "free": [
                    "the value of a variable to another name. The value is evaluated when the statement is run and the "
                    "name is bound in the current scope.\n\nExample:\n\n   >>> x = 1\n   >>> x = x + 1\n",
                    "a sequence of names in a single statement, which is the most general form. An assignment may be "
                    "a sequence, a sequence of names, or a sequence of sequences.",
                ],
                "facts": [["detector score", "1.3"], ["z on free text", "0.2"], ["surprisal, real", "3.1"]],
            },
            {
                "document_id": f"module/{NASTY}",
                "why": "worst: the detector is surest here",
                "prefix": NASTY,
                "real": f"A line\nand another\r\n{NASTY}",
                "free": [LONG_WORD, "\u0627\u0644\u0646\u0635 \u0627\u0644\u062d\u0631 " * 6],
                "facts": [["detector score", "9.8"]],
            },
        ],
        "threats": [
            {
                "title": "Instruct-tuned weights, fed raw text",
                "text": "The chat template is off. A base model may run further before it is told apart.",
            },
            {"title": "4-bit weights", "text": "Rounding changes the law; these numbers speak of the rounded model."},
            {
                "title": "The corpus is likely in the training data",
                "text": "4.1% of free 13-grams stand word for word in the corpus, against 3.8% of real ones.",
            },
        ],
        "plan": {
            "documents": 128,
            "prefix_tokens": 32,
            "tokens": 128,
            "seed": 1234567,
            "end_ids": [0, 2],
            "bos": False,
        },
        "provenance": {"weights_sha256": "9f86d081884c7d659a2feaa0c55ad015" * 2, "torch": "2.13.0+cpu", "commit": None},
        "counts": {"documents_found": 214, "too_short": 78, "exact_duplicates_dropped": 8, "kept": 128},
        "command": "freerun audit smollm2-135m-instruct builtin/python-docs --documents 128 --prefix 32 --tokens 128 "
        "--seed 1234567 -o runs/smollm2-python-docs",
    }
    loaded: dict[str, Any] = json.loads(json.dumps(to_json(result)))
    return loaded


@pytest.fixture
def result() -> dict[str, Any]:
    return example_result()


def _card(label: str, value: str, unit: str, interval: str, note: str, finding: str = "") -> dict:
    return {"label": label, "value": value, "unit": unit, "interval": interval, "note": note, "finding": finding}


def _yardstick(label: str, value: float | None, low: float | None, high: float | None, text: str, role: str) -> dict:
    where = {"later than 128": "beyond", "first token": "before"}.get(text, "inside")
    return {"label": label, "value": value, "low": low, "high": high, "text": text, "role": role, "where": where}


def _auc(t: float, kappa: float) -> float:
    return 0.5 * (1 + math.erf(math.sqrt(kappa * t / 2)))


def _curve(name: str, role: str, kappa: float, half: float) -> Series:
    y = tuple(_auc(t, kappa) for t in LENGTHS)
    return Series(name, role, y, tuple(max(0.4, v - half) for v in y), tuple(min(1.0, v + half) for v in y))


def _band(name: str, centre: float, half: float) -> Series:
    n = len(LENGTHS)
    low = tuple(centre - half * (1 + 0.1 * (i % 3)) for i in range(n))
    high = tuple(centre + half * (1 - 0.1 * (i % 2)) for i in range(n))
    return Series(name, "control", (centre,) * n, low, high, band_only=True)


def _detectability() -> Finding:
    chart = Chart(
        "auc",
        "Telling free text from real text, by length",
        "tokens compared",
        "AUC of the detector",
        LENGTHS,
        (
            _curve("free against real", "free", 0.02, 0.05),
            _curve("temperature 0.9 against real", "tempered", 0.045, 0.04),
            _band("real against real", 0.5, 0.06),
            _band("model against itself", 0.505, 0.045),
        ),
        x_scale="log2",
        y_range=(0.4, 1.0),
        levels=((0.5, "chance"), (0.75, "H75")),
        caption="Bands hold the middle 95% of 200 permutations; the intervals are document bootstraps.",
    )
    return Finding(
        "detectability",
        "How soon is free text told from real text?",
        "A detector that sees only likelihoods reaches AUC 0.75 after 23 tokens, interval 15 to 31.",
        "bad",
        (
            Estimate("h75", "Horizon H75", 23.0, "tokens", 15.0, 31.0, 0.95, 128, method="isotonic in T, bootstrap"),
            Estimate(
                "h99",
                "Horizon H99",
                None,
                "tokens",
                101.0,
                None,
                0.95,
                128,
                method="isotonic in T",
                text="later than 128",
            ),
            Estimate("tv", "Total variation at 128, lower bound", 0.8412, "", 0.8412, None, 0.95, 64, text="one-sided"),
        ),
        (chart,),
        (
            Table(
                "tests",
                "First length at which a test rejects (Holm)",
                ("Test", "T", "p", "n"),
                (("energy distance", "16", "0.004", "64"), ("classifier, n-grams", "64", "0.012", "64")),
            ),
        ),
        "Null: the two texts of a pair are exchangeable. Unit: the document. Fixed n. Assumes independent documents.",
        ("The detector was picked by cross-fitting inside the training documents.", "3% of pairs ended early."),
    )


def _loss() -> Finding:
    bins = tuple(i / 10 + 0.05 for i in range(10))
    y = tuple(b + 0.04 * math.sin(6 * b) for b in bins)
    chart = Chart(
        "calibration",
        "Calibration over the whole vocabulary",
        "probability given",
        "share that came true",
        bins,
        (
            Series("real text", "real", y, tuple(v - 0.03 for v in y), tuple(v + 0.03 for v in y)),
            Series("a perfectly calibrated law", "reference", bins),
        ),
    )
    return Finding(
        "loss",
        "What does it cost to predict the real text?",
        "3.05 nats per token; probabilities are calibrated to within 4 points.",
        "good",
        (Estimate("loss", "Loss", 3.0512, "nats/token", 2.95, 3.1601, 0.95, 128, method="document-clustered"),),
        (chart,),
        licence="Unit: the document. The interval is a document bootstrap.",
    )


def _drift() -> Finding:
    x = tuple(float(i) for i in range(1, 129))
    real = tuple(3.1 + 0.25 * math.sin(i / 3) * math.exp(-i / 60) for i in x)
    free = tuple(None if 40 < i < 47 else 3.1 + 0.006 * i + 0.15 * math.sin(i / 2) for i in x)
    chart = Chart(
        "entropy",
        "Entropy of the next-token law, by position",
        "position in the continuation (tokens)",
        "entropy (nats)",
        x,
        (
            Series("real text", "real", real, tuple(v - 0.2 for v in real), tuple(v + 0.2 for v in real)),
            Series(
                "free text",
                "free",
                free,
                tuple(None if v is None else v - 0.25 for v in free),
                tuple(None if v is None else v + 0.25 for v in free),
            ),
        ),
    )
    return Finding(
        "drift", "Does the model drift?", "Entropy rises by 0.8 nats over 128 tokens.", "neutral", (), (chart,)
    )


def _loops() -> Finding:
    empty = Chart(
        "empty",
        "Time to the first loop",
        "tokens",
        "share that loops",
        LENGTHS,
        (Series("free text", "free", (None,) * 8), Series("real text", "real", (None,) * 8)),
        x_scale="log2",
    )
    single = Chart(
        "single",
        "Loops at the only length that was measured",
        "tokens",
        "share that loops",
        (128.0,),
        (Series("free text", "free", (0.023,), (0.005,), (0.067,)),),
        x_scale="log2",
    )
    return Finding(
        "loops",
        "Does it fall into loops?",
        "Too few loops to say.",
        "unknown",
        (Estimate("hazard", "Hazard", 0.0000123, "per token", -0.00002, 0.00004, 0.95, 128),),
        (empty, single),
    )


def _hostile() -> Finding:
    chart = Chart(
        NASTY,
        f"Title {NASTY}",
        f"x {NASTY}",
        f"y {NASTY}",
        (0.0, 1.0, 3.0),
        (Series(NASTY, NASTY, (-1.5, None, 2e6)), Series(LONG_WORD, "other", (1.0, 2.0, 3.0))),
        levels=((0.0, NASTY),),
        caption=NASTY,
    )
    return Finding(
        NASTY,
        f"What about {NASTY}?",
        f"{NASTY} {LONG_WORD}",
        NASTY,
        (Estimate("n", NASTY, None, NASTY, text=NASTY, method=LONG_WORD),),
        (chart,),
        (Table("t", NASTY, (NASTY, "b"), ((NASTY, LONG_WORD), ("1", "2"))),),
        NASTY,
        (NASTY,),
    )
