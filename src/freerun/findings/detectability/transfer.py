"""Does a detector that was trained on another run tell this run's text apart too?"""

from __future__ import annotations

import numpy as np

from freerun.counted import counted
from freerun.errors import DataError, TooFewDocuments
from freerun.findings.evidence import MIN_PAIRS, Evidence, Panel, lengths_up_to
from freerun.results.finding import Chart, Finding, Series
from freerun.results.quantity import Quantity
from freerun.stats.detection.likelihood_features import likelihood_features
from freerun.stats.detection.two_sample import transferred_auc

QUESTION = "Does another run's detector see it too?"
TRANSFERRED = Quantity("transfer", "transferred_auc", "AUC of the other run's detector", "AUC", own_text=True)
HOME = Quantity("transfer", "home_auc", "the same features, trained here", "AUC", own_text=True)


def transfer(evidence: Evidence, other: Evidence) -> Finding:
    """AUC by length on this run's test documents of a detector fitted on the training documents of `other`.

    Likelihood features that both runs have, each standardised on the documents that it was fitted on; the detector of this run
    with the same features stands beside it.

    Raises:
        TooFewDocuments: either run has fewer than 16 whole pairs.
        DataError: no feature in common, or one of the two runs was made with `--redact-text`.
    """
    if evidence.has_text != other.has_text:
        raise DataError("--transfer: one of the two runs was made with --redact-text, so their features differ")
    here, there = evidence.panel, other.panel
    for panel in (here, there):
        if panel.n_pairs < MIN_PAIRS:
            raise TooFewDocuments(
                f"{counted(panel.n_pairs, 'whole pair')}; a transferred detector needs at least {MIN_PAIRS} in both runs"
            )
    longest = min(here.length, there.length)
    lengths = lengths_up_to(longest)
    moved, own = [], []
    for n in lengths:
        (real, free, names), (real_there, free_there, names_there) = (_features(p, int(n)) for p in (here, there))
        common = [name for name in names if name in names_there]
        if not common:
            raise DataError("the two runs have no feature in common")
        mine = [names.index(c) for c in common]
        theirs = [names_there.index(c) for c in common]
        real, free = real[:, mine], free[:, :, mine]
        test = (real[~here.train], free[~here.train])
        training = (real_there[there.train][:, theirs], free_there[there.train][:, :, theirs])
        moved.append(transferred_auc(training, test))
        own.append(transferred_auc((real[here.train], free[here.train]), test))
    last, home = moved[-1], own[-1]
    source = f"{other.plan.model} on {other.plan.corpus}"
    says = "gives them away" if last.low > 0.5 else "says nothing"
    return Finding(
        name="transfer",
        question=QUESTION,
        sentence=(
            f"A detector trained on {source} has AUC {last.value:.2f} ({last.low:.2f} to {last.high:.2f}) here at {longest} tokens; trained "
            f"here, {home.value:.2f}. What gives texts away there {says} here."
        ),
        status="neutral",
        estimates=(
            TRANSFERRED.estimate(
                last,
                label=f"AUC at {longest} tokens, detector of the other run",
                method="ridge logistic regression on likelihood features, penalty by left-out documents there; score limits at its variance over test documents here and training documents there",
            ),
            HOME.estimate(home, method="the same, trained on this run's training documents"),
        ),
        charts=(
            Chart(
                name="transfer",
                title="A detector from another run",
                x_label="tokens after the cut",
                y_label="AUC on test documents here",
                x=tuple(lengths.astype(float).tolist()),
                x_scale="log2",
                y_range=(0.2, 1.0),
                levels=((0.5, "chance"), (0.75, "H75")),
                series=(Series.of(f"trained on {source}", "other", moved), Series.of("trained here", "free", own)),
            ),
        ),
        licence=(
            "Unit: the document. Test documents of this run only; the other run's training documents fit the detector. Where both runs share "
            "documents a test document here may have trained there, on another model's continuations of it. Intervals hold the luck of both."
        ),
    )


def _features(panel: Panel, n: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    real, names = likelihood_features(panel.columns(panel.real), length=n)
    free = np.stack([likelihood_features(panel.columns(f), length=n)[0] for f in panel.free.T], axis=1)
    return real, free, names
