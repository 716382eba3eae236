"""Sources files: what is read, and that each mistake is refused with its key and the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from freerun.errors import DataError, UsageError
from freerun.jobs.source.file import BUILTINS, parse_sources, read_sources, sources_template

GOOD = """\
title = "Two papers"
[latent.paper]
other = 0.2
templates = [
  "{paper}\\n",
  "Source: {paper}\\n",
  "In {paper}:\\n",
  "From {paper}\\n",
  "{paper} {{says}}\\n",
]
cues = ["\\nSource:"]
[[latent.paper.value]]
name = "The Onion"
aliases = ["Onion", "theonion.com"]
prior = 0.5
[[latent.paper.value]]
name = "Gazette"
prior = 0.3
numbers = [1800, 1850]
"""


def refusal(text: str) -> str:
    with pytest.raises(DataError) as caught:
        parse_sources(text, "mine.toml")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_good_file() -> None:
    latent = parse_sources(GOOD, "mine.toml").latents[0]
    assert latent.names == ("The Onion", "Gazette", "other")
    assert latent.priors == pytest.approx((0.5, 0.3, 0.2))
    assert latent.headers()[0][4] == "The Onion {says}\n"
    assert [latent.value_of(x) for x in ("ONION ", "1825", "gazette", "1851", "Other")] == [
        "The Onion",
        "Gazette",
        "Gazette",
        None,
        "other",
    ]


def test_priors_left_out_are_shared() -> None:
    latent = parse_sources(GOOD.replace("prior = 0.5\n", "").replace("prior = 0.3\n", ""), "x").latents[0]
    assert latent.priors == pytest.approx((0.4, 0.4, 0.2))


@pytest.mark.parametrize(
    ("old", "new", "place", "reason"),
    [
        ("other = 0.2", "othre = 0.2", "latent.paper.othre", "unknown field 'othre'; did you mean 'other'?"),
        ('title = "Two papers"', 'tilte = "x"', "tilte", "unknown field 'tilte'"),
        ("prior = 0.3", "priro = 0.3", "latent.paper.value[1].priro", "unknown field 'priro'; did you mean 'prior'?"),
        ("prior = 0.3", "prior = 0.4", "latent.paper.value", "sum to 1.1 with other = 0.2, not to 1"),
        ("prior = 0.3\n", "", "latent.paper.value[1]", "'Gazette' has no prior and others do"),
        ("prior = 0.3", "prior = 1.3", "latent.paper.value[1].prior", "strictly between 0 and 1"),
        ("prior = 0.3", "prior = nan", "latent.paper.value[1].prior", "not a number"),
        ("prior = 0.3", "prior = true", "latent.paper.value[1].prior", "not a number"),
        ("other = 0.2", "other = 0.0", "latent.paper.other", "strictly between 0 and 1"),
        ('"In {paper}:\\n"', '"In the paper:\\n"', "latent.paper.templates[2]", "has no placeholder {paper}"),
        ('"In {paper}:\\n"', '"In {paper} by {author}:\\n"', "latent.paper.templates[2]", "has a placeholder {author}"),
        ('"In {paper}:\\n"', '"In {paper!r}:\\n"', "latent.paper.templates[2]", "a latent's name alone"),
        ('"In {paper}:\\n"', '"In {paper:\\n"', "latent.paper.templates[2]", "unmatched '{'"),
        ('"In {paper}:\\n"', '"From {paper}\\n"', "latent.paper.templates[3]", "stands here twice"),
        ('  "In {paper}:\\n",\n', "", "latent.paper.templates", "4 templates, at least 5"),
        ('"theonion.com"', '"onion"', "latent.paper.value[0].aliases[1]", "alias 'onion' of 'The Onion' is here twice"),
        (
            '"theonion.com"',
            '"GAZETTE"',
            "latent.paper.value[1].name",
            "name 'Gazette' of 'Gazette' is here already, for 'The Onion'",
        ),
        ('name = "Gazette"', 'name = "theonion.com"', "latent.paper.value[1].name", "already, for 'The Onion'"),
        ('name = "Gazette"', 'name = "Other"', "latent.paper.value[1].name", "cannot be called"),
        ('name = "Gazette"', 'name = ""', "latent.paper.value[1].name", "not text"),
        ('name = "Gazette"\n', "", "latent.paper.value[1]", "lacks the field 'name'"),
        ("numbers = [1800, 1850]", "numbers = [1850, 1800]", "latent.paper.value[1].numbers", "wanted [first, last]"),
        ('cues = ["\\nSource:"]', "cues = []", "latent.paper.cues", "not an empty one"),
        ('cues = ["\\nSource:"]', 'cues = "Source:"', "latent.paper.cues", "must be a list"),
        ('cues = ["\\nSource:"]\n', "", "latent.paper", "lacks the field 'cues'"),
        ("other = 0.2", "other = 0.2\nbeta = 0", "latent.paper.beta", "above 0 and at most 10"),
        ("[latent.paper]", '[latent."a b"]', "latent.a b", "one word"),
    ],
)
def test_each_mistake_is_refused_with_its_key(old: str, new: str, place: str, reason: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1).replace("latent.paper.", 'latent."a b".' if "a b" in new else "latent.paper.")
    message = refusal(text)
    assert message.startswith(f"mine.toml: {place}: "), message
    assert reason in message


def test_what_is_no_toml_is_refused_with_its_line() -> None:
    assert refusal(GOOD.replace("other = 0.2", "other = ")).startswith("mine.toml:3: not TOML: ")


def test_joint_templates_must_name_every_latent() -> None:
    text = sources_template()
    sources = parse_sources(text, "t")
    assert [x.name for x in sources.latents] == ["author", "decade"]
    message = refusal(text.replace('"{author} ({decade})', '"{author} (then)'))
    assert message.startswith("mine.toml: joint.templates[")
    assert "{decade}" in message


@pytest.mark.parametrize("name", BUILTINS)
def test_the_files_that_come_along(name: str) -> None:
    sources = read_sources(name)
    for latent in sources.latents:
        assert len(latent.values) >= 6
        assert sum(latent.priors) == pytest.approx(1)
        assert all(v.name in header for v, h in zip(latent.values, latent.headers(), strict=True) for header in h)
    if name == "news":
        assert sources.latent("publication").value_of("theonion.com") == "The Onion"
    if name == "decade":
        assert sources.latent("decade").value_of("1863") == "1860s"
    with pytest.raises(UsageError, match="no latent"):
        sources.latent("nothing")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="built in are news"):
        read_sources("newz")
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b'title = "x"\n\xff')
    with pytest.raises(DataError, match=r"bad.toml:2: not UTF-8"):
        read_sources(str(bad))
