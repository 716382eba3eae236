"""The page in a real browser: nothing sticks out at desktop and phone width, nothing is fetched, no script fails."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from freerun.jobs.audit.audit import audit
from freerun.jobs.compare import compare
from freerun.jobs.source.question import SourceOptions
from freerun.jobs.source.source import source
from freerun.report.pages.compare import render_compare
from freerun.report.pages.source import render_source
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.results.source import SourceResult
from freerun.worlds.authors import authors

pytestmark = pytest.mark.browser

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=4000",
]

# the page goes into a frame of the wanted width; the frame's own measure of itself ends up in the outer title
PROBE = """<!doctype html><title>waiting</title>
<iframe id="f" style="width:{width}px;height:2000px;border:0"></iframe>
<script>
const frame = document.getElementById("f");
frame.onload = () => {{
  const d = frame.contentDocument, root = d.documentElement;
  const wide = [...d.querySelectorAll("svg text")].filter(t => {{
    if (!t.getClientRects().length) return false;
    const a = t.getBoundingClientRect(), b = t.ownerSVGElement.getBoundingClientRect();
    return a.left < b.left - 1 || a.right > b.right + 1;
  }}).map(t => t.textContent);
  document.title = JSON.stringify({{
    inner: root.clientWidth, needed: root.scrollWidth, svgs: d.querySelectorAll("svg").length, outside: wide,
    scrolled: [...d.querySelectorAll("section > .scroll")].filter(b => b.scrollWidth > b.clientWidth + 1).length,
    cut: [...d.querySelectorAll(".strip .dot")].filter(m => {{
      const a = m.getBoundingClientRect(), b = m.ownerSVGElement.getBoundingClientRect();
      return a.left < b.left || a.right > b.right || b.right > root.clientWidth;
    }}).length,
    dots: d.querySelectorAll(".strip .dot").length, pointers: d.querySelectorAll(".strip .beyond").length,
    fetched: performance.getEntriesByType("resource").filter(e => e.name.startsWith("http")).length,
    heading: (d.querySelector("h1") || {{}}).textContent || ""
  }});
}};
frame.srcdoc = {page};
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next((shutil.which(n) for n in ("chromium", "chromium-browser", "google-chrome") if shutil.which(n)), None)
    return found or pytest.skip("no Chromium on this machine; continuous integration installs it")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("runs") / "run"
    return audit("world/markov", "world/markov", out=out, documents=32, tokens=32).report.read_text()


@pytest.mark.parametrize("width", [1280, 390, 360])
def test_nothing_sticks_out(chromium: str, page: str, tmp_path: Path, width: int) -> None:
    seen = measured(chromium, page, tmp_path, width)
    assert "world/markov" in seen["heading"]


@pytest.mark.parametrize("width", [390, 360])
def test_nothing_sticks_out_of_the_page_of_sources(chromium: str, tmp_path: Path, width: int) -> None:
    world = authors()
    text = world.corpus(1, 80, seed=2).documents[0].text
    words = json.dumps(to_json(source(world, text, None, SourceOptions(own_tokens=4, n_paths=2))))
    long_names = words.replace('"gazette"', '"The Intercontinental Gazette, Weekend Edition"')
    seen = measured(chromium, render_source(from_json(SourceResult, json.loads(long_names))), tmp_path, width)
    assert "world/authors" in seen["heading"]


@pytest.mark.parametrize("width", [1280, 390, 360])
def test_a_comparison_shows_every_number_and_the_strongest_effects_whole(
    chromium: str, tmp_path: Path, width: int
) -> None:
    options: dict[str, Any] = {"documents": 32, "tokens": 16, "prefix": 4}
    runs = [
        audit(f"world/markov{planted}", "world/markov", out=tmp_path / name, **options).path
        for name, planted in (("plain", ""), ("cold", "+temperature,t=0.3"))
    ]
    seen = measured(chromium, render_compare(to_json(compare(*runs))), tmp_path, width)
    assert seen["dots"] > 5
    assert seen["pointers"] > 0
    assert seen["cut"] == 0
    assert seen["scrolled"] == 0 or width > 720


def measured(chromium: str, page: str, tmp_path: Path, width: int) -> dict[str, Any]:
    """What the page says of itself in a frame of some width, nothing sticking out."""
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(width=width, page=json.dumps(bare).replace("</", "<\\/")))
    done = subprocess.run(
        [
            chromium,
            *FLAGS,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1400,2200",
            "--dump-dom",
            probe.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    seen: dict[str, Any] = json.loads(html.unescape(title[1]))
    assert seen["inner"] <= width
    assert seen["needed"] <= seen["inner"]
    assert seen["outside"] == []
    assert seen["svgs"] >= 6
    assert seen["fetched"] == 0
    return seen
