"""The proxy through which an enrolled server reaches us: it stands where others are, too."""

import asyncio

import httpx
import pytest

from agents.runner.settings import LOOPBACK, SettingsError, address
from agents.runtimes.opencode.proxy import Proxy


async def asked(authorization: bytes | None) -> tuple[int, int]:
    """The status of an answer to who shows this, and how many requests were heard."""
    proxy = Proxy({}, "the attempt's token")
    async with proxy.at(LOOPBACK, "the key") as url, httpx.AsyncClient(trust_env=False) as client:
        headers = [] if authorization is None else [(b"Authorization", authorization)]
        answer = await client.post(f"{url}/v1/models", headers=headers, content=b"{}")
        return answer.status_code, proxy.heard


@pytest.mark.parametrize(
    "shown", [None, b"", b"Bearer", b"Bearer the ke", b"bearer the key", b"Bearer \xff\xfe", b"\xff"]
)
def test_who_does_not_show_the_key_is_turned_away(shown: bytes | None) -> None:
    assert asyncio.run(asked(shown)) == (401, 0)


def test_who_shows_it_comes_as_far_as_the_known_paths() -> None:
    assert asyncio.run(asked(b"Bearer the key")) == (404, 1)


def test_it_stands_where_the_runner_is_told() -> None:
    async def url(at: str) -> str:
        async with Proxy({}, "token").at(address({"WAGGLE_RUNNER_ADDRESS": at}), "the key") as found:
            return found.rpartition(":")[0]

    assert asyncio.run(url("")) == "http://127.0.0.1"
    assert asyncio.run(url("127.0.0.9")) == "http://127.0.0.9"
    for wrong in ("0.0.0.0", "::", "example.org", "10.0.0.7:80"):
        with pytest.raises(SettingsError, match="WAGGLE_RUNNER_ADDRESS"):
            address({"WAGGLE_RUNNER_ADDRESS": wrong})
