"""The page in a real browser when things go wrong: hostile text, wrong tokens, answers at a bad moment, a server that goes away."""

from __future__ import annotations

from typing import Any

import pytest

from freerun.explore.desk import Desk
from freerun.predictors.base import Predictor
from freerun.worlds.markov import MarkovWorld, random_chain
from tests.explore.browsing import TEXT, opened, pieces, tab
from tests.explore.site import Endless, Site, desk_of, served, toy

pytestmark = pytest.mark.browser


# ---- hostile text -----------------------------------------------------------------------------------------------------

HOSTILE = {
    0: b"<script>window.hacked=1</script><img src=x onerror=window.hacked=1>",
    1: b"\x1b[31mred\x1b]0;title\x07",
    2: "\u202eevil\u2066".encode(),
    3: "\u200b\u2060\ufeff".encode(),
    4: b"A" * 100_000,
    5: b"\xf0\x9f",
    6: b"\n\n\t\r",
    7: b"</textarea>{{x}}${y}`",
}


class Hostile(MarkovWorld):
    """A world whose letters stand for what a hostile tokenizer might hold."""

    def token_bytes(self, token_id: int) -> bytes:
        return HOSTILE[token_id]


def hostile() -> Predictor:
    world = random_chain(8, seed=1, concentration=5.0)
    world.__class__ = Hostile
    return world


def test_hostile_text_is_only_text(browser: Any) -> None:
    with served(desk_of(hostile())) as site:
        text = "abcdefgh"
        with tab(browser, f"{site.address}#text={text}&at=0.4.2") as page:
            page.wait_for_function("() => document.querySelectorAll('.tokens .piece').length === 11")
            page.click("text=Let it write")
            page.wait_for_selector(".item.sampled")
            page.locator(".item.sampled").first.click()
            assert page.evaluate("window.hacked") is None
            assert page.evaluate("document.querySelectorAll('#app script, #app img').length") == 0
            whole = page.evaluate("document.body.textContent")
            assert "<script>" in whole
            for unseen in ("\x1b", "\u202e", "\u2066", "\u200b", "\ufeff", "\x07"):
                assert unseen not in whole
            assert "⟨ESCAPE⟩" in whole
            assert "⟨U+202E⟩" in whole
            assert "A" * 200 not in whole
            assert "+99,920 more" in whole
            beyond = "e => e.getBoundingClientRect().right > 1281 && !e.closest('.tree-scroll')"
            wide = f"[...document.querySelectorAll('*')].filter({beyond}).map(e => e.className)"
            assert page.evaluate(wide) == []
            assert page.evaluate(
                "document.querySelector('.tokens').scrollWidth <= document.querySelector('.tokens').clientWidth"
            )


def test_a_hostile_address_is_only_text(browser: Any, site: Site) -> None:
    words = "%3Cimg%20src%3Dx%20onerror%3Dwindow.hacked%3D1%3E%E2%80%AE"
    with tab(browser, opened(site, words, at="999999.x", t="NaN", fork="-7", sources="%3Cb%3E")) as page:
        page.wait_for_selector(".tokens .piece, [role=alert]")
        assert page.evaluate("window.hacked") is None
        assert page.evaluate("document.querySelectorAll('#app img').length") == 0


# ---- answers at a bad moment -----------------------------------------------------------------------------------------


def test_what_is_typed_stays_while_the_page_is_drawn_anew(browser: Any, site: Site) -> None:
    """An answer that arrives between the typing and the click must not put the old number back."""
    with tab(browser, opened(site)) as page:
        page.fill("text=draws >> input", "2")
        page.evaluate(
            """() => { const slider = document.querySelector("#temperature"); slider.value = "0.5";
                slider.dispatchEvent(new Event("input", { bubbles: true })); }"""
        )
        page.wait_for_selector("text=Let it write at 0.50")
        assert page.locator("text=draws >> input").input_value() == "2"
        page.click("text=Let it write")
        page.wait_for_function("() => document.querySelectorAll('.item.sampled').length >= 2")
        page.wait_for_selector("text=Let it write at 0.50")
        assert page.locator(".item.sampled").count() == 2
        seed = page.locator("text=seed >> input")
        assert seed.input_value() == "1"
        seed.fill("7")
        seed.fill("1")  # as it was: nothing has changed, and what was typed must not stay for ever
        page.fill("text=draws >> input", "1")
        page.press("text=draws >> input", "Enter")
        page.wait_for_function("() => document.querySelectorAll('.item.sampled').length >= 3")
        page.wait_for_selector("text=Let it write at 0.50")
        assert page.locator(".item.sampled").count() == 3
        assert seed.input_value() == "2"


# ---- tabs, tokens, servers --------------------------------------------------------------------------------------------


def test_a_wrong_token_shows_no_page(browser: Any, site: Site) -> None:
    context = browser.new_context()
    page = context.new_page()
    assert page.goto(f"http://127.0.0.1:{site.port}/?token=wrong").status == 403
    assert "printed in its terminal" in page.content()
    assert page.goto(f"http://127.0.0.1:{site.port}/").status == 403
    context.close()


def test_another_site_cannot_ask_even_with_the_cookie(browser: Any, site: Site) -> None:
    with served(desk_of(toy()), token="another") as other, tab(browser, site.address) as page:
        elsewhere = page.context.new_page()
        elsewhere.goto(other.address)  # same machine, same cookies, another port: another origin
        words = f"fetch('http://127.0.0.1:{site.port}/api/about', {{credentials: 'include'}}).then(r => r.status, e => 'refused')"
        assert elsewhere.evaluate(words) == "refused"


def test_two_tabs_do_not_disturb_each_other(browser: Any, site: Site) -> None:
    with tab(browser, opened(site)) as page:
        other = page.context.new_page()
        other.goto(opened(site, "the cat"))
        other.wait_for_selector(".bars li")
        for _ in range(3):
            page.locator(".bars button").first.click()
            other.locator(".bars button").first.click()
            page.wait_for_selector(".next[aria-busy=false]")
            other.wait_for_selector(".next[aria-busy=false]")
        assert pieces(page).startswith(TEXT)
        assert pieces(other).startswith("the cat")
        assert len(pieces(page)) == len(TEXT) + 3


def test_back_goes_to_the_text_before_and_a_link_may_be_pasted_into_the_tab(browser: Any, site: Site) -> None:
    with tab(browser, opened(site)) as page:
        page.wait_for_selector(".bars li")
        page.get_by_role("button", name="Capital").click()
        page.wait_for_function("() => location.hash.includes('capital')")
        capital = page.url
        page.go_back()
        page.wait_for_function("t => document.querySelector('textarea')?.value === t", arg=TEXT)
        page.wait_for_selector(".bars li")
        page.goto(capital)  # only what stands after the # is another
        page.wait_for_function("() => document.querySelector('textarea')?.value.includes('capital')")


def test_what_arrives_while_one_goes_back_does_not_write_over_the_address(browser: Any, site: Site) -> None:
    """Between the step back and its event, two drawings of the page: the second runs what the first left to do."""
    with tab(browser, opened(site)) as page:
        page.wait_for_selector(".bars li")
        page.get_by_role("button", name="Capital").click()
        page.wait_for_function("() => location.hash.includes('capital')")
        page.wait_for_selector(".bars li")
        page.evaluate(
            """() => {
                const slider = document.querySelector("#temperature");
                const heat = (value) => { slider.value = value; slider.dispatchEvent(new Event("input", { bubbles: true })); };
                window.addEventListener("popstate", async () => {
                    heat("0.5");
                    for (let i = 0; i < 20; i++) await null;
                    heat("0.6");
                });
                history.back();
            }"""
        )
        page.wait_for_function("t => document.querySelector('textarea')?.value === t", arg=TEXT)
        page.wait_for_selector(".bars li")
        assert "capital" not in page.url


def test_a_server_that_goes_and_comes_back(browser: Any) -> None:
    desk: Desk = desk_of(toy())
    with served(desk, token="first") as site:
        port = site.port
        context = browser.new_context()
        page = context.new_page()
        page.goto(opened(site))
        page.wait_for_selector(".bars li")
    page.locator(".bars button").first.click()
    page.wait_for_selector(".banner")
    assert "does not answer" in page.locator(".banner").text_content()
    with served(desk, port=port, token="second") as site:
        page.wait_for_selector("text=has a new token")
        other = context.new_page()
        other.goto(site.address)
        page.wait_for_selector(".banner", state="detached")
        page.wait_for_function("() => document.querySelectorAll('.tokens .piece').length === 13")
        context.close()


def test_a_slow_question_can_be_cancelled(browser: Any) -> None:
    desk, endless = desk_of(toy()), Endless()
    desk.sample = endless  # type: ignore[method-assign,assignment]
    with served(desk) as site, tab(browser, opened(site)) as page:
        page.click("text=Let it write")
        assert endless.began.wait(10)
        page.click(".sampler >> text=Cancel")
        assert endless.ended.wait(10)
        page.wait_for_selector("text=Let it write")
