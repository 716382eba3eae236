"""Who may ask, what an answer is, and what happens to work that nobody waits for."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from freerun.errors import UsageError
from freerun.explore.guard import HEADERS
from freerun.explore.serving import bound
from tests.explore.site import TOKEN, Endless, Site, desk_of, served, toy


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with served(desk_of(toy(), toy())) as up:
        yield up


def test_the_token_comes_once_in_the_address_and_then_in_a_cookie(site: Site) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)) as connection:
        connection.request("GET", f"/?token={TOKEN}")
        answer = connection.getresponse()
    assert (answer.status, answer.getheader("location")) == (303, "/")
    cookie = answer.getheader("set-cookie") or ""
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert f"freerun-explore-{site.port}={TOKEN}" in cookie


@pytest.mark.parametrize("path", ["/", "/app.js", "/api/about", "/?token=wrong", "/?token=", f"/?token={TOKEN}x"])
def test_without_the_token_nothing_is_shown(site: Site, path: str) -> None:
    status, text = site.send("GET", path, Cookie="freerun-explore=wrong")
    assert status == 403
    assert "printed in its terminal" in text
    assert TOKEN not in text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "0.0.0.0", "[::2]"])
def test_a_foreign_name_for_this_machine_is_refused(site: Site, host: str) -> None:
    """DNS rebinding: a page at another name that points here."""
    assert site.send("GET", "/api/about", Host=host or "-")[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_this_machines_own_names_are_not(site: Site, host: str) -> None:
    assert site.send("GET", "/api/about", Host=f"{host}:{site.port}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"},
    ],
)
def test_another_page_may_not_ask(site: Site, headers: dict[str, str]) -> None:
    assert site.send("GET", "/api/about", **headers)[0] == 403
    status, text = site.send("POST", "/api/read", json.dumps({"text": "to"}), **headers)
    assert (status, "only" in text.lower()) == (403, True)


def test_a_link_from_elsewhere_may_be_followed(site: Site) -> None:
    assert site.send("GET", "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200


@pytest.mark.parametrize("path", ["/", "/api/about", "/nothing", "/?token=wrong"])
def test_every_answer_forbids_what_the_page_does_not_need(site: Site, path: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)) as connection:
        connection.request("GET", path, headers={"Cookie": f"freerun-explore-{site.port}={TOKEN}"})
        answer = connection.getresponse()
        answer.read()
    for name, value in HEADERS.items():
        assert answer.getheader(name) == value
    policy = answer.getheader("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.getheader("access-control-allow-origin") is None


@pytest.mark.parametrize(
    "path",
    ["/../server.py", "/%2e%2e/server.py", "/vendor/../../server.py", "/.git", "/vendor", "/a%00b.js", "/x\\y.js"],
)
def test_no_file_but_those_of_the_page(site: Site, path: str) -> None:
    assert site.send("GET", path)[0] in (400, 404)


def test_files_of_the_page_and_the_style_of_the_report(site: Site) -> None:
    for name in ("", "app.js", "explore.css", "report.css", "vendor/preact.js", "vendor/d3-hierarchy.js", "icon.svg"):
        status, text = site.send("GET", f"/{name}")
        assert status == 200, name
        assert "://" not in text.replace("http://www.w3.org", "").replace("https://d3js.org", ""), name


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("[]", 400),
        ('{"ids": "abc"}', 400),
        ('{"ids": [1.5]}', 400),
        ('{"text": 7}', 400),
        ('{"text": "a", "temperature": "hot"}', 400),
        ("[" * 100_000, 400),
        (b"\xff\xfe", 400),
        ("x" * (2 << 20), 400),
    ],
)
def test_a_question_that_cannot_be_read_is_refused_with_its_reason(site: Site, body: str | bytes, status: int) -> None:
    answered, text = site.send("POST", "/api/read", body)
    assert answered == status
    assert json.loads(text)["error"]
    assert "Traceback" not in text


def test_other_questions_and_other_types_are_refused(site: Site) -> None:
    assert site.send("POST", "/api/nothing", "{}")[0] == 404
    assert site.send("POST", "/api/read", '{"text": "a"}', Content_Type="text/plain")[0] == 415
    assert site.send("GET", "/api/read")[0] == 404


def test_a_wrong_question_has_one_line_for_an_answer(site: Site) -> None:
    status, lines = site.ask("read", {"ids": [999]})
    assert status == 200
    assert "none of" in lines[-1]["error"]


def test_answers_are_json_without_infinities(site: Site) -> None:
    status, text = site.send("POST", "/api/read", json.dumps({"text": "to \u2028\x1b[31m"}))
    assert status == 200
    for line in text.splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_every_question_is_answered(site: Site) -> None:
    ids = list(b"to be or")
    for question, body in {
        "read": {"ids": ids},
        "sample": {"ids": ids, "n": 2, "tokens": 4, "seed": 1},
        "writers": {"ids": ids, "shelf": "era", "latent": "era"},
        "coherence": {"ids": ids, "shelf": "era", "latent": "era", "first": 4},
        "beside": {"ids": ids},
    }.items():
        status, lines = site.ask(question, body)
        assert status == 200
        assert "answer" in lines[-1], (question, lines[-1])
    assert "--run" in site.ask("run-text", {"sequence": 0})[1][-1]["error"]


# ---- work and those who wait for it -----------------------------------------------------------------------------------


def hung(site: Site) -> http.client.HTTPConnection:
    """A question that was asked and whose answer nobody has read."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    headers = {"Cookie": f"freerun-explore-{site.port}={TOKEN}", "Content-Type": "application/json"}
    connection.request("POST", "/api/sample", json.dumps({"ids": [1]}), headers)
    return connection


def test_whoever_hangs_up_ends_the_work_and_a_full_queue_says_busy() -> None:
    desk, endless = desk_of(toy()), Endless()
    desk.sample = endless  # type: ignore[method-assign,assignment]
    with served(desk, most_waiting=1) as site:
        at_work = hung(site)
        assert endless.began.wait(10)
        assert site.ask("read", {"text": "to"})[1][-1]["answer"]["ids"] == list(b"to")  # short questions go between
        waiting = hung(site)
        while not site.worker._long:
            pass
        status, lines = site.ask("beside", {"ids": [1]})
        assert status == 429
        assert "busy" in lines[0]["error"]
        waiting.close()
        at_work.close()
        assert endless.ended.wait(10)
        assert "--beside" in site.ask("beside", {"ids": [1]})[1][-1]["error"]


def test_a_server_that_stops_ends_the_work() -> None:
    desk, endless = desk_of(toy()), Endless()
    desk.sample = endless  # type: ignore[method-assign,assignment]
    with served(desk) as site:
        at_work = hung(site)
        assert endless.began.wait(10)
    assert endless.ended.is_set()
    at_work.close()


def test_a_port_that_is_taken() -> None:
    with bound(0) as taken, pytest.raises(UsageError, match="--port"):
        bound(taken.getsockname()[1])
    for wrong in (-1, 70000):
        with pytest.raises(UsageError, match="--port"):
            bound(wrong)


def test_only_this_machine_is_listened_to() -> None:
    with bound(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
