"""Reads settings from environment variables and says plainly what is wrong with one.

An empty variable counts as unset. A `.env` file at the project's root is read once, on import;
what the environment already holds wins over it.
"""

import base64
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, overload
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from dotenv import load_dotenv

PROJECT_ROOT = Path(__file__).resolve().parent.parent
load_dotenv(PROJECT_ROOT / ".env", override=False)

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})

T = TypeVar("T")


class Required:
    """The type of the mark "this variable has no default"."""


REQUIRED = Required()


def _read(name: str, default: T | Required, convert: Callable[[str], T], example: str) -> T:
    raw = os.environ.get(name, "").strip()
    if not raw:
        if isinstance(default, Required):
            raise ImproperlyConfigured(f"{name} is not set. Set it in the environment or in .env, {example}.")
        return default
    return convert(raw)


@overload
def env(name: str) -> str: ...
@overload
def env(name: str, default: str) -> str: ...
@overload
def env(name: str, default: None) -> str | None: ...
def env(name: str, default: str | Required | None = REQUIRED) -> str | None:
    """Text of a variable, without spaces around it.

    Raises ImproperlyConfigured when the variable is unset and there is no default.
    """
    return _read(name, default, str, f"for example {name}=text")


def env_bool(name: str, default: bool | Required = REQUIRED) -> bool:
    """A yes or no: 1/true/yes/on or 0/false/no/off. Raises ImproperlyConfigured for anything else."""

    def convert(raw: str) -> bool:
        word = raw.lower()
        if word not in TRUE_WORDS | FALSE_WORDS:
            raise ImproperlyConfigured(f"{name} must be yes or no, not {raw!r}. For example {name}=1 or {name}=0.")
        return word in TRUE_WORDS

    return _read(name, default, convert, f"for example {name}=1")


def env_choice(name: str, choices: Sequence[str], default: str) -> str:
    """One of some words. Raises ImproperlyConfigured for another one."""

    def convert(raw: str) -> str:
        if raw not in choices:
            known = " or ".join(choices)
            raise ImproperlyConfigured(f"{name} must be {known}, not {raw!r}. For example {name}={choices[0]}.")
        return raw

    return _read(name, default, convert, f"for example {name}={choices[0]}")


def env_int(
    name: str, default: int | Required = REQUIRED, *, minimum: int | None = None, maximum: int | None = None
) -> int:
    """A whole number within the given limits (both inclusive). Raises ImproperlyConfigured otherwise."""
    return _number(name, default, int, "a whole number", "10", minimum, maximum)


def env_float(
    name: str,
    default: float | Required = REQUIRED,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
) -> float:
    """A number within the given limits (both inclusive). Raises ImproperlyConfigured otherwise."""
    return _number(name, default, float, "a number", "0.5", minimum, maximum)


def _number(
    name: str,
    default: T | Required,
    kind: Callable[[str], T],
    words: str,
    example: str,
    minimum: float | None,
    maximum: float | None,
) -> T:
    def convert(raw: str) -> T:
        try:
            value = kind(raw)
        except ValueError:
            raise ImproperlyConfigured(f"{name} must be {words}, not {raw!r}. For example {name}={example}.") from None
        number = float(raw)
        # "not (x >= limit)" also refuses nan, which compares false with everything.
        if (minimum is not None and not number >= minimum) or (maximum is not None and not number <= maximum):
            limits = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
            if minimum is None:
                limits = f"at most {maximum}"
            raise ImproperlyConfigured(f"{name} must be {limits}, not {raw}.")
        return value

    return _read(name, default, convert, f"for example {name}={example}")


@overload
def env_secret(name: str) -> str: ...
@overload
def env_secret(name: str, default: str) -> str: ...
@overload
def env_secret(name: str, default: None) -> str | None: ...
def env_secret(name: str, default: str | Required | None = REQUIRED) -> str | None:
    """A secret from NAME, or from the file that NAME_FILE points to.

    Raises ImproperlyConfigured when both are set, when the file cannot be read or is empty,
    or when neither is set and there is no default. The message never holds the secret.
    """
    path = os.environ.get(f"{name}_FILE", "").strip()
    if not path:
        return _read(name, default, str, f"or the path of a file that holds it in {name}_FILE")
    if os.environ.get(name, "").strip():
        raise ImproperlyConfigured(f"Both {name} and {name}_FILE are set. Keep one of them.")
    try:
        secret = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{name}_FILE={path} cannot be read: {error}.") from error
    if not secret:
        raise ImproperlyConfigured(f"{name}_FILE={path} is empty. Write the secret into it.")
    return secret


def encryption_keys(name: str, text: str) -> tuple[bytes, ...]:
    """Keys of 256 bits from the text of a variable, with commas or spaces between.

    Raises ImproperlyConfigured, without the keys.
    """
    keys = []
    for place, word in enumerate(text.replace(",", " ").split(), 1):
        try:
            plain = word.replace("+", "-").replace("/", "_")
            key = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
        except ValueError:
            key = b""
        if len(key) != 32:
            raise ImproperlyConfigured(
                f"{name}: key {place} is not 32 bytes in base64."
                ' Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        keys.append(key)
    return tuple(keys)


@overload
def env_url(name: str, schemes: Sequence[str], example: str, default: str) -> str: ...
@overload
def env_url(name: str, schemes: Sequence[str], example: str, default: None = None) -> str | None: ...
def env_url(name: str, schemes: Sequence[str], example: str, default: str | None = None) -> str | None:
    """An address with one of the given schemes, a host and, if it names a port, a valid one.

    Returns the default when the variable is unset. Raises ImproperlyConfigured with the example when
    the address is wrong; passwords in it are not repeated.
    """

    def convert(raw: str) -> str:
        problem = _url_problem(raw, schemes)
        if problem:
            raise ImproperlyConfigured(f"{name} {problem}. For example {name}={example}.")
        return raw

    return _read(name, default, convert, f"for example {name}={example}")


def _url_problem(raw: str, schemes: Sequence[str]) -> str | None:
    try:
        parts = urlsplit(raw)
        port = parts.port
    except ValueError as error:
        return f"is not a valid address ({error})"
    if parts.scheme not in schemes:
        return f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    if not parts.hostname and not parts.path.strip("/"):
        return "names no host"
    if port == 0:
        return "names port 0"
    return None
