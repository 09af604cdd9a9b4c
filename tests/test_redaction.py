"""Redaction looks only where something may be, and takes the same out as a search everywhere."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tenants import redaction
from tenants.redaction import Redaction

PIECES = [
    *(
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "Authorization: ",
        "proxy-authorization='",
        "Cookie: a",
    ),
    *(
        "eyJhbGciOiJI.eyJzdWIiOiIx.abc",
        "wg_abcdef123",
        "Bearer ",
        "basic ",
        "whsec_abcdef",
        "sk-abcdefghij123",
        "session",
    ),
    *("csrftoken=", "ghp_" + "a1" * 12, "AKIA" + "A1" * 8, "xoxb-1234567890", "sk_live_" + "a1" * 8, "hf_" + "a1" * 12),
    *(
        "SG.aaaaaaaaaaaaaaaa1.aaaaaaaaaaaaaaaa1",
        "postgres://",
        "me:hunter2@",
        "@host",
        "api_key",
        "APIKEY",
        "access-key",
    ),
    *("Secret", "tokens", "password", "passwd", "pwd", "passphrase", "credentials", "my_key", "key", "monkey", "keys"),
    *(
        "=",
        ": ",
        " => ",
        "'",
        '"',
        "\n",
        " ",
        ".",
        "_",
        "-",
        "(",
        "x9K2mQ8vL4pT",
        "hunter22",
        "None",
        "$VALUE",
        "ordinary",
    ),
    *("rk_test_" + "a1" * 8, "glpat-" + "a1" * 8, "dop_v1_" + "a1" * 20),
    *("ſecret", "to\u212aen", "İ", "Ärger", "c2VjcmV0IGJhc2U2NA", "QUJD" * 9),
]


def everywhere(text: str) -> tuple[str, Counter[str]]:
    """The same with every form searched for in all of it."""
    taken = Redaction()
    for form in redaction._FORMS:
        text = taken._take(form.name, form.pattern, form.instead, text)
    return redaction._ASSIGNED.sub(taken._assigned, text), taken.counts


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=14).map("".join))
def test_nothing_is_missed_by_looking_only_where_something_may_be(text: str) -> None:
    taken = Redaction()
    assert (taken.text(text), taken.counts) == everywhere(text)


def test_each_piece_is_taken_alike_in_whatever_case() -> None:
    for piece in PIECES:
        for text in (piece, piece.upper(), piece.lower(), f"my_{piece}='x9K2mQ8vL4pT'", f"é {piece}: x9K2mQ8vL4pT"):
            taken = Redaction()
            assert (taken.text(text), taken.counts) == everywhere(text)
