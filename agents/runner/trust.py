"""Whose certificates connections of a runner trust."""

import ssl
from functools import cache

import httpx


@cache
def trusted(*, as_told: bool = False) -> ssl.SSLContext:
    """For all connections of a process and its forks: reading the list takes 20 ms, more than all else of a connection.

    `as_told`: SSL_CERT_FILE and SSL_CERT_DIR count.
    """
    return httpx.create_ssl_context(trust_env=as_told)
