"""From what was asked to what will be done: corpus read, models loaded and held against each other, texts cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from freerun.errors import UsageError
from freerun.jobs.audit.options import read_any_corpus
from freerun.jobs.audit.preparing import tell_notes
from freerun.jobs.audit.prompting import check_fits_prompts, feeding_of, prompted
from freerun.jobs.distance.cut import Cut
from freerun.jobs.distance.fitting import Description, check_fit, readable
from freerun.jobs.distance.manifest import default_folder, manifest_of, plan_of
from freerun.jobs.distance.models import Models, Name
from freerun.jobs.distance.options import DistanceOptions, check_options
from freerun.jobs.distance.windows import cut_windows
from freerun.organisms.memorised import without_calibration
from freerun.organisms.wrapper import from_nothing
from freerun.predictors.base import Predictor
from freerun.predictors.chat import Feeding
from freerun.predictors.stepwise import Stepwise
from freerun.records.distance import DistancePlan
from freerun.records.store import RunFolder
from freerun.runs.provenance import device_of
from freerun.runs.run import is_distance
from freerun.specs.spec import LoadOptions, load_predictor, loader_of
from freerun.text.documents import Corpus
from freerun.text.pairs import Pair, cut_pairs, numbered

Say = Callable[[str], None]
Model = str | Predictor


@dataclass(frozen=True)
class Prepared:
    """A distance that is ready to be measured."""

    models: Models
    a: Description
    b: Description
    pairs: tuple[Pair, ...]
    plan: DistancePlan
    options: DistanceOptions
    manifest: dict[str, Any]
    folder: RunFolder

    @property
    def start(self) -> int:
        """Tokens before the first one that is compared, in the text in which they are fewest."""
        return min(len(pair.prefix) for pair in self.pairs)


def prepare(
    a: Model,
    b: Model,
    corpus: str | Corpus,
    options: DistanceOptions,
    *,
    out: str | Path | None = None,
    say: Say = lambda _: None,
) -> Prepared:
    """Read, load, hold against each other and cut what a distance needs; no file is written but the cache of weights.

    Raises:
        FreerunError: see `freerun.errors`.
    """
    check_options(options)
    if options.protocol == "llama.cpp":
        options = replace(options, arms=("real",))
    check_are_models(a, b, corpus, options)
    text = read_any_corpus(corpus, options.reading) if isinstance(corpus, str) else corpus
    if isinstance(corpus, str) and not corpus.startswith(("builtin/", "world/")):
        tell_notes(text, say)
    check_fits_prompts(text, options.reading)
    _check_protocol_fits(text, options)
    models = Models({"a": _loader(a, options, say), "b": _loader(b, options, say)}, options.one_at_a_time)
    tried = [d.text for d in text.documents if d.ids is None]
    described: dict[Name, Description] = {}
    names: tuple[Name, ...] = ("b", "a")  # A is the first that is needed
    for name in names:
        predictor = models.get(name)
        text = without_calibration(text, predictor)
        described[name] = Description.of(predictor, tried, device=device_of(predictor))
    check_fit(described["a"], described["b"])
    cut = cut_texts(text, models.get("a"), options)
    plan = plan_of(described["a"], described["b"], text, cut, options)
    manifest = manifest_of(described["a"], described["b"], text, cut, plan, options)
    folder = RunFolder(Path(out) if out is not None else default_folder(plan))
    return Prepared(models, described["a"], described["b"], cut.pairs, plan, options, manifest, folder)


def check_are_models(a: Model, b: Model, corpus: str | Corpus, options: DistanceOptions) -> None:
    """Refuse runs in the place of models or of the corpus, and names that do not exist.

    Raises:
        UsageError: what would be meant instead is said.
    """
    if isinstance(corpus, str) and (Path(corpus) / "manifest.json").is_file():
        raise UsageError(f"{corpus} is a run, and a corpus is wanted there: give the text that both models are to read")
    for spec in (a, b):
        if not isinstance(spec, str):
            if options.one_at_a_time:
                raise UsageError(
                    "one_at_a_time loads models by their names; a model that is loaded already cannot be let go"
                )
            continue
        if (Path(spec) / "manifest.json").is_file():
            again = (
                f"its page is made again with `freerun report {spec}`"
                if is_distance(spec)
                else f"audits of two models are compared with `freerun compare {a} {b}`"
            )
            raise UsageError(f"{spec} is a run, and a distance is between two models; {again}")
        loader_of(spec)  # a name that does not exist is said before anything is read


def _loader(model: Model, options: DistanceOptions, say: Say) -> Callable[[], Stepwise[Any]]:
    load = LoadOptions(
        options.dtype, options.device, options.trust_remote_code, end_ids=options.end_ids, chat=options.chat
    )

    def made() -> Stepwise[Any]:
        predictor = load_predictor(model, load, tell=say) if isinstance(model, str) else model
        return readable(from_nothing(predictor) if options.prefix == 0 else predictor)

    return made


def _check_protocol_fits(text: Corpus, options: DistanceOptions) -> None:
    if options.protocol == "llama.cpp" and text.n_prompted:
        raise UsageError(
            f"--protocol llama.cpp takes plain documents, and {text.spec} holds prompts with responses: leave --protocol out"
        )


def cut_texts(text: Corpus, by: Predictor, options: DistanceOptions, *, window: int | None = None) -> Cut:
    """Prefixes and continuations by a model's tokenizer, or prompts and responses as they are put to it.

    `window`: tokens that another model sees, where that is fewer; prompts that do not fit are left out.

    Raises:
        FreerunError: nothing fits, or no template.
    """
    if options.protocol == "llama.cpp":
        return Cut(
            cut_windows(text, by.encode, width=options.window, most=options.documents, has_lead=bool(by.context.lead))
        )
    feeding: Feeding | None = None
    if text.n_prompted:
        found, feeding = prompted(text, by, feeding_of(by, options.reading), options.reading, window=window)
    else:
        found = cut_pairs(
            text,
            by.encode,
            n_documents=options.documents,
            prefix_tokens=options.prefix,
            continuation_tokens=options.tokens,
            seed=options.seed,
        )
    if options.redact_text:
        found, _ = numbered(found)
    largest = max(int(max(p.prefix.max(initial=0), p.continuation.max(initial=0))) for p in found.pairs)
    if largest >= by.n_tokens:
        raise UsageError(
            f"{text.spec} holds token {largest}, and {by.identity.name} has ids 0 to {by.n_tokens - 1} only: its tokenizer and its "
            "weights are not of the same model"
        )
    return Cut(found.pairs, found, feeding)
