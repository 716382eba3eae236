"""Names that point elsewhere: of units in a corpus, and of files in a folder."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from freerun.commands.main import main
from freerun.text.corpora import read_corpus
from freerun.text.formats import SUPPORTED
from tests.fuzz.anything import ANYTHING, NAMES, few, harmless


def test_names_in_a_corpus_never_leave_the_run(tmp_path: Path) -> None:
    """Ids, units and the corpus itself have names that would be paths elsewhere."""
    home = tmp_path / "home"
    home.mkdir()
    corpus = home / "..%2f..%2fevil corpus.jsonl"
    rng = np.random.default_rng(0)
    rows = [
        {
            "text": " ".join(map(str, rng.integers(0, 99, 90))),
            "id": f"{NAMES[i % len(NAMES)]}{i}",
            "unit": f"{NAMES[-1 - i % 12]}{i}",
        }
        for i in range(24)
    ]
    corpus.write_text("".join(json.dumps(r) + "\n" for r in rows))
    with contextlib.chdir(home):
        assert main(["audit", f"ngram/2@{corpus.name}", corpus.name, "--tokens", "16", "--prefix", "8"]) in (0, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home"]
    assert sorted(p.name for p in home.iterdir()) == sorted([corpus.name, "runs"])
    (run,) = (home / "runs").iterdir()
    made = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    assert {"manifest.json", "report.html", "result.json"} <= made
    assert {p.split("/")[0] for p in made} == {
        "manifest.json",
        "report.html",
        "result.json",
        "checksums",
        "sequences",
        "tokens",
    }
    assert main(["report", str(run)]) in (0, 3)


@given(suffix=st.sampled_from([*SUPPORTED, ".bin", ""]), name=ANYTHING.filter(lambda t: "/" not in t and "\0" not in t))
@few
def test_names_of_files_in_a_folder(tmp_path: Path, suffix: str, name: str) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    try:
        (folder / f"{name}{suffix}").write_text('{"text": "one"}\n')
    except (OSError, ValueError):
        shutil.rmtree(folder)
        return
    harmless(lambda: read_corpus(str(folder), single_ok=True))
    shutil.rmtree(folder)
