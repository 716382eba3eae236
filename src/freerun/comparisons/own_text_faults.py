"""Own text that is not evidence of the law that was to be sampled: what a gate says of it, and what would decide it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freerun.results.audit import Fault

FAULTS: dict[Fault, tuple[str, str]] = {
    "sampler_audit": (
        "the sampler's audit failed: own text was not drawn from the model's law, and the text of another law is not judged",
        "mend the sampler; `sampler_p<0.001` is the gate that fails for it",
    ),
    "rescoring": (
        "own text is refused as evidence: the sampler's law is not the scorer's",
        "mend the backend until a fresh pass over own text gives the laws that were recorded while sampling",
    ),
}
"""What is said of a gate on own text that is not evidence, and what would decide it."""


def fault_of_own_text(result: Mapping[str, Any]) -> Fault | None:
    """Why own text is not evidence of the law that was to be sampled; None where it is."""
    fault: Fault | None = result.get("own_text", {}).get("fault")
    return fault


def sampler_alone_passed(result: Mapping[str, Any]) -> bool:
    """Whether the sampler's audit passed although the laws that it was held against are not the model's."""
    own_text = result["own_text"]
    return bool(own_text["fault"] == "rescoring" and own_text["sampler_audit"] == "passed")
