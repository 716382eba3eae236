"""What a user of `freerun distance` can set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypedDict

from freerun.errors import UsageError, nearest
from freerun.jobs.audit.options import REDACTED_PREFIX_TOKENS, AuditOptions, check_template_flags
from freerun.records.distance import ARMS, Arm
from freerun.stats.two_laws.windows import DEFAULT_WINDOW

PROTOCOLS = ("pairs", "llama.cpp")


@dataclass(frozen=True)
class DistanceOptions:
    """Everything that a user can set; None means the default that the help states."""

    documents: int = 128
    prefix: int = 32
    tokens: int | None = None
    continuations: int = 1
    batch: int = 128
    seed: int = 0
    arms: tuple[Arm, ...] = ARMS
    protocol: str = "pairs"
    window: int = DEFAULT_WINDOW
    """Tokens of a window of `--protocol llama.cpp`."""
    one_at_a_time: bool = False
    redact_text: bool = False
    dtype: str = "fp32"
    device: str = "auto"
    trust_remote_code: bool = False
    end_ids: tuple[int, ...] | None = None
    """What ends a text for both models, the one that ends documents first; None: what the models' files declare."""
    text_field: str = "text"
    split_on: str | None = None
    chunk: int | None = None
    format: str | None = None
    skip_bad_rows: bool = False
    prompt_field: str | None = None
    chat: bool = False
    """Prompts are rendered by A's template, for both models."""
    system: str | None = None
    template_options: tuple[str, ...] = ()
    """`name=value`, the value as JSON, or a bare word for a string."""

    @property
    def reading(self) -> AuditOptions:
        """The same as far as it says how a corpus is read."""
        shared = {f.name for f in fields(AuditOptions)} & {f.name for f in fields(self)}
        return AuditOptions(**{name: getattr(self, name) for name in shared})


class DistanceKeywords(TypedDict, total=False):
    """The fields of `DistanceOptions` as keywords of `freerun.distance`."""

    documents: int
    prefix: int
    tokens: int | None
    continuations: int
    batch: int
    seed: int
    arms: Sequence[str]
    protocol: str
    window: int
    one_at_a_time: bool
    redact_text: bool
    dtype: str
    device: str
    trust_remote_code: bool
    end_ids: Sequence[int] | None
    text_field: str
    split_on: str | None
    chunk: int | None
    format: str | None
    skip_bad_rows: bool
    prompt_field: str | None
    chat: bool
    system: str | None
    template_options: Sequence[str]


def chosen_from(keywords: DistanceKeywords) -> DistanceOptions:
    """The keywords as a value."""
    values: dict[str, Any] = dict(keywords)
    for name in ("arms", "end_ids", "template_options"):
        if values.get(name) is not None:
            values[name] = tuple(values[name])
    return DistanceOptions(**values)


def read_arms(text: str) -> tuple[str, ...]:
    """Arms as they are typed: `real,a,b`."""
    return tuple(part.strip() for part in text.split(","))


def check_options(options: DistanceOptions) -> None:
    """Refuse what cannot be meant.

    Raises:
        UsageError: a value out of range, or two that exclude each other.
    """
    limits = (("documents", 2), ("prefix", 0), ("tokens", 1), ("continuations", 1), ("batch", 1), ("chunk", 1))
    for name, least in limits:
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} must be at least {least}, not {value}")
    for arm in options.arms:
        if arm not in ARMS:
            raise UsageError(
                f"--arms: {arm!r} is none of {', '.join(ARMS)}{nearest(arm, ARMS)}; write them as real,a,b"
            )
    if not options.arms or len(set(options.arms)) < len(options.arms):
        raise UsageError(f"--arms {','.join(options.arms)}: name each of {', '.join(ARMS)} once at most, one at least")
    if options.protocol not in PROTOCOLS:
        raise UsageError(
            f"--protocol must be one of {', '.join(PROTOCOLS)}, not {options.protocol!r}{nearest(options.protocol, PROTOCOLS)}"
        )
    if options.dtype not in ("fp32", "bf16"):
        raise UsageError(f"--dtype must be fp32 or bf16, not {options.dtype!r}")
    if options.end_ids is not None and not options.end_ids:
        raise UsageError("--end-ids names no id: give at least one, or leave it out")
    check_template_flags(options.reading)
    if options.protocol == "llama.cpp":
        if options.prompt_field is not None or options.chat:
            given = "--chat" if options.chat else "--prompt-field"
            raise UsageError(f"{given} has no place in --protocol llama.cpp, whose windows take no notice of prompts")
        if tuple(options.arms) not in (ARMS, ("real",)):
            raise UsageError("--protocol llama.cpp scores real text alone: leave --arms out, or write --arms real")
        if options.tokens is not None:
            raise UsageError(
                f"--tokens {options.tokens}: llama.cpp scores the second half of every --window; leave it out"
            )
    if options.redact_text and options.prefix < REDACTED_PREFIX_TOKENS:
        raise UsageError(
            f"--redact-text needs --prefix {REDACTED_PREFIX_TOKENS} or more, not {options.prefix}: after a prefix that can be "
            "guessed, the text could be rebuilt from the recorded numbers by anyone who has the models"
        )
