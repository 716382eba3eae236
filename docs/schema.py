"""The JSON Schemas of results, made from their types: `python docs/schema.py` writes them, a test holds them.

`result.schema.json` is of an audit's `result.json`; distances, verifications, loops and the lab have files of their own.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import textwrap
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from freerun.jobs.loops.loops import SCHEMA_VERSION as LOOPS_VERSION
from freerun.records.distance import DistancePlan
from freerun.records.plan import AuditPlan, Nature
from freerun.results.audit import RESULT_VERSION, AuditResult
from freerun.results.disagreement import DISAGREEMENT_VERSION, DisagreementResult
from freerun.results.distance import RESULT_VERSION as DISTANCE_VERSION
from freerun.results.distance import DistanceResult
from freerun.results.lab_organism import LAB_ORGANISM_VERSION, LabOrganismResult
from freerun.results.loops import LoopsResult
from freerun.results.verify import VERIFY_VERSION, VerifyResult

HERE = Path(__file__).parent
PAGE = HERE / "result.schema.json"
SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
TYPED = {("AuditResult", "plan"): AuditPlan, ("DistanceResult", "plan"): DistancePlan}
"""Parts that the result holds as they stand in the manifest, and the types that they were made from."""
LATER = {
    "own_text",
    "corpus_notes",
    "model",
    "outcome",
    "degenerate",
    "ends",
    "refused",
    "where",
    "interval",
    "tokenizer",
}
"""Keys that results of earlier versions do not have."""


def schema_of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of one type; dataclasses go into `definitions` by their names."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in SIMPLE:
        return {"type": SIMPLE[kind]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(a, definitions) for a in arguments]}
    if origin in (tuple, list):
        if origin is tuple and arguments[-1] is not Ellipsis:
            n = len(arguments)
            return {
                "type": "array",
                "prefixItems": [schema_of(a, definitions) for a in arguments],
                "minItems": n,
                "maxItems": n,
            }
        return {"type": "array", "items": schema_of(arguments[0], definitions)}
    if dataclasses.is_dataclass(kind):
        name = kind.__name__
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = _object(kind, definitions)
        return {"$ref": f"#/$defs/{name}"}
    return {"type": "object"} if origin is dict else {}


def _object(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    hints, words = get_type_hints(kind), _words(kind)
    properties = {}
    for field in dataclasses.fields(kind):
        made = schema_of(TYPED.get((kind.__name__, field.name), hints[field.name]), definitions)
        properties[field.name] = {**made, **({"description": words[field.name]} if field.name in words else {})}
    required = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING and f.name not in LATER]
    described = {"description": " ".join((kind.__doc__ or "").split())}
    return {
        "type": "object",
        **described,
        "required": required,
        "additionalProperties": False,
        "properties": properties,
    }


def _words(kind: Any) -> dict[str, str]:
    """The strings that stand below the fields of a class and of those it is made from."""
    words: dict[str, str] = {}
    for cls in reversed(kind.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined]
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                words[field.target.id] = " ".join(str(text.value.value).split())  # type: ignore[union-attr]
    return words


def schema(kind: type = AuditResult, *, what: str = "result.json", version: int = RESULT_VERSION) -> str:
    """The whole schema of a kind of result, as the file holds it."""
    definitions: dict[str, Any] = {}
    whole = schema_of(kind, definitions)
    schema_of(Nature, definitions)
    made = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"freerun {what}, version {version}",
        "description": f"{SAYS[kind]} Natural logarithms; unknown is null, never 0; no NaN or Infinity.",
        **whole,
        "$defs": definitions,
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


SAYS: dict[type, str] = {
    AuditResult: "What an audit says.",
    DistanceResult: "What a distance between two models says.",
    VerifyResult: "What a verification of samples says.",
    LoopsResult: "What is said of loops in texts.",
    DisagreementResult: "What is said of models of one loss on texts of which the loss says nothing.",
    LabOrganismResult: "What a trained organism costs and does.",
}


def schemas() -> dict[Path, str]:
    """Every file with what belongs into it."""
    return {
        PAGE: schema(),
        HERE / "distance.schema.json": schema(
            DistanceResult, what="result.json of a distance", version=DISTANCE_VERSION
        ),
        HERE / "verify.schema.json": schema(VerifyResult, what="result.json of a verification", version=VERIFY_VERSION),
        HERE / "loops.schema.json": schema(LoopsResult, what="loops --json", version=LOOPS_VERSION),
        HERE / "disagreement.schema.json": schema(
            DisagreementResult, what="result.json of lab disagreement", version=DISAGREEMENT_VERSION
        ),
        HERE / "organism.schema.json": schema(
            LabOrganismResult, what="result.json of lab organism", version=LAB_ORGANISM_VERSION
        ),
    }


if __name__ == "__main__":
    for page, text in schemas().items():
        page.write_text(text)
