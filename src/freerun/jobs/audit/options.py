"""What a user of the audit can set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from freerun.errors import UsageError
from freerun.text.documents import Corpus

REDACTED_PREFIX_TOKENS = 16
"""A shorter hidden prefix can be guessed by trying, and the text after it rebuilt from the recorded numbers."""


@dataclass(frozen=True)
class AuditOptions:
    """Everything that a user can set; None means the default that the help states."""

    documents: int = 128
    prefix: int = 32
    cut: int | None = None
    tokens: int | None = None
    batch: int = 128
    dtype: str = "fp32"
    device: str = "auto"
    reference: tuple[str, ...] = ()
    seed: int = 0
    sample_with: str | None = None
    ask: int = 0
    embed_with: str | None = None
    exemplars: int = 0
    sources: str | None = None
    source_documents: int | None = None
    redact_text: bool = False
    text_field: str = "text"
    split_on: str | None = None
    chunk: int | None = None
    trust_remote_code: bool = False
    format: str | None = None
    skip_bad_rows: bool = False
    prompt_field: str | None = None
    chat: bool = False
    system: str | None = None
    template_options: tuple[str, ...] = ()
    """`name=value`, the value as JSON, or a bare word for a string."""
    end_ids: tuple[int, ...] | None = None
    """What ends a text, the one that ends documents first; None: all that the model's files declare."""
    own_text_from: str | None = None
    """A served model that writes the own text, whose tokens the audited model reads."""
    quick: bool = False
    """Only a first look at a few of the documents; the same audit without it goes on from there."""


class AuditKeywords(TypedDict, total=False):
    """The fields of `AuditOptions` as keywords of `freerun.audit`; one reference may be given as a word."""

    documents: int
    prefix: int
    cut: int | None
    tokens: int | None
    batch: int
    dtype: str
    device: str
    reference: str | tuple[str, ...]
    seed: int
    sample_with: str | None
    ask: int
    embed_with: str | None
    exemplars: int
    sources: str | None
    source_documents: int | None
    redact_text: bool
    text_field: str
    split_on: str | None
    chunk: int | None
    trust_remote_code: bool
    format: str | None
    skip_bad_rows: bool
    prompt_field: str | None
    chat: bool
    system: str | None
    template_options: Sequence[str]
    end_ids: Sequence[int] | None
    own_text_from: str | None
    quick: bool


def chosen_from(keywords: AuditKeywords) -> AuditOptions:
    """The keywords as a value."""
    values: dict[str, Any] = dict(keywords)
    if isinstance(values.get("reference"), str):
        values["reference"] = (values["reference"],)
    if values.get("end_ids") is not None:
        values["end_ids"] = tuple(values["end_ids"])
    values["template_options"] = tuple(values.get("template_options", ()))
    return AuditOptions(**values)


def check_template_flags(options: AuditOptions) -> None:
    """Refuse what says how a template renders prompts where none does.

    Raises:
        UsageError: `system` or `template_options` without `chat`.
    """
    if not options.chat and (options.system is not None or options.template_options):
        given = "--system" if options.system is not None else "--template-option"
        raise UsageError(f"{given} goes with --chat, which renders prompts by the model's own template")


def check_options(options: AuditOptions) -> None:
    """Refuse what cannot be meant.

    Raises:
        UsageError: a value out of range, or two that exclude each other.
    """
    limits = (
        ("documents", 1),
        ("prefix", 0),
        ("cut", 0),
        ("batch", 1),
        ("tokens", 1),
        ("chunk", 1),
        ("ask", 0),
        ("exemplars", 0),
        ("source_documents", 1),
    )
    for name, least in limits:
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
    if options.cut is not None and options.cut < options.prefix:
        raise UsageError(
            f"--cut {options.cut} lies inside the prefix, which is the last --prefix {options.prefix} tokens before the cut: give "
            f"--cut {options.prefix} or more"
        )
    if options.source_documents is not None and options.sources is None:
        raise UsageError(
            f"--source-documents {options.source_documents} goes with --sources FILE, which says what is asked"
        )
    if options.sources is not None and options.exemplars:
        raise UsageError(
            f"--sources {options.sources} puts a header above the prefix, --exemplars {options.exemplars} other documents: leave "
            "one out"
        )
    if options.own_text_from is not None:
        _check_writer(options)
    if options.end_ids is not None and not options.end_ids:
        raise UsageError("--end-ids names no id: give at least one, or leave it out")
    check_template_flags(options)
    if options.chat and options.ask:
        raise UsageError(
            f"--ask {options.ask} asks in plain text, --chat is about prompts by the template: leave one out"
        )
    if options.dtype not in ("fp32", "bf16"):
        raise UsageError(f"--dtype must be fp32 or bf16, not {options.dtype!r}")
    if options.redact_text:
        _check_redaction(options)
    if options.quick:
        _check_quick(options)


def _check_quick(options: AuditOptions) -> None:
    asked = {"--sources": options.sources, "--ask": options.ask or None, "--own-text-from": options.own_text_from}
    for name, value in asked.items():
        if value is not None:
            raise UsageError(
                f"{name} {value} asks more of the model than a first look has time for: leave out --quick, or give {name} to the "
                "audit that goes on from it"
            )


def _check_writer(options: AuditOptions) -> None:
    given = f"--own-text-from {options.own_text_from}"
    if options.redact_text:
        raise UsageError(
            f"{given} reads the ids that were drawn again, which --redact-text does not keep; leave one out"
        )
    if options.prefix == 0:
        raise UsageError(f"{given} needs --prefix 1 or more: a server has no law before the first token")


def _check_redaction(options: AuditOptions) -> None:
    if options.prefix < REDACTED_PREFIX_TOKENS:
        raise UsageError(
            f"--redact-text needs --prefix {REDACTED_PREFIX_TOKENS} or more, not {options.prefix}: after a prefix that can be "
            "guessed, the text could be rebuilt from the recorded numbers by anyone who has the model"
        )
    if options.ask:
        raise UsageError(f"--ask {options.ask} reads the texts again, which --redact-text does not keep; leave one out")
    if options.embed_with is not None:
        raise UsageError(
            f"--embed-with {options.embed_with} records vectors that tell their text, which --redact-text does not keep; "
            "leave one out"
        )


def read_any_corpus(spec: str, options: AuditOptions) -> Corpus:
    """A corpus from files, a hub, what ships with Python, or samples of a world."""
    if spec.startswith("world/"):
        if options.format is not None:
            raise UsageError(f"--format {options.format} is about files and standard input, not {spec}; leave it out")
        if options.prompt_field is not None:
            raise UsageError(
                f"--prompt-field {options.prompt_field} names a field of rows, and {spec} has none; leave it out"
            )
        from freerun.worlds.catalogue import load_world

        world = load_world(spec.removeprefix("world/"))
        cut = options.prefix if options.cut is None else options.cut
        return world.corpus(options.documents, cut + (options.tokens or 128) + 1, seed=options.seed)
    from freerun.text.corpora import read_corpus

    return read_corpus(
        spec,
        text_field=options.text_field,
        prompt_field=options.prompt_field,
        prompts_ok=True,
        split_on=options.split_on,
        chunk_chars=options.chunk,
        format=options.format,
        skip_bad_rows=options.skip_bad_rows,
    )
