"""Logs: one JSON object a line, with the context of the work, without secrets, with and without Django."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tenants.logs import REDACTED, logging_config, redact, redact_text

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "wg_" + "A1b2C3d4" * 5


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process of its own, as each process of the platform is."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def lines(code: str, *arguments: str) -> list[dict[str, object]]:
    """The JSON objects that the code logged; fails on a line that is none."""
    return [json.loads(line) for line in run(code, *arguments).stderr.splitlines()]


def test_lines_of_structlog_and_of_the_standard_library_carry_the_bound_context() -> None:
    first, second, third = lines(
        """
        import logging, structlog
        from uuid import UUID
        from tenants.logs import bind, bound, clear, configure
        configure("runner", "json")
        log = structlog.get_logger("agents.runner")
        with bound(team="acme", node="parser", attempt=2, trace=UUID(int=7)):
            log.info("started", pid=12)
            logging.getLogger("dramatiq.worker").warning("slow %s", "message", extra={"queue": "swarms"})
        bind(swarm="s1")
        clear()
        log.info("after")
        """
    )
    context = {
        "team": "acme",
        "node": "parser",
        "attempt": 2,
        "trace": "00000000-0000-0000-0000-000000000007",
        "process": "runner",
    }
    assert context.items() <= first.items()
    assert (first["event"], first["level"], first["logger"], first["pid"]) == (
        "started",
        "info",
        "agents.runner",
        12,
    )
    assert context.items() <= second.items()
    assert (second["event"], second["level"], second["queue"]) == ("slow message", "warning", "swarms")
    assert not {"team", "swarm", "node"} & third.keys()


def test_no_secret_reaches_a_line_however_it_is_logged() -> None:
    done = run(
        """
        import logging, structlog, sys
        from tenants.logs import bind, configure
        token = sys.argv[1]
        for form in ("json", "console"):
            configure("web", form)
            log = structlog.get_logger("x")
            bind(note=f"bearer of {token}")
            log.info("with %s", token, token="canary", headers={"Authorization": "Bearer canary"})
            logging.getLogger("uvicorn.access").info(
                '%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", f"/join?code={token}", "1.1", 200)
            logging.getLogger("django.db").error("postgresql://waggle:canary-password@db/waggle is away")
            try:
                raise ValueError(f"key sk-canary12345678901234 and {token}")
            except ValueError:
                log.exception("broke")
                logging.getLogger("y").exception("broke")
        """,
        TOKEN,
    )
    assert done.stderr.count("ValueError") == 4
    assert TOKEN not in done.stderr
    assert "canary" not in done.stderr


def test_an_access_line_of_uvicorn_comes_as_fields() -> None:
    (line,) = lines(
        """
        import logging
        from tenants.logs import configure
        configure("web", "json")
        logging.getLogger("uvicorn.access").info(
            '%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", "/swarms/", "1.1", 404)
        """
    )
    assert {"event": "request", "method": "GET", "path": "/swarms/", "status": 404}.items() <= line.items()


def test_probes_and_calls_of_the_model_are_heard_only_when_they_fail() -> None:
    said = lines(
        """
        import logging
        from tenants.logs import configure
        configure("web", "json")
        call = "/t/acme/model/v1/chat/completions"
        for path, status in (("/livez", 200), ("/readyz", 200), ("/readyz", 503), ("/metrics?a=1", 200), ("/", 200),
                             (call, 200), (call, 401), ("/x" + call, 200)):
            logging.getLogger("uvicorn.access").info(
                '%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", path, "1.1", status)
        """
    )
    call = "/t/acme/model/v1/chat/completions"
    assert [(line["path"], line["status"]) for line in said] == [
        ("/readyz", 503),
        ("/", 200),
        (call, 401),
        ("/x" + call, 200),
    ]


def test_the_loggers_of_uvicorn_keep_our_format_when_uvicorn_set_them_up_before() -> None:
    (line,) = lines(
        """
        import logging, uvicorn
        uvicorn.Config("nothing:here").configure_logging()
        from tenants.logs import configure
        configure("web", "json")
        logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
        """
    )
    assert (line["event"], line["logger"]) == ("Started server process [7]", "uvicorn.error")


def test_counters_of_tokens_are_no_secrets() -> None:
    assert redact({"input_tokens": 12, "tokens": 3, "token": "x", "api_key": "y"}) == {
        "input_tokens": 12,
        "tokens": 3,
        "token": REDACTED,
        "api_key": REDACTED,
    }


def test_text_without_secrets_is_left_alone() -> None:
    text = "wg_ is the prefix; the bearer left; see http://user@host/path and basic python"
    assert redact_text(text) == text


def test_another_format_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"WAGGLE_LOG_FORMAT.*json or console"):
        logging_config("xml")


def test_the_runner_logs_without_loading_django() -> None:
    done = run(
        """
        import sys
        from tenants.logs import configure
        configure("runner", "console")
        print(sorted(name for name in sys.modules if name.split(".")[0] == "django"))
        """
    )
    assert done.stdout.strip() == "[]"
