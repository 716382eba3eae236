"""A section for a model card, and its evaluation metadata as the Hugging Face hub reads it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from freerun.findings.registry import QUESTIONS
from freerun.findings.two_laws.quantities import QUANTITIES as DISTANCES
from freerun.records.distance import KIND as DISTANCE
from freerun.records.plan import PromptPlan, read_plan
from freerun.report.visible import visible
from freerun.results.first_look import FirstLook
from freerun.results.json import from_json


def card_section(result: Mapping[str, Any]) -> str:
    """A section in Markdown: the verdict, the numbers with their intervals, how they were measured, and the command."""
    plan, counts = result["plan"], result["counts"]
    sampling = read_plan(plan).sampling.describe()
    lines = [
        "## Free-running text (freerun)",
        "",
        *_partial(result),
        _plain(result["verdict"]["sentence"]),
        "",
        *_rows(result),
        "",
        f"Measured with freerun {result['freerun_version']} on {_plain(plan['corpus'])}: {counts['pairs']} documents, "
        f"{_before(plan)}; sampled with {sampling}. The document is the "
        "independent unit. H75 is the length from which a simple detector tells the model's own text from real text with AUC 0.75; "
        "it speaks of this corpus and these lengths.",
        "",
        "    " + _plain(result["command"]),
        "",
    ]
    return "\n".join(lines)


def _rows(result: Mapping[str, Any]) -> list[str]:
    """The chosen numbers as a table."""
    rows = [f"| {label} | {_said(e)} | {_interval(e)} | {e['n'] or ''} |" for label, e in _chosen(result)]
    return ["| | value | 95% interval | documents |", "|---|---|---|---|", *rows]


def distance_section(result: Mapping[str, Any]) -> str:
    """A section in Markdown about a distance, for the card of B: one sentence, the numbers, and the command."""
    plan = result["plan"]
    lines = [
        "## Distance from the model that it was made from (freerun)",
        "",
        distance_sentence(result),
        "",
        *_rows(result),
        "",
        f"A is {_plain(plan['a']['model'])}, B is {_plain(plan['b']['model'])}. Whole texts are those that both write, of up "
        f"to {plan['tokens']} tokens at temperature 1. The total variation bounds what any test on one of them can do, averaged "
        "over these prefixes; K is an estimate.",
        "",
        "    " + _plain(result["command"]),
        "",
    ]
    return "\n".join(lines)


def distance_sentence(result: Mapping[str, Any]) -> str:
    """What a distance says of B, in one sentence that can stand in any card."""
    plan, found = result["plan"], result["certificate"]
    e = {e["name"]: e for f in result["findings"] for e in f["estimates"]}
    same = e.get("same_top")
    parts = [_away(e, int(plan["tokens"]))]
    if same is not None and same["value"] is not None:
        parts.append(f"has the same most probable token {same['value']:.1%} of the time")
    if found is not None and found["sides_agree"]:
        parts.append(_certified(found))
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"
    a, b, corpus = (_plain(name) for name in (plan["a"]["model"], plan["b"]["model"], plan["corpus"]))
    return (
        f"Beside {a}, this model ({b}) is {listed} (95% confidence; {plan['documents']} documents of {corpus}; freerun "
        f"{result['freerun_version']})."
    )


def _away(e: Mapping[str, Mapping[str, Any]], tokens: int) -> str:
    """How far: by the divergence of single tokens, or of whole texts where a server tells no whole laws."""
    if (kl := e.get("kl_nats")) is not None:
        return f"{_said(kl)} a token away (KL, {_interval(kl)})".replace(" nats/token a token", " nats a token")
    if (k := e.get("k_nats")) is None:
        return "an unknown distance away"
    said = f"{_said(k)} away (K of texts of up to {tokens} tokens, {_interval(k)})"
    return said.replace(" nats/text away", " nats a text away")


def _certified(found: Mapping[str, Any]) -> str:
    limit = min(1.0, math.ceil(found["tv"] * 1000) / 1000)
    if limit >= 1.0:
        return f"nothing is certified of texts of {found['tokens']} tokens"
    return (
        f"no test on one text of up to {found['tokens']} tokens tells the two apart with a true- minus false-positive rate above "
        f"{limit:.3f}"
    )


def _partial(result: Mapping[str, Any]) -> list[str]:
    """That the numbers are those of a first look, where they are."""
    look = result.get("first_look")
    return [] if look is None else [f"*This is {from_json(FirstLook, look).describe()}.*", ""]


def _before(plan: Mapping[str, Any]) -> str:
    """What stands before the texts, and how long they are."""
    if plan.get("prompts") is None:
        return f"{plan['prefix']} tokens of prefix, {plan['tokens']} after the cut"
    return (
        f"prompts fed {from_json(PromptPlan, plan['prompts']).describe()}, responses of up to {plan['tokens']} tokens"
    )


def model_index(result: Mapping[str, Any]) -> dict[str, Any]:
    """The `model-index` of a README's front matter (huggingface/hub-docs, modelcard.md): any corpus, shown on the model page."""
    plan = result["plan"]
    dataset = _dataset(plan["corpus"])
    metrics = []
    for label, e in _chosen(result):
        if e["value"] is None:
            continue  # a metric is a number; what lies beyond the lengths measured stands in the section
        metrics.append(
            {
                "type": e["name"],
                "name": f"{label} ({e['unit']})",
                "value": float(f"{e['value']:.6g}"),
                "args": {"low": e["low"], "high": e["high"], "level": e["level"], "documents": e["n"]},
            }
        )
    return {
        "model-index": [
            {
                "name": plan["b"]["model"] if result["kind"] == DISTANCE else plan["model"],
                "results": [
                    {
                        "task": {"type": "text-generation", "name": "Free-running text"},
                        "dataset": dataset,
                        "metrics": metrics,
                    }
                ],
            }
        ]
    }


def eval_results(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries for `.eval_results/*.yaml` (huggingface/hub-docs, eval_results.yaml); none unless the corpus is one of the hub.

    The hub lists them on a leaderboard only where the data set declares itself a benchmark with these tasks.
    """
    corpus = re.match(r"hf/([^/\[]+/[^/\[@]+)", result["plan"]["corpus"])
    if corpus is None:
        return []
    entries = []
    for _, e in _chosen(result):
        if e["value"] is not None:
            entries.append(
                {
                    "dataset": {"id": corpus[1], "task_id": f"freerun_{e['name']}"},
                    "value": float(f"{e['value']:.6g}"),
                    "date": result["created"],
                    "notes": f"{e['unit']}, 95% interval {_interval(e)}, {e['n']} documents, {result['command']}",
                }
            )
    return entries


def yaml_text(value: Any, indent: int = 0) -> str:
    """Plain data as YAML, strings quoted as in JSON (which is YAML), None as null.

    >>> print(yaml_text({"a": [{"b": 1, "c": "x: y"}], "d": []}), end="")
    "a":
      - "b": 1
        "c": "x: y"
    "d": []
    """
    pad = " " * indent
    if isinstance(value, Mapping) and value:
        out = ""
        for key, held in value.items():
            if isinstance(held, (Mapping, list)) and held:
                out += f"{pad}{json.dumps(str(key))}:\n{yaml_text(held, indent + 2)}"
            else:
                out += f"{pad}{json.dumps(str(key))}: {json.dumps(held, ensure_ascii=False)}\n"
        return out
    if isinstance(value, list) and value:
        out = ""
        for held in value:
            block = yaml_text(held, indent + 2)
            out += f"{pad}- {block.lstrip()}"
        return out
    return f"{pad}{json.dumps(value, ensure_ascii=False)}\n"


def _chosen(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    held = {(f["name"], e["name"]): e for f in result["findings"] for e in f["estimates"]}
    of_audits = (q for question in QUESTIONS for q in question.quantities)
    shown = [q for q in (DISTANCES if result["kind"] == DISTANCE else of_audits) if q.card]
    return [(q.label, held[q.finding, q.name]) for q in shown if (q.finding, q.name) in held]


def _dataset(corpus: str) -> dict[str, Any]:
    found = re.match(r"hf/([^/\[]+/[^/\[@]+)(?:@([^\[]+))?(?:\[(.+)\])?", corpus)
    if found is None:
        return {"type": re.sub(r"[^A-Za-z0-9._/-]+", "-", corpus), "name": corpus}
    dataset = {"type": found[1], "name": found[1]}
    dataset |= {"revision": found[2]} if found[2] else {}
    return dataset | ({"split": found[3]} if found[3] else {})


def _said(e: Mapping[str, Any]) -> str:
    if e["value"] is None:
        return _plain(f"{e['text'] or 'not known'} {e['unit']}")
    return f"{e['value']:.4g} {e['unit']}".replace("-", "−", 1)


def _interval(e: Mapping[str, Any]) -> str:
    if e["low"] is None and e["high"] is None:
        return "–"
    low = ("first token" if e["unit"] == "tokens" else "open") if e["low"] is None else f"{e['low']:.4g}"
    high = "beyond" if e["high"] is None else f"{e['high']:.4g}"
    return f"{low} to {high}".replace("-", "−")


def _plain(text: str) -> str:
    """Text of a run in a card: one line, no markup of its own, nothing unseen."""
    one = visible(" ".join(str(text).split()))
    return re.sub(r"([\\`|<>\[\]])", r"\\\1", one)
