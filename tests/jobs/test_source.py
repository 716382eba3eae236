"""`source` from a sources file, on a small world that reads headers and writes labels; and how a text becomes words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from freerun.errors import UsageError
from freerun.jobs.predict import spelled_tokens
from freerun.jobs.source.answers import words_of
from freerun.jobs.source.file import Sources, parse_sources
from freerun.jobs.source.question import SourceOptions, priors_of, questions_of
from freerun.jobs.source.source import source as source_result
from freerun.jobs.source.source import work_tokens
from freerun.results.finding import to_json
from freerun.results.predict import SpelledToken
from freerun.worlds.authors import authors
from freerun.worlds.markov import MarkovWorld
from freerun.worlds.mixture import Latent, MixtureWorld

SYMBOLS = "AB:. |abc"
"""Names, what stands in headers, a cue, and letters of bodies."""
FILE = """
[latent.source]
other = 0.2
templates = ["{source}:", "{source}.", "{source}", ".{source}", ":{source}"]
cues = ["|"]
[[latent.source.value]]
name = "A"
[[latent.source.value]]
name = "B"
"""
TWO = (
    FILE
    + """
[latent.mood]
templates = ["{mood}:", "{mood}.", "{mood}", ".{mood}", ":{mood}"]
cues = ["|"]
[[latent.mood.value]]
name = "AA"
[[latent.mood.value]]
name = "BB"
[joint]
templates = ["{source}:{mood}", "{source}.{mood}", "{source}{mood}", "{mood}.{source}", "{mood}:{source}"]
"""
)


def source_json(*arguments: Any, **settings: Any) -> dict[str, Any]:
    """What `--json` prints."""
    plain: dict[str, Any] = to_json(source_result(*arguments, **settings))
    return plain


def talker() -> MixtureWorld:
    """Two chains that name themselves in headers and, after `|` and a blank, at the end; a says `a` more often, B says `c`."""
    parts: dict[tuple[str, ...], Any] = {}
    for s, name in enumerate("AB"):
        body = np.array([0.6, 0.3, 0.1])[:: 1 if s == 0 else -1]
        row = np.array([0.002, 0.002, 0.02, 0.02, 0.02, 0.02, *body])
        row[s] = 0.06
        table = np.tile(row / row.sum(), (9, 1))
        table[5] = [0, 0, 0, 0, 0.8, 0, 0.2, 0, 0]
        table[4] = [0.1, 0.1, 0, 0, 0, 0, 0.3, 0.1, 0.1]
        table[4, s] = 0.4
        parts[(name,)] = MarkovWorld(table / table.sum(1, keepdims=True), initial=np.full(9, 1 / 9), symbols=SYMBOLS)
    return MixtureWorld([Latent("source", ("A", "B"))], parts, name="world/talker")


def sources() -> Sources:
    return parse_sources(FILE, "mine.toml")


def asked(text: str = "aabacaab", **settings: Any) -> dict[str, Any]:
    return source_json(
        talker(), text, sources(), SourceOptions(own_tokens=6, n_paths=2, n_continuations=40, **settings)
    )


def test_three_readouts_agree_where_the_world_is_coherent() -> None:
    result = asked("aabaaaab")
    json.dumps(result, allow_nan=False)
    latent = result["latents"][0]
    assert latent["values"] == ["A", "B", "other"]
    assert latent["prior"] == pytest.approx([0.4, 0.4, 0.2])
    assert latent["agreement"]["agree"] is True
    assert latent["agreement"]["tops"] == {"header": "A", "infilling": "A", "continuation": "A"}
    assert "All 3 readouts put A first" in latent["agreement"]["sentence"]
    header = latent["header"]
    assert np.asarray(header["path"]).shape == (9, 3)
    assert sum(header["posterior"]) == pytest.approx(1)
    low, high = header["by_template"]["low"], header["by_template"]["high"]
    assert all(a - 1e-12 <= p <= b + 1e-12 for a, p, b in zip(low, header["posterior"], high, strict=True))
    assert latent["continuation"]["n"] == sum(latent["continuation"]["counts"]) == 40


def test_the_posterior_is_the_one_worked_out_from_the_world() -> None:
    """Every header is read by the mixture, so q(x | header) = Σ_s π(s | header) P_s(x): averaged over the five headers by hand."""
    world, text = talker(), "abca"
    ids = np.array(world.encode(text))
    likelihood = []
    for headers in [[h.replace("X", n) for h in ("X:", "X.", "X", ".X", ":X")] for n in "AB"] + [[""]]:
        each = [
            world.log_probability(np.array([*world.encode(h), *ids]))
            - (world.log_probability(np.array(world.encode(h))) if h else 0.0)
            for h in headers
        ]
        likelihood.append(np.mean(np.exp(each)))
    joint = np.array([0.4, 0.4, 0.2]) * likelihood
    found = asked(text, readouts=("header",))["latents"][0]["header"]["posterior"]
    np.testing.assert_allclose(found, joint / joint.sum(), atol=1e-12)


def test_readouts_and_own_text_can_be_left_out() -> None:
    latent = source_json(talker(), "abc", sources(), SourceOptions(readouts=("header",), own_tokens=0))["latents"][0]
    assert latent["infilling"] is latent["continuation"] is latent["coherence"] is None
    assert "One readout only" in latent["agreement"]["sentence"]


def test_a_fitted_beta_stands_beside() -> None:
    header = asked(beta=0.5)["latents"][0]["header"]
    assert header["fitted"]["beta"] == 0.5
    assert max(header["fitted"]["posterior"]) < max(header["posterior"])
    with_file = source_json(
        talker(),
        "aab",
        parse_sources(FILE.replace("other = 0.2", "other = 0.2\nbeta = 0.3"), "x"),
        SourceOptions(own_tokens=0),
    )
    assert with_file["latents"][0]["header"]["fitted"]["beta"] == 0.3


def test_coherence_with_and_without_other() -> None:
    found = asked()["latents"][0]["coherence"]
    assert found["n_paths"] == 2
    for kind in ("without_other", "with_other"):
        one = found[kind]
        assert one["drift_over_bound"] <= 1e-12
        assert 0 <= one["tv_mean"] <= 1
        assert len(one["mean"]) == one["n_tokens"] + 1
    assert found["without_other"]["start"][-1] == 0.0
    assert found["with_other"]["start"][-1] > 0.0


def test_joint_and_its_marginals() -> None:
    both = parse_sources(TWO, "two.toml")
    result = source_json(talker(), "aab", both, SourceOptions(joint=True, own_tokens=0))
    latent = result["latents"][0]
    assert latent["values"] == ["A · AA", "A · BB", "B · AA", "B · BB", "other"]
    assert latent["prior"][-1] == pytest.approx(1 - 0.8 * 0.9)
    by_source = latent["header"]["marginals"][0]
    assert by_source["A"] == pytest.approx(sum(latent["header"]["posterior"][:2]))
    assert sum(by_source.values()) == pytest.approx(1)
    assert [x["name"] for x in source_json(talker(), "aab", both, SourceOptions(own_tokens=0))["latents"]] == [
        "source",
        "mood",
    ]


def test_joint_is_refused_where_it_cannot_be() -> None:
    with pytest.raises(UsageError, match="has one latent"):
        questions_of(talker(), sources(), SourceOptions(joint=True))
    with pytest.raises(UsageError, match=r"no \[joint\] templates"):
        questions_of(talker(), parse_sources(TWO.split("[joint]")[0], "x"), SourceOptions(joint=True))
    many = TWO.replace(
        "[joint]", "".join(f'[[latent.mood.value]]\nname = "{"A" * n}"\n' for n in range(3, 45)) + "[joint]"
    )
    with pytest.raises(UsageError, match=r"2 × 44 values × 5 templates are 440 rows, and at most 400"):
        questions_of(talker(), parse_sources(many, "x"), SourceOptions(joint=True))


def test_priors_given_by_hand() -> None:
    file = parse_sources(TWO, "two.toml")
    source_latent, mood = file.latents
    np.testing.assert_allclose(priors_of(source_latent, file, ["A=0.7"]), [0.7, 0.2, 0.1])
    np.testing.assert_allclose(priors_of(mood, file, ["A=0.7"]), mood.priors)
    np.testing.assert_allclose(priors_of(mood, file, ["mood:aa=0.1", "other=0.5"]), [0.1, 0.4, 0.5])
    for wrong, reason in [
        ("A", "wanted VALUE=P"),
        ("A=2", "wanted VALUE=P"),
        ("C=0.1", "no value 'C'"),
        ("A=x", "wanted"),
    ]:
        with pytest.raises(UsageError, match=reason):
            priors_of(source_latent, file, [wrong])
    with pytest.raises(UsageError, match="must leave the rest"):
        priors_of(source_latent, file, ["A=0.7", "B=0.6"])


def test_an_exact_world_is_asked_for_its_own_sources() -> None:
    world = authors(1)
    document = world.corpus(1, 60, seed=2).documents[0]
    result = source_json(world, document.text, None, SourceOptions(own_tokens=5, n_paths=2))
    for latent in result["latents"]:
        exact = world.marginal(world.posterior(np.array(document.ids))[-1], latent["name"])
        np.testing.assert_allclose(latent["header"]["posterior"], [*exact, 0.0], atol=1e-10)
        own = latent["coherence"]["without_other"]
        assert own["tv_mean"] < 1e-12
        assert "it is coherent" in latent["coherence"]["sentence"]
        assert latent["coherence"]["with_other"] is None


def test_refusals() -> None:
    with pytest.raises(UsageError, match="--sources is missing"):
        source_json(MarkovWorld(np.full((2, 2), 0.5)), "ab", None, SourceOptions())
    with pytest.raises(UsageError, match="text is empty"):
        asked("")
    for settings, reason in [
        ({"readouts": ("infilling",)}, "header always"),
        ({"readouts": ("header", "infiling")}, "did you mean 'infilling'"),
        ({"own_tokens": -1}, "--own-tokens"),
        ({"n_continuations": 0}, "--continuations"),
        ({"beta": 0.0}, "--beta"),
    ]:
        with pytest.raises(UsageError, match=reason):
            source_json(talker(), "ab", sources(), SourceOptions(**settings))  # type: ignore[arg-type]


def test_work_is_foreseen() -> None:
    told: list[int] = []
    plan = SourceOptions(own_tokens=4, n_paths=2, n_continuations=10)
    source_json(talker(), "abcabc", sources(), plan, on_tokens=told.append)
    assert sum(told) == pytest.approx(work_tokens(talker(), "abcabc", sources(), plan), rel=0.6)


def test_words_hold_every_token_once() -> None:
    tokens = spelled_tokens(talker(), np.array(talker().encode("ab c. a")))
    words = words_of(tokens)
    assert [w.text for w in words] == ["ab", " c.", " a"]
    assert [t for w in words for t in range(w.first, w.last + 1)] == list(range(7))
    assert [w.text for w in words_of([SpelledToken(id=0, text=x) for x in "abc"])] == ["a", "b", "c"]
    assert max(w.last - w.first for w in words_of([SpelledToken(id=0, text=x) for x in " " + "x" * 30])) == 11


def test_words_add_up_to_the_shift_of_their_tokens() -> None:
    result = asked("ab aab")
    header = result["latents"][0]["header"]
    for word, moved in zip(result["words"], header["words"], strict=True):
        before, after = header["path"][word["first"]], header["path"][word["last"] + 1]
        assert moved["shift"] == pytest.approx(0.5 * np.abs(np.subtract(after, before)).sum())
    assert header["movers"][0]["shift"] == max(m["shift"] for m in header["words"])
