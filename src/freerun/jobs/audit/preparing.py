"""From what was asked to what will be done: corpus read, model loaded, pairs cut, manifest drawn up. Nothing is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from freerun.counted import counted
from freerun.errors import UsageError
from freerun.jobs.audit.fidelity import fidelity, renamed
from freerun.jobs.audit.manifest import REFERENCE_ORDER, REFERENCE_TOKENS, default_folder, manifest_of
from freerun.jobs.audit.options import AuditOptions, check_options, read_any_corpus
from freerun.jobs.audit.prompting import check_fits_prompts, feeding_of, prompted
from freerun.jobs.served.writers import check_rule_is_sent, read_by
from freerun.organisms.dressing import measured_view
from freerun.organisms.memorised import without_calibration
from freerun.organisms.wrapper import from_nothing
from freerun.predictors.arithmetic import is_rounded
from freerun.predictors.base import Predictor
from freerun.predictors.chat import Feeding
from freerun.predictors.reference import Beside, Reference, check_shares_tokens, default_reference
from freerun.predictors.rules import SamplingRule
from freerun.records.layout import first_pairs, layout_of
from freerun.records.manifest import Damaged
from freerun.records.measure import Unit, queue_of, units_of
from freerun.records.plan import MeasurePlan
from freerun.records.store import RunFolder
from freerun.specs.providers import load_named_encoder
from freerun.specs.spec import LoadOptions, load_predictor, loader_of
from freerun.text.documents import Corpus
from freerun.text.exemplars import with_exemplars
from freerun.text.first_look import first_look
from freerun.text.leading import Encode
from freerun.text.pairs import PairSet, cut_pairs, numbered

if TYPE_CHECKING:
    from freerun.predictors.encoder import Encoder

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """An audit that is ready to be measured. `unit_names`: what the units of the pairs are called in the records, where not as
    in the corpus."""

    predictor: Predictor
    corpus: Corpus
    pairs: PairSet
    plan: MeasurePlan
    others: tuple[Predictor, ...]
    encoder: Encoder | None
    options: AuditOptions
    manifest: dict[str, Any]
    folder: RunFolder
    unit_names: dict[str, str]
    feeding: Feeding | None = None
    """How prompts are put to the model; None where documents are cut."""
    first: tuple[int, ...] = ()
    """The pairs of a first look, which are parts of their own; empty where there is none."""

    def describe(self) -> str:
        """What will be measured now, for people."""
        n, pairs = sum(len(u.pairs) for u in self.wanted if u.arm == "real"), self.pairs
        before = "prompt" if pairs.free_length else self.options.prefix
        documents = (
            f"{n} documents"
            if n == len(pairs.pairs)
            else f"a first look at {n} of {counted(len(pairs.pairs), 'document')}"
        )
        return f"{documents}, {before} + {pairs.continuation_tokens} tokens"

    @property
    def units(self) -> list[Unit]:
        """All units of work."""
        return units_of(len(self.pairs.pairs), self.plan, self.first)

    @property
    def wanted(self) -> list[Unit]:
        """The units that are asked for now: those of the first look, or all."""
        if not (self.options.quick and self.first):
            return self.units
        return [unit for unit in self.units if unit.pairs[0] in self.first]

    @property
    def plan_hash(self) -> str:
        """What tells this plan from all others."""
        return str(self.manifest["plan_hash"])

    @property
    def _ends_of_documents(self) -> list[int]:
        """What stands after a training document: the end of documents, or what closes a response."""
        if self.feeding is None:
            return list(self.predictor.end_ids[:1])
        return [] if self.feeding.end_id is None else [self.feeding.end_id]

    def reference(self) -> Reference:
        """The reference of this audit, its n-grams counted on the training documents."""
        wanted = set(self.pairs.train_documents)
        documents = [d for d in self.corpus.documents if d.id in wanted]
        share = max(256, REFERENCE_TOKENS // max(1, len(documents)))
        by_unit: dict[str, list[np.ndarray]] = {}
        for d in documents:
            ids = list(d.ids) if d.ids is not None else list(self.predictor.encode(d.text[: 8 * share]))
            whole = (
                d.ids is None and len(d.text) <= 8 * share and len(ids) <= share
            )  # a world's document is cut, it does not end
            ends = self._ends_of_documents if whole else []
            unit = self.unit_names.get(d.unit, d.unit)
            by_unit.setdefault(unit, []).append(np.array(ids[:share] + ends, np.int64))
        counted = default_reference(self.predictor, by_unit, order=REFERENCE_ORDER)
        return Beside(counted, self.others) if self.others else counted


def prepare(
    model: str | Predictor,
    corpus: str | Corpus,
    options: AuditOptions,
    *,
    out: str | Path | None = None,
    say: Say = lambda _: None,
    remember: Callable[[Encode], Encode] = lambda encode: encode,
    threads: int | None = None,
) -> Prepared:
    """Read, load and cut what an audit needs; no file is written but the cache of weights.

    `remember`: what is made of the model's `encode`, by whoever keeps what it gave. `threads`: what the plan says of
    them, where it is made on another machine than the one that the run belongs to.

    Raises:
        FreerunError: see `freerun.errors`.
    """
    check_options(options)
    sampling = SamplingRule.parse(options.sample_with) if options.sample_with else SamplingRule()
    for spec in (model, options.own_text_from, *options.reference):
        if isinstance(spec, str):
            loader_of(spec)  # a name that does not exist is said before anything is read
    text = read_any_corpus(corpus, options) if isinstance(corpus, str) else corpus
    if isinstance(corpus, str) and not corpus.startswith(("builtin/", "world/")):
        tell_notes(text, say)
    check_fits_prompts(text, options)
    load = LoadOptions(options.dtype, options.device, options.trust_remote_code)
    if isinstance(model, str):
        predictor = load_predictor(model, replace(load, end_ids=options.end_ids, chat=options.chat), tell=say)
    else:
        predictor = model
        _check_chosen_ends(predictor, options)
    check_rule_is_sent(predictor)
    if options.own_text_from is not None:
        predictor = read_by(predictor, options.own_text_from, load, say)
    feeding = feeding_of(predictor, options) if text.n_prompted else None
    if options.prefix == 0:
        predictor = from_nothing(predictor)
    seen = measured_view(predictor, prefix_tokens=options.prefix, seed=options.seed)
    if seen is not predictor and options.exemplars:
        raise UsageError(f"{seen.identity.name} begins every document with a header: it takes no --exemplars")
    predictor = seen
    text = without_calibration(text, predictor)
    if feeding is not None:
        pairs, feeding = prompted(text, predictor, feeding, options)
    else:
        pairs = cut_pairs(
            text,
            remember(predictor.encode),
            n_documents=options.documents,
            prefix_tokens=options.prefix,
            cut_tokens=options.cut,
            continuation_tokens=options.tokens,
            seed=options.seed,
        )
    _check_ids(text, predictor, pairs)
    faithful = fidelity(text, predictor, pairs)
    exemplars = None
    if options.exemplars:
        between = predictor.end_ids[:1] or tuple(predictor.encode("\n\n"))
        pairs, exemplars = with_exemplars(
            pairs, options.exemplars, separator=between, window=predictor.context.window, seed=options.seed
        )
    unit_names: dict[str, str] = {}
    if options.redact_text:
        named = [p.document_id for p in pairs.pairs]
        pairs, unit_names = numbered(pairs)
        faithful = renamed(faithful, dict(zip(named, (p.document_id for p in pairs.pairs), strict=True)))
    others = tuple(load_predictor(spec, load, tell=say) for spec in options.reference)
    for other in others:
        check_shares_tokens(predictor, other)
    encoder = load_named_encoder(options.embed_with, load, say) if options.embed_with else None
    queue = queue_of(options.batch, pairs.continuation_tokens)
    plan = MeasurePlan(
        pairs.continuation_tokens,
        options.batch,
        options.seed,
        sampling=sampling,
        queue=queue,
        rounded=is_rounded(predictor),
    )
    manifest = manifest_of(
        predictor,
        text,
        pairs,
        plan,
        options,
        others=others,
        encoder_fingerprint=encoder.fingerprint if encoder else None,
        exemplars=exemplars,
        faithful=faithful,
        feeding=feeding,
        threads=threads,
    )
    folder = RunFolder(Path(out) if out is not None else default_folder(manifest))
    first = _first(folder, manifest["plan_hash"], pairs, options)
    if first:
        manifest["layout"] = layout_of(first, len({pairs.pairs[n].unit for n in first}))
    return Prepared(
        predictor, text, pairs, plan, others, encoder, options, manifest, folder, unit_names, feeding, first
    )


def _first(folder: RunFolder, plan_hash: str, pairs: PairSet, options: AuditOptions) -> tuple[int, ...]:
    """The pairs of the first look that the folder's parts begin with, or that is asked for where there are no parts yet."""
    if not folder.has_parts:
        return first_look(pairs.pairs) if options.quick else ()
    try:
        held = folder.manifest() if folder.manifest_path.exists() else None
    except Damaged:
        held = None
    if held is None:  # it is made anew, as the parts are named
        return first_look(pairs.pairs) if folder.has_first_look else ()
    return first_pairs(held) if held["plan_hash"] == plan_hash else ()


def tell_notes(corpus: Corpus, say: Say) -> None:
    """Say what was done to a corpus, before anything is made of it."""
    for note in (*corpus.notes, *corpus.named_notes):
        say(f"corpus: {note}")


def _check_chosen_ends(predictor: Predictor, options: AuditOptions) -> None:
    if options.end_ids is not None and predictor.end_ids != options.end_ids:
        raise UsageError(
            f"end_ids={options.end_ids}: {predictor.identity.name} is loaded already, with ends {predictor.end_ids}; load it with "
            "LoadOptions(end_ids=…), or give its name instead"
        )


def _check_ids(corpus: Corpus, predictor: Predictor, pairs: PairSet) -> None:
    largest = max(int(max(p.prefix.max(initial=0), p.continuation.max(initial=0))) for p in pairs.pairs)
    if largest >= predictor.n_tokens:
        raise UsageError(
            f"{corpus.spec} holds token {largest}, and {predictor.identity.name} has ids 0 to {predictor.n_tokens - 1} only: its "
            "tokenizer and its weights are not of the same model"
        )
