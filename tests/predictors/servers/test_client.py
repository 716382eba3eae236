"""The client: bounded in everything, patient with faults, and silent about its key."""

from __future__ import annotations

import asyncio
import email.utils
import random
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from freerun.errors import BackendError

pytest.importorskip("aiohttp", reason="the extra [servers] is not installed")

from freerun.predictors.servers.address import Key
from freerun.predictors.servers.client import Client
from freerun.predictors.servers.faults import BadAnswer, Patience
from tests.predictors.servers.conftest import AT_ONCE
from tests.predictors.servers.fake import Fake, serving

SECRET = "sk-never-to-be-seen-1234"


@pytest.fixture
def fake() -> Iterator[Fake]:
    with serving(Fake()) as started:
        yield started


def client_of(fake: Fake, **options: Any) -> Client:
    return Client(fake.url, patience=options.pop("patience", AT_ONCE), **options)


def version(client: Client, **options: Any) -> Any:
    return client.run(lambda: client.ask("/version", {"n": 1}, lambda a: a["version"], **options))


def failing(kind: str, times: int = 10**9) -> Any:
    return lambda path, body, attempt: kind if attempt < times else None


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("hang", "no answer within 0.2 s"),
        ("reset", "the connection broke"),
        ("cut", "the connection broke"),
        ("half_json", "not whole JSON"),
        ("not_json", "not whole JSON"),
        ("gzip", "compressed .gzip., which was not asked for"),
        ("huge", "1,048,576 .*were allowed"),
        ("endless", "more than the 1,048,576 bytes"),
        ("drip", "no answer within 0.2 s"),
        ("busy", "HTTP 429"),
        ("broken", "HTTP 500"),
        ("gateway", "HTTP 503"),
        ("forbidden", "HTTP 401 .*put its key into FREERUN_SERVER_KEY"),
        ("absent", "HTTP 404; is it the kind of server that the name says, and is the path in the address right"),
        ("redirect", "redirects to elsewhere.example:9, which is not followed"),
    ],
)
def test_what_fails_for_good_is_said_with_its_reason(fake: Fake, fault: str, words: str) -> None:
    fake.faults = failing(fault)
    client = client_of(fake, timeout_seconds=0.2, patience=Patience(3, 3, 0.05, 1e-4, 1e-3))
    with pytest.raises(BackendError, match=words):
        version(client)
    (failure,) = client.tally.failed
    assert failure.path == "/version"
    assert failure.why
    once = fault in ("redirect", "forbidden", "absent")
    assert (fake.injected[fault] == 1) == once
    client.close()


def test_every_try_is_counted(fake: Fake) -> None:
    fake.faults = failing("broken", 4)
    client = client_of(fake)
    assert version(client) == "0.33.0"
    assert client.tally.answered == 1
    assert dict(client.tally.retried) == {"HTTP 500": 4}
    assert client.tally.describe() == "4 attempts were tried again (4 × HTTP 500)"
    client.close()


def test_a_storm_of_refusals_is_waited_out_and_halves_what_runs_at_once(fake: Fake) -> None:
    fake.faults = failing("busy", 30)  # more than the attempts that other faults have
    client = client_of(fake, patience=Patience(attempts=3, first_wait_seconds=1e-4, longest_wait_seconds=1e-3))
    assert version(client) == "0.33.0"
    assert client.limiter.limit == 1
    client.close()


@pytest.mark.parametrize("fault", ["busy", "gateway"])
def test_a_server_that_goes_on_refusing_is_asked_less_and_less_often(
    fake: Fake, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def quick(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr("freerun.predictors.servers.client.asyncio.sleep", quick)
    monkeypatch.setattr("freerun.predictors.servers.client.retry_after_seconds", lambda header: None)
    fake.faults = failing(fault, 9)
    client = client_of(fake, patience=Patience(first_wait_seconds=1.0, longest_wait_seconds=32.0))
    assert version(client) == "0.33.0"
    assert all(0.5 * 2 ** min(i, 5) <= seconds <= 2 ** min(i, 5) for i, seconds in enumerate(slept))
    assert len(slept) == 9
    client.close()


def test_refusals_are_attempts_that_are_named(fake: Fake) -> None:
    fake.faults = failing("busy")
    client = client_of(fake, patience=Patience(3, 3, 0.05, 1e-4, 1e-3))
    with pytest.raises(BackendError, match=r"failed after \d+ attempts: HTTP 429"):
        version(client)
    (failure,) = client.tally.failed
    assert failure.attempts == fake.injected["busy"] > 1
    client.close()


def test_a_connection_that_the_server_has_closed_meanwhile_costs_a_try(fake: Fake) -> None:
    """As where a proxy drops connections that nobody used for some seconds, without a word in its last answer."""
    fake.faults = lambda path, body, attempt: "dropped" if attempt % 2 == 0 else None
    client = client_of(fake)
    for _ in range(6):
        assert version(client) == "0.33.0"
    assert client.tally.answered == 6
    assert set(client.tally.retried) <= {"broken connection"}
    client.close()


def test_a_server_that_is_slow_at_first_is_asked_more_once_it_is_fast(fake: Fake) -> None:
    fake.delay_seconds = 0.05
    client = client_of(fake, at_once=32)
    jobs = [lambda n=n: client.ask("/version", {"n": n}, lambda a: a["version"]) for n in range(300)]
    for done, _ in enumerate(client.each(jobs)):
        if done == 8:
            fake.delay_seconds = 0.002
    assert client.tally.answered == 300
    assert not client.tally.retried
    assert client.limiter.limit > 4
    client.close()


def test_retry_after_is_waited_for_and_a_long_one_is_a_failure(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def quick(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    client = client_of(fake)
    fake.faults = lambda path, body, attempt: "busy" if attempt < 1 else None
    original = fake.send

    async def asking(writer: Any, data: bytes, status: int, headers: dict[str, str] | None = None) -> None:
        if status == 429:
            headers = {"Retry-After": asked}
        await original(writer, data, status, headers)

    fake.send = asking  # type: ignore[method-assign]
    monkeypatch.setattr("freerun.predictors.servers.client.asyncio.sleep", quick)
    asked = "7"
    monkeypatch.setattr(client, "_until_open", lambda loop: sleep(0))
    assert version(client) == "0.33.0"
    assert slept
    assert 7 <= slept[0] <= 8
    fake.attempts.clear()
    slept.clear()
    asked = email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    assert version(client) == "0.33.0"
    assert 15 <= slept[0] <= 21
    fake.attempts.clear()
    asked = "4000"
    with pytest.raises(BackendError, match="HTTP 429"):
        version(client)
    client.close()


def test_an_answer_that_cannot_be_read_is_asked_for_again(fake: Fake) -> None:
    client = client_of(fake)
    tries = iter(["no", "no", "yes"])

    def read(answer: Any) -> str:
        if (word := next(tries)) == "no":
            raise BadAnswer("not this time")
        return word

    assert client.run(lambda: client.ask("/version", None, read)) == "yes"
    assert client.tally.retried == {"unusable answer": 2}
    client.close()


def test_a_server_that_is_not_there_is_said_soon() -> None:
    with serving(Fake()) as gone:
        pass
    client = client_of(gone)
    with pytest.raises(BackendError, match="failed after 2 attempts: cannot connect"):
        version(client, attempts=2)


def test_keys_are_sent_and_never_shown(fake: Fake) -> None:
    key = Key(SECRET)
    assert SECRET not in f"{key!r} {key} {vars(Client(fake.url, key=key))}"
    fake.faults = failing("forbidden")  # which says the header that it was sent
    client = client_of(fake, key=key)
    with pytest.raises(BackendError) as raised:
        version(client)
    assert SECRET not in str(raised.value)
    assert "Bearer …" in str(raised.value)
    assert "it does not take the key that was sent" in str(raised.value)
    assert fake.seen[-1][2]["authorization"] == f"Bearer {SECRET}"
    assert not any(SECRET in f"{f}" for f in client.tally.failed)
    client.close()


def test_no_proxy_of_the_environment_is_used(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = client_of(fake)
    assert version(client) == "0.33.0"
    assert "accept-encoding" in fake.seen[-1][2]
    assert fake.seen[-1][2]["accept-encoding"] == "identity"
    client.close()


def test_certificates_are_verified(tmp_path: Any) -> None:
    """A server with a certificate that nobody signed."""
    import subprocess

    files = [str(tmp_path / n) for n in ("key.pem", "cert.pem")]
    made = subprocess.run(
        (
            f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {files[0]} -out {files[1]} -days 2 -subj /CN=localhost "
            "-addext subjectAltName=IP:127.0.0.1"
        ).split(),
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    with serving(Fake(), context) as fake:
        client = Client(fake.url.replace("http:", "https:"), patience=AT_ONCE)
        with pytest.raises(BackendError, match="certificate is not trusted"):
            version(client)
        assert not fake.seen
        client.close()


def test_at_most_so_many_run_at_once_and_results_are_bounded(fake: Fake) -> None:
    fake.delay_seconds = 0.001
    client = client_of(fake, at_once=8)
    started = 0

    def jobs() -> Iterator[Any]:
        nonlocal started
        for i in range(200):
            started += 1
            yield lambda i=i: client.ask("/version", {"i": i}, lambda a: i)

    ahead = 0
    for n, (i, value) in enumerate(client.each(jobs())):
        assert i == value
        ahead = max(ahead, started - n)
    assert ahead <= 9  # jobs are taken only as there is room for them
    assert fake.most_running <= 8
    client.close()


def test_one_failure_stops_the_others(fake: Fake) -> None:
    fake.faults = lambda path, body, attempt: (
        "forbidden" if body.get("i") == 3 else "hang" if body.get("i", 0) > 3 else None
    )
    client = client_of(fake, at_once=16)
    jobs = [lambda i=i: client.ask("/version", {"i": i}, lambda a: i) for i in range(12)]  # type: ignore[misc]
    with pytest.raises(BackendError, match="HTTP 401"):
        list(client.each(jobs))
    assert len(client.tally.failed) == 1
    client.close()


def test_it_works_where_a_loop_is_running_already(fake: Fake) -> None:
    """As in a notebook."""
    client = client_of(fake)

    async def cell() -> Any:
        return version(client)

    assert asyncio.run(cell()) == "0.33.0"
    assert sum(t.name == "freerun-http" for t in threading.enumerate()) == 1
    client.close()


def test_waits_double_up_to_a_limit_and_spread() -> None:
    patience, chance = Patience(first_wait_seconds=1.0, longest_wait_seconds=10.0), random.Random(0)
    waits = [[patience.wait(n, chance) for _ in range(200)] for n in range(1, 8)]
    for n, some in enumerate(waits):
        longest = min(10.0, 2.0**n)
        assert longest / 2 <= min(some) < max(some) <= longest
        assert max(some) - min(some) > longest / 3
