"""The proxy through which an enrolled server reaches us: it stands where others are, too."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import httpx
import pytest

from agents.runner.settings import LOOPBACK, SettingsError, address
from agents.runtimes.opencode import proxy
from agents.runtimes.opencode.proxy import Proxy


async def asked(authorization: bytes | None) -> tuple[int, int]:
    """The status of an answer to who shows this, and how many requests were heard."""
    found = Proxy({}, "the attempt's token")
    async with found.at(LOOPBACK, "the key") as url, httpx.AsyncClient(trust_env=False) as client:
        headers = [] if authorization is None else [(b"Authorization", authorization)]
        answer = await client.post(f"{url}/v1/models", headers=headers, content=b"{}")
        return answer.status_code, found.heard


@pytest.mark.parametrize(
    "shown", [None, b"", b"Bearer", b"Bearer the ke", b"bearer the key", b"Bearer \xff\xfe", b"\xff"]
)
def test_who_does_not_show_the_key_is_turned_away(shown: bytes | None) -> None:
    assert asyncio.run(asked(shown)) == (401, 0)


def test_who_shows_it_comes_as_far_as_the_known_paths() -> None:
    assert asyncio.run(asked(b"Bearer the key")) == (404, 1)


@dataclass
class Crowd:
    """Requests that begin at once, each with so many bytes, and do not end."""

    sizes: list[int]
    heads: tuple[str, ...] = ("Authorization: Bearer the key",)

    def comes_to(self, wanted: Callable[[int, int], bool], **bounds: float) -> bool:
        """Whether, soon, so many connections are open and so many bytes of them held."""
        return asyncio.run(self._comes_to(wanted, bounds))

    async def _comes_to(self, wanted: Callable[[int, int], bool], bounds: dict[str, float]) -> bool:
        found = Proxy({}, "token")
        with pytest.MonkeyPatch.context() as patch:
            for name, bound in bounds.items():
                patch.setattr(proxy, name, bound)
            async with found.at(LOOPBACK, "the key") as url:
                host, _, port = url.removeprefix("http://").rpartition(":")
                sent = [asyncio.create_task(self._send(host, int(port), size)) for size in self.sizes]
                with suppress(TimeoutError):
                    async with asyncio.timeout(10):
                        while not wanted(sum(not one.done() for one in sent), found.held):
                            await asyncio.sleep(0.02)
                came = wanted(sum(not one.done() for one in sent), found.held)
                for one in sent:
                    one.cancel()
                await asyncio.gather(*sent, return_exceptions=True)
        return came

    async def _send(self, host: str, port: int, size: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        lines = ["POST /v1/models HTTP/1.1", "Host: x", f"Content-Length: {size + 1}", *self.heads, "", ""]
        with suppress(ConnectionError):
            writer.write("\r\n".join(lines).encode() + b"x" * size)
            await writer.drain()
            await reader.read()
        writer.close()


def test_whoever_it_is_the_proxy_holds_no_more_than_so_much() -> None:
    assert Crowd([1_000] * 3).comes_to(lambda left, held: (left, held) == (3, 3_000))
    nothing = Crowd([1_000_000], heads=()).comes_to(lambda left, held: (left, held) == (0, 0))
    assert nothing, "of a stranger it holds next to nothing"
    assert Crowd([1_000_000] * 5).comes_to(lambda left, held: (left, held) == (3, 3_000_000), MOST_HELD=3_100_000)
    assert Crowd([10] * 5).comes_to(lambda left, held: (left, held) == (2, 20), MOST_CONNECTIONS=2)
    assert Crowd([10] * 2).comes_to(lambda left, held: (left, held) == (0, 0), READ_SECONDS=0.2)


def test_it_stands_where_the_runner_is_told() -> None:
    async def url(at: str) -> str:
        async with Proxy({}, "token").at(address({"WAGGLE_RUNNER_ADDRESS": at}), "the key") as found:
            return found.rpartition(":")[0]

    assert asyncio.run(url("")) == "http://127.0.0.1"
    assert asyncio.run(url("127.0.0.9")) == "http://127.0.0.9"
    for wrong in ("0.0.0.0", "::", "example.org", "10.0.0.7:80"):
        with pytest.raises(SettingsError, match="WAGGLE_RUNNER_ADDRESS"):
            address({"WAGGLE_RUNNER_ADDRESS": wrong})
