"""The proxy through which an enrolled server reaches us: it stands on the machine's loopback, where others are, too."""

import asyncio

import httpx
import pytest

from agents.runtimes.opencode.proxy import Proxy


async def asked(authorization: bytes | None) -> tuple[int, int]:
    """The status of an answer to who shows this, and how many requests were heard."""
    proxy = Proxy({}, "the attempt's token")
    async with proxy.on_loopback("the key") as port, httpx.AsyncClient(trust_env=False) as client:
        headers = [] if authorization is None else [(b"Authorization", authorization)]
        answer = await client.post(f"http://127.0.0.1:{port}/v1/models", headers=headers, content=b"{}")
        return answer.status_code, proxy.heard


@pytest.mark.parametrize(
    "shown", [None, b"", b"Bearer", b"Bearer the ke", b"bearer the key", b"Bearer \xff\xfe", b"\xff"]
)
def test_who_does_not_show_the_key_is_turned_away(shown: bytes | None) -> None:
    assert asyncio.run(asked(shown)) == (401, 0)


def test_who_shows_it_comes_as_far_as_the_known_paths() -> None:
    assert asyncio.run(asked(b"Bearer the key")) == (404, 1)
