"""One log line of JSON per event, for every process, with secrets left out.

The lowest place of the house, and without Django, so that the runner process logs in the same way:
`configure("runner", "json")`. Django processes get the same through `LOGGING = logging_config(fmt)`.

    log = structlog.get_logger(__name__)
    with bound(team=team, swarm=swarm_id, trace=trace):   # for as long as a unit of work lasts
        log.info("node started", node=key)
"""

import logging.config
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

Format = Literal["json", "console"]

REDACTED = "[redacted]"

SECRET_NAME = re.compile(
    r"(?:^|_)(?:authorization|cookies?|passwords?|passwd|secrets?|tokens?|key_?file|api_?key|secret_?key|credentials?)$",
    re.IGNORECASE,
)
SECRET_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\bwg_[A-Za-z0-9_\-]{6,}"), "wg_" + REDACTED),
    # A credential has digits or capitals; "bearer tokens" and "basic auth" in a sentence have not.
    (re.compile(r"\b([Bb]earer|[Bb]asic)\s+(?=\S*[0-9A-Z=])[A-Za-z0-9._~+/=\-]{6,}"), r"\1 " + REDACTED),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=]{6,}"), "whsec_" + REDACTED),
    (re.compile(r"\bsk-[A-Za-z0-9_\-]{12,}"), "sk-" + REDACTED),
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), rf"\1:{REDACTED}@"),
    (re.compile(r"(?i)\b((?:session|csrf)[a-z]*=)[^;\s\"']+"), r"\1" + REDACTED),
)

# Loggers that bring their own handlers or say too much; all others follow the root.
_LOGGERS: dict[str, str] = {
    "django": "INFO",
    "django.server": "INFO",
    "uvicorn": "INFO",
    "uvicorn.error": "INFO",
    "uvicorn.access": "INFO",
    "daphne": "INFO",
    "dramatiq": "INFO",
    "httpx": "WARNING",
    "httpx2": "WARNING",
    "httpcore": "WARNING",
    "websockets": "WARNING",
    "zeroconf": "WARNING",
}
_FILTERS = {"uvicorn.access": ["probes"]}


def bind(**values: object) -> None:
    """Adds values to every later log line of this thread or task, until `clear()`."""
    bind_contextvars(**values)


def clear() -> None:
    """Forgets all bound values; call it at the start of each unit of work (request, message)."""
    clear_contextvars()


bound = bound_contextvars
"""Context manager: binds values and gives the former ones back at its end."""


def redact_text(text: str) -> str:
    """Returns the text with tokens, authorization headers and passwords in URLs replaced."""
    for pattern, replacement in SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def redact(value: object, name: str = "") -> object:
    """Returns a copy without secrets; what is called like a secret goes whole, whatever it is."""
    if name and SECRET_NAME.search(name) and not isinstance(value, bool | int | float | None):
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return {str(key): redact(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact_text(str(value))


def _redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: redact(value, name) for name, value in event.items()}


class QuietProbes(logging.Filter):
    """Leaves out the access lines of what went well and comes several times a second: probes, scrapes, and calls of the
    model, of which the gateway says all in a line of its own."""

    quiet = re.compile(r"/(?:livez|readyz|metrics|t/[^/?]+/model/v1/chat/completions)(?:\?.*)?")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is worth a line."""
        if not isinstance(record.args, tuple) or len(record.args) != 5:
            return True
        path, status = str(record.args[2]), record.args[4]
        return not self.quiet.fullmatch(path) or not isinstance(status, int) or status >= 400


def _access(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Turns uvicorn's access line into fields; its text would have to be parsed again by a reader."""
    arguments = event.pop("positional_args", None)
    event.pop("color_message", None)  # uvicorn's text once more, with colours
    if event.get("logger") == "uvicorn.access" and isinstance(arguments, tuple) and len(arguments) == 5:
        client, method, path, _version, status = arguments
        event.update(event="request", client=client, method=method, path=path, status=status)
    return event


def _shared(process: str) -> list[Processor]:
    """What happens to a line from structlog and from the standard library alike."""

    def name_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if process:
            event.setdefault("process", process)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
    ]


def _renderer(fmt: Format) -> Processor:
    if fmt == "console":
        colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        return structlog.dev.ConsoleRenderer(colors=colours)
    return structlog.processors.JSONRenderer(default=str, ensure_ascii=False)


def formatter(fmt: Format, process: str) -> logging.Formatter:
    """Builds the formatter of all handlers; `dictConfig` calls it, so structlog is set up with logging."""
    shared = _shared(process)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _access],
        pass_foreign_args=True,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redact_event,
            _renderer(fmt),
        ],
    )


def logging_config(fmt: str = "json", process: str = "", level: str = "INFO") -> dict[str, Any]:
    """The `LOGGING` dictionary: everything to standard error in one format.

    `fmt` is json or console; `process` names the process in each line when given.
    Raises ValueError for another format.
    """
    if fmt not in ("json", "console"):
        raise ValueError(f"WAGGLE_LOG_FORMAT is {fmt!r}; set it to json or console.")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "tenants.logs.formatter", "fmt": fmt, "process": process}},
        "filters": {"probes": {"()": "tenants.logs.QuietProbes"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            name: {"handlers": [], "level": least, "propagate": True, "filters": _FILTERS.get(name, [])}
            for name, least in _LOGGERS.items()
        },
    }


def configure(process: str, fmt: str = "json", level: str = "INFO") -> None:
    """Sets up logging in a process without Django. Raises ValueError for an unknown format."""
    logging.config.dictConfig(logging_config(fmt, process, level))
