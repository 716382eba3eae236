"""What may be typed after `vllm/` and the like, and where keys come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from freerun.errors import DataError, FreerunError, UsageError
from freerun.predictors.servers.address import read_address


def test_a_name_may_hold_slashes_and_more() -> None:
    a = read_address("vllm", "org/Model-7B@rev@https://host.example:8443/v1/,window=4096,at-once=3", environment={})
    assert (a.model, a.url, a.window, a.at_once) == ("org/Model-7B@rev", "https://host.example:8443", 4096, 3)
    assert a.name.startswith("vllm/org/Model-7B@rev@https://")
    assert not a.local
    assert read_address("openai", "m@http://[::1]:80", environment={}).local


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("m", "give vllm/NAME@http://HOST:PORT"),
        ("m@ftp://h", "give vllm/NAME@http://HOST:PORT"),
        ("@http://h:1", "give vllm/NAME@http://HOST:PORT"),
        ("m@http://user:word@h:1", "user name or password in a URL"),
        ("m@http://h:1?x=y", "not an address of a server"),
        ("m@http://h:port", "not an address of a server"),
        ("m@http://h:1,windw=3", "did you mean 'window'"),
        ("m@http://h:1,window=x", "not a whole number"),
        ("m@http://h:1,window=3,window=4", "given twice"),
        ("m@http://h:1,key-env=NOT_THERE", "NOT_THERE is not set"),
        ("m@http://h:1,key-env=A,key-file=B", "not both"),
        ("m@http://h:1,key-file=/not/there", "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line(typed: str, words: str) -> None:
    with pytest.raises(FreerunError, match=words) as raised:
        read_address("vllm", typed, environment={})
    assert isinstance(raised.value, UsageError | DataError)
    assert "word" not in str(raised.value).replace("password", "")


def test_keys_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    plain = read_address("vllm", "m@http://h:1", environment={"FREERUN_SERVER_KEY": " abc "})
    assert plain.key is not None
    assert plain.key.header() == "Bearer abc"
    named = read_address("vllm", "m@http://h:1,key-env=MINE", environment={"MINE": "x", "FREERUN_SERVER_KEY": "y"})
    assert named.key is not None
    assert named.key.header() == "Bearer x"
    file = tmp_path / "key"
    file.write_text("from-file\nmore\n")
    kept = read_address("vllm", f"m@http://h:1,key-file={file}", environment={})
    assert kept.key is not None
    assert kept.key.header() == "Bearer from-file"
    assert "from-file" not in repr(kept)
    with pytest.raises(UsageError, match="no HTTP header"):
        read_address("vllm", "m@http://h:1", environment={"FREERUN_SERVER_KEY": "a\x01b"})
