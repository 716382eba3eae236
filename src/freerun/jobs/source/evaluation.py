"""Is the posterior right? Header scoring on texts whose source is known; a fitted β, controls and a plain classifier beside it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.counted import counted
from freerun.errors import DataError, TooFewDocuments, UsageError, nearest
from freerun.jobs.source.file import OTHER, SourceLatent, Sources
from freerun.jobs.source.question import priors_of
from freerun.jobs.source.scoring import encoded, latent_speakers, log_likelihoods
from freerun.predictors.base import Predictor
from freerun.report.numbers import format_interval, format_number
from freerun.results.finding import Chart, Series, Table
from freerun.results.source import Gains, LabelledDocument, Named, SourceEvaluation, SourcesFile
from freerun.stats.intervals import Interval, cluster_ratio
from freerun.stats.reliability import Reliability, reliability
from freerun.stats.sources.bag_of_ngrams import bag_of_ngrams
from freerun.stats.sources.posterior import posterior_of
from freerun.stats.sources.scores import (
    LabelScores,
    PermutedHeaders,
    cross_fitted_beta,
    label_scores,
    permuted_headers,
    surprise_of,
)
from freerun.text.documents import Corpus, Document
from freerun.text.tokens import decode_lossy

SCHEMA_VERSION = 1
MIN_UNITS = 8
Ids = Int[np.ndarray, " tokens"]


@dataclass(frozen=True)
class Labelled:
    """Texts cut to one length, the number of the value that each truly has, and the independent unit it belongs to."""

    documents: tuple[Document, ...]
    ids: tuple[Ids, ...]
    truth: Int[np.ndarray, " texts"]
    units: Int[np.ndarray, " texts"]
    notes: tuple[str, ...]


def evaluate(
    predictor: Predictor,
    corpus: Corpus,
    sources: Sources,
    *,
    label_field: str,
    unit_field: str | None = None,
    n_documents: int = 60,
    n_tokens: int = 128,
    priors: Sequence[str] = (),
    seed: int = 0,
    on_tokens: Callable[[int], None] = lambda _: None,
) -> SourceEvaluation:
    """Score the first `n_tokens` tokens of labelled documents after every header and compare with what the labels say.

    Raises:
        UsageError: a setting out of range, no such field. DataError: labels that no value matches.
        TooFewDocuments: fewer independent units than any inference needs.
    """
    latent = latent_for(sources, label_field)
    prior = priors_of(latent, sources, priors)
    labelled = labelled_texts(
        predictor,
        corpus,
        latent,
        label_field=label_field,
        unit_field=unit_field,
        n_documents=n_documents,
        n_tokens=n_tokens,
        seed=seed,
    )
    speakers = latent_speakers(predictor, latent)
    paths = np.stack([log_likelihoods(speakers, ids, on_tokens=on_tokens) for ids in labelled.ids])
    texts = [decode_lossy(predictor.token_bytes, ids) for ids in labelled.ids]
    return score_paths(predictor, latent, prior, labelled, paths, texts, corpus=corpus, sources=sources, seed=seed)


def evaluation_tokens(sources: Sources, n_documents: int, n_tokens: int) -> int:
    """About how many tokens will be scored."""
    rows = max(len(x.values) * len(x.templates) + 1 for x in sources.latents)
    return rows * n_documents * n_tokens


def latent_for(sources: Sources, label_field: str) -> SourceLatent:
    """The latent that the labels speak of: the file's only one, or the one of the field's name.

    Raises:
        UsageError: several latents, none of that name.
    """
    if len(sources.latents) == 1:
        return sources.latents[0]
    return sources.latent(label_field)


def labelled_texts(
    predictor: Predictor,
    corpus: Corpus,
    latent: SourceLatent,
    *,
    label_field: str,
    unit_field: str | None,
    n_documents: int,
    n_tokens: int,
    seed: int,
) -> Labelled:
    """Documents with a label that a value matches and enough tokens, in an order by a hash of seed and id.

    Raises as `evaluate` does.
    """
    if n_documents < 1 or n_tokens < 1:
        raise UsageError(f"--documents {n_documents} --tokens {n_tokens}: at least one of each is needed")
    for name in (label_field, *([unit_field] if unit_field else [])):
        fields = sorted({k for d in corpus.documents for k in d.meta})
        if name not in fields:
            raise UsageError(
                f"corpus {corpus.spec!r} has no field {name!r}{nearest(name, fields)}; it has {', '.join(fields)}"
            )
    values = [v.name for v in latent.values]
    left_out: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    documents, ids, truth = [], [], []
    order = sorted(corpus.documents, key=lambda d: hashlib.sha256(f"{seed}/{d.id}".encode()).hexdigest())
    for document in order:
        label = document.meta.get(label_field, "")
        value = latent.value_of(label)
        if value is None or value == OTHER:
            unknown[label] += 1
            continue
        tokens = np.asarray(document.ids, np.int64) if document.ids is not None else encoded(predictor, document.text)
        if len(tokens) < n_tokens:
            left_out[f"shorter than {n_tokens} tokens"] += 1
            continue
        documents.append(document)
        ids.append(tokens[:n_tokens])
        truth.append(values.index(value))
        if len(documents) == n_documents:
            break
    if not documents and unknown:
        label = unknown.most_common(1)[0][0]
        raise DataError(
            f"no label in {label_field!r} is a value of {latent.name} (the commonest is {label!r}; values: {', '.join(values)}): "
            "add it to the sources file as a name, an alias or by numbers = [first, last]"
        )
    names = [str(d.meta.get(unit_field, "") or d.unit) if unit_field else d.unit for d in documents]
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    if len(numbers) < MIN_UNITS or len(set(truth)) < 2:
        raise TooFewDocuments(
            f"{counted(len(documents), 'labelled document')} of {counted(len(numbers), 'independent unit')} "
            f"and {counted(len(set(truth)), 'value')}; at least {MIN_UNITS} units of 2 values are needed"
        )
    notes = [f"{counted(n, 'document')} {why} left out." for why, n in left_out.items()]
    if unknown:
        shown = ", ".join(repr(x) for x, _ in unknown.most_common(3))
        notes.append(f"{sum(unknown.values())} documents left out whose label no value matches ({shown}).")
    units = np.array([numbers[name] for name in names])
    return Labelled(tuple(documents), tuple(ids), np.array(truth), units, tuple(notes))


# ---- what it comes to ------------------------------------------------------------------------------------------------


def score_paths(
    predictor: Predictor,
    latent: SourceLatent,
    prior: Float[np.ndarray, " values_1"],
    labelled: Labelled,
    paths: Float[np.ndarray, "texts values_1 tokens_1"],
    texts: Sequence[str],
    *,
    corpus: Corpus,
    sources: Sources,
    seed: int,
) -> SourceEvaluation:
    """Scores, fitted β, controls, the classifier, and curves by length."""
    rng = np.random.default_rng(seed)
    truth, units, last = labelled.truth, labelled.units, paths[:, :, -1]
    n_tokens, n_values = paths.shape[2] - 1, len(latent.values)
    bayes = posterior_of(prior, last)
    fitted = cross_fitted_beta(prior, last, truth, units, rng=rng)
    ngrams = bag_of_ngrams(texts, truth, units, n_values=n_values, rng=rng)
    rows = {
        "header scoring, β = 1": label_scores(bayes, truth, units),
        "header scoring, β fitted on other units": label_scores(fitted.posterior, truth, units),
        "prior alone": label_scores(np.tile(prior, (len(truth), 1)), truth, units),
        "bag of words and pairs, cross-validated": label_scores(ngrams, truth, units),
    }
    permuted = permuted_headers(last[:, :-1], truth, rng=rng)
    one = np.ones(len(truth))
    own = last[np.arange(len(truth)), truth]
    wrong = (last[:, :-1].sum(axis=1) - own) / max(1, n_values - 1)
    before = surprise_of(np.tile(prior, (len(truth), 1)), truth)
    gains = Gains(
        *(
            cluster_ratio(nats / n_tokens, one, units)
            for nats in (before - surprise_of(fitted.posterior, truth), own - last[:, -1], own - wrong)
        )
    )
    reliable = {
        name: reliability(p.max(axis=1), p.argmax(axis=1) == truth, units, n_bins=5, rng=rng)
        for name, p in (("β = 1", bayes), ("β fitted", fitted.posterior))
    }
    return SourceEvaluation(
        schema_version=SCHEMA_VERSION,
        kind="source_evaluation",
        model=Named(predictor.identity.name, predictor.identity.fingerprint),
        sources=SourcesFile(sources.title, sources.origin, sources.fingerprint),
        corpus=Named(corpus.name, corpus.fingerprint),
        latent=latent.name,
        values=latent.names[:-1],
        n_documents=len(truth),
        n_units=int(units.max()) + 1,
        n_tokens=n_tokens,
        seed=seed,
        beta=fitted.beta,
        scores=rows,
        permuted_headers=permuted,
        gain_nats_per_token=gains,
        reliability=reliable,
        sentences=_sentences(latent, rows, fitted.beta, permuted.mean, gains, len(truth), n_tokens),
        tables=(
            _score_table(rows, permuted),
            _gain_table(gains, fitted.beta),
            *(_reliability_table(name, r) for name, r in reliable.items()),
        ),
        charts=(_by_length(prior, paths, truth, fitted.beta.value),),
        documents=tuple(
            LabelledDocument(d.id, int(u), latent.values[t].name, p, f)
            for d, u, t, p, f in zip(labelled.documents, units, truth, bayes, fitted.posterior, strict=True)
        ),
        notes=(
            *labelled.notes,
            "The independent unit is the corpus's unit (or what --unit-field names); intervals are clustered by it, and neither β "
            "nor the classifier is scored on a unit that it was fitted on.",
            "Public texts are probably in the model's training data, with their date and author: then this measures memory as much "
            "as judgement, and new texts will do worse.",
        ),
    )


def _by_length(
    prior: Float[np.ndarray, " values_1"],
    paths: Float[np.ndarray, "texts values_1 tokens_1"],
    truth: Int[np.ndarray, " texts"],
    beta: float,
) -> Chart:
    n_tokens = paths.shape[2] - 1
    lengths = sorted({0, n_tokens, *(2**k for k in range(20) if 2**k <= n_tokens)})

    def curve(name: str, role: str, b: float) -> Series:
        missed = (surprise_of(posterior_of(prior, paths[:, :, t], beta=b), truth).mean() for t in lengths)
        return Series.curve(name, role, missed)

    return Chart(
        name="log_score_by_length",
        title="How much of the truth is still missed, by length",
        x_label="tokens read",
        y_label="nats, smaller is better",
        x=tuple(float(t) for t in lengths),
        series=(
            curve("β = 1", "free", 1.0),
            curve(f"β = {beta:.2g}, fitted on all", "reference", beta),
        ),
        levels=((float(surprise_of(np.tile(prior, (len(truth), 1)), truth).mean()), "prior alone"),),
        caption="Mean of −ln of the probability that the posterior gives the true value. Above the line of the prior it is worse "
        "than not reading the text.",
    )


def _score_table(rows: Mapping[str, LabelScores], dealt: PermutedHeaders) -> Table:
    lines = [(name, _shown(s.log_score_nats), _shown(s.brier), _shown(s.accuracy)) for name, s in rows.items()]
    chance = f"{dealt.mean:.3g} ({dealt.low:.3g} to {dealt.high:.3g})"
    lines.append(("headers dealt at random (control)", "–", "–", chance))
    return Table("scores", "Scores", ("", "log score, nats", "Brier", "accuracy"), tuple(lines))


def _gain_table(gains: Gains, beta: Interval) -> Table:
    lines = [
        (label, f"{gain.value:.4f} ({gain.low:.4f} to {gain.high:.4f})")
        for label, gain in (
            ("log score gained over the prior, β fitted", gains.posterior),
            ("the right header against none", gains.against_no_header),
            ("the right header against the wrong ones", gains.against_wrong_headers),
        )
    ]
    return Table("gain", "Gain in nats a token", ("", "95%"), (*lines, ("fitted β", _shown(beta))))


def _reliability_table(name: str, found: Reliability) -> Table:
    lines = [
        (f"{c:.2f}", f"{a:.2f} ({low:.2f} to {high:.2f})", f"{share:.0%}")
        for c, a, low, high, share in zip(
            found.confidence, found.accuracy, found.low, found.high, found.share, strict=True
        )
    ]
    return Table(
        f"reliability_{name}",
        f"Is it right as often as it says? Header scoring, {name}",
        ("says", "is right", "of the texts"),
        tuple(lines),
    )


def _shown(x: Interval) -> str:
    return f"{format_number(x.value, digits=3)} ({format_interval(x.low, x.high, digits=3)})"


def _sentences(
    latent: SourceLatent,
    rows: Mapping[str, LabelScores],
    beta: Interval,
    chance: float,
    gains: Gains,
    n: int,
    n_tokens: int,
) -> tuple[str, ...]:
    bayes, fitted, prior, ngrams = rows.values()
    better = fitted.log_score_nats.value < prior.log_score_nats.value
    trust = "is not sure enough" if beta.low > 1 else "may be taken at face value"
    trust = "is too sure of itself" if beta.high < 1 else trust
    right = bayes.accuracy
    return (
        f"On {n} texts of {n_tokens} tokens whose {latent.name} is known, the most probable value is right in {right.value:.0%} "
        f"(95%: {max(right.low, 0):.0%} to {min(right.high, 1):.0%}); headers dealt at random are right in {chance:.0%}, a "
        f"classifier of words and pairs in {ngrams.accuracy.value:.0%}.",
        f"Taken at face value (β = 1) the posterior {trust}: the fitted exponent is {beta.value:.2g} ({beta.low:.2g} to "
        f"{beta.high:.2g}). Its log score is {bayes.log_score_nats.value:.2f} nats; with β fitted on other texts it is "
        f"{fitted.log_score_nats.value:.2f}, for the prior alone {prior.log_score_nats.value:.2f}"
        + ("." if better else ": reading the text gained nothing."),
        f"The right header saves {gains.against_wrong_headers.value:.4f} nats a token against a wrong one.",
    )
