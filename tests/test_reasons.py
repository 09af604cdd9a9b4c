"""The table of reasons: what follows from each, and that code, contract and document know the same ones."""

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.contracts import FailureReason
from swarms.reasons import (
    FIRST_DELAY,
    LONGEST_DELAY,
    MAX_LOSSES,
    PARKED,
    RULES,
    Again,
    Counts,
    GiveUp,
    Retry,
    after_failure,
    count,
    rule_of,
)
from tests.test_docs import DOCS, sources

BEGIN, END = "<!-- reasons -->\n", "<!-- /reasons -->\n"
reasons = st.sampled_from(sorted(RULES))


def ask(reason: str, failures: int = 1, losses: int = 1, jitter: float = 0.0, most: int = 3) -> Again | GiveUp:
    return after_failure(reason, "m", failures=failures, losses=losses, max_attempts=most, jitter=jitter)


def test_what_runners_report_and_what_the_control_plane_says_is_in_the_table() -> None:
    said = {str(reason) for reason in FailureReason}
    for path in sources():
        if path.parts[-2] != "rehearsal":
            said |= set(re.findall(r"""\breason=["'](\w+)["']""", path.read_text()))
    assert said - set(RULES) == set()


@pytest.mark.parametrize("reason", sorted(RULES))
def test_each_reason_says_what_it_means_and_what_a_person_can_do(reason: str) -> None:
    rule = RULES[reason]
    assert rule.meaning.endswith(".")
    assert rule.remedy.endswith(".")
    assert rule_of(reason) is rule_of(f"{reason}: details: more") is rule_of(reason.replace("_", " ") + ": x") is rule


def test_a_text_that_is_no_reason_has_no_rule() -> None:
    for text in ("", "merged", "cancelled by Alice", "attempt 2 on runner-1", "unit: failed"):
        assert rule_of(text) is None


@given(reasons, st.integers(1, 50), st.integers(0, 50), st.floats(0, 1, exclude_max=True), st.integers(1, 10))
def test_attempts_end_for_every_reason_that_counts(
    reason: str, failures: int, losses: int, jitter: float, most: int
) -> None:
    rule, said = RULES[reason], ask(reason, failures, losses, jitter, most)
    if rule.retry == Retry.NEVER or (rule.counts == Counts.FAILURE and failures >= most):
        assert isinstance(said, GiveUp)
        assert rule_of(said.why) is rule
    elif rule.counts == Counts.LOSS and losses >= MAX_LOSSES:
        assert isinstance(said, GiveUp)
        assert rule_of(said.why) is RULES["poison"]
    else:
        assert isinstance(said, Again)
        assert timedelta(0) <= said.delay <= LONGEST_DELAY
        assert bool(said.parked) == (rule.retry == Retry.PARK)
        if rule.retry == Retry.NOW:
            assert said.delay == timedelta(0)


@given(st.lists(reasons, max_size=40))
def test_only_its_own_work_uses_up_a_nodes_attempts_and_only_losses_in_a_row_are_poison(ends: list[str]) -> None:
    failures = losses = 0
    for reason in ends:
        failures, losses = count(reason, failures, losses)
    counted = [RULES[reason].counts for reason in ends if RULES[reason].counts != Counts.NOTHING]
    assert failures == counted.count(Counts.FAILURE)
    row = next((n for n, each in enumerate(reversed(counted)) if each != Counts.LOSS), len(counted))
    assert losses == row


def test_backoff_doubles_to_its_limit_and_is_spread_by_up_to_half() -> None:
    def delay(failures: int, jitter: float) -> timedelta:
        said = ask("agent_error", failures, jitter=jitter, most=10**6)
        assert isinstance(said, Again)
        return said.delay

    assert [delay(n, 1.0) / FIRST_DELAY for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert delay(1, 0.0) == FIRST_DELAY / 2
    assert delay(1000, 1.0) == LONGEST_DELAY


def test_what_waits_for_a_provider_is_parked_for_a_while() -> None:
    said = ask("provider_unavailable", failures=0, losses=0)
    assert isinstance(said, Again)
    assert PARKED <= said.delay <= 2 * PARKED
    assert said.parked == "provider_unavailable: m"


def table() -> str:
    """The table as Markdown."""
    head = "| Reason | What it means | Tried again | Counts as | Told | What you can do |\n|---|---|---|---|---|---|\n"
    return head + "".join(
        f"| `{name}` | {rule.meaning} | {rule.retry} | {rule.counts} | {rule.told} | {rule.remedy} |\n"
        for name, rule in RULES.items()
    )


def test_the_document_has_the_table_as_it_is() -> None:
    text = (DOCS / "operations.md").read_text()
    assert text.partition(BEGIN)[2].partition(END)[0] == table(), "run: python -m tests.test_reasons"


def write_table() -> None:
    """Write docs/operations.md with the table as it is."""
    path = DOCS / "operations.md"
    head, _, rest = path.read_text().partition(BEGIN)
    path.write_text(head + BEGIN + table() + END + rest.partition(END)[2])


if __name__ == "__main__":
    write_table()
