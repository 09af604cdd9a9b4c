"""Money: set aside before work, booked as model calls are metered, freed when the work ends.

A budget's subject is text (team, project:<uuid>, swarm:<uuid>, node:<uuid>); a subject without a row has no limit.
What an execution set aside counts in each of its budgets alike, so that a budget's `reserved` is the sum over its live
executions. Amounts are millionths of a dollar. Locks are taken in one order: swarm, execution, events, and a team's
books last (see `_open_books`): who books without the swarm's lock publishes first, or in a transaction of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Sum

from agents import routes
from agents.models import Budget, Execution, HeldCall, ModelCall
from agents.states import LIVE, ExecutionState

FIRST_ESTIMATE = 250_000
"""Before anything is known about a role: an agent's loop of some 20 calls, 10,000 tokens each, at $1 a million and
mostly cached, comes to a quarter of a dollar. Too much only makes others wait until it ends; too little is extended."""
LOOKED_BACK = 20
SOFT_PERCENT = 80

_MINE = """
mine AS MATERIALIZED (
  SELECT id, subject, limit_microusd AS line, limit_microusd - spent_microusd - reserved_microusd AS room
  FROM agents_budget WHERE subject = ANY(%(subjects)s) ORDER BY subject FOR NO KEY UPDATE
)"""
_RESERVE = f"""
WITH {_MINE}, asked AS (
  SELECT CASE WHEN %(whole)s THEN %(amount)s::bigint ELSE LEAST(%(amount)s::bigint, min(line)) END AS amount FROM mine
), short AS (
  SELECT subject FROM mine, asked WHERE room < GREATEST(amount, LEAST(%(amount)s::bigint, 1)) ORDER BY room, subject
), taken AS (
  UPDATE agents_budget AS b SET reserved_microusd = b.reserved_microusd + asked.amount FROM mine, asked
  WHERE b.id = mine.id AND NOT EXISTS (SELECT FROM short)
)
SELECT (SELECT subject FROM short LIMIT 1), (SELECT CASE WHEN count(*) > 0 THEN max(amount) ELSE 0 END FROM mine, asked)
"""
_BOOK = f"""
WITH {_MINE}
UPDATE agents_budget AS b SET
  spent_microusd = b.spent_microusd + LEAST(%(cost)s::bigint, GREATEST(mine.room, 0) + %(covered)s::bigint),
  over_microusd = b.over_microusd + GREATEST(%(cost)s::bigint - GREATEST(mine.room, 0) - %(covered)s::bigint, 0),
  reserved_microusd = GREATEST(b.reserved_microusd - %(covered)s::bigint, 0)
FROM mine WHERE b.id = mine.id
RETURNING b.subject, b.asked_at IS NULL AND b.spent_microusd > 0
  AND b.spent_microusd * 100 >= b.limit_microusd * b.soft_percent
"""
_FREE = f"""
WITH {_MINE}, freed AS (
  SELECT b.id, GREATEST(b.reserved_microusd - %(amount)s::bigint, 0) AS kept,
    LEAST(b.over_microusd, b.limit_microusd - b.spent_microusd - GREATEST(b.reserved_microusd - %(amount)s::bigint, 0))
      AS late
  FROM agents_budget b JOIN mine ON mine.id = b.id
)
UPDATE agents_budget AS b SET reserved_microusd = freed.kept, spent_microusd = b.spent_microusd + freed.late,
  over_microusd = b.over_microusd - freed.late
FROM freed WHERE b.id = freed.id
"""
LEFT = """(
  SELECT min(b.limit_microusd - b.spent_microusd - b.reserved_microusd) FROM agents_budget b
  WHERE b.subject IN (SELECT jsonb_array_elements_text(e.budgets))
) + e.reserved_microusd - e.held_microusd"""
"""What an execution `e` may still spend, on the tightest of its budgets; NULL: no limit."""
_RECOUNT = """
UPDATE agents_budget AS b SET reserved_microusd = now.kept, spent_microusd = b.spent_microusd + now.late,
  over_microusd = b.over_microusd - now.late
FROM (
  SELECT room.id, room.kept, LEAST(room.over, room.room - room.kept) AS late FROM (
    SELECT x.id, x.over_microusd AS over, x.limit_microusd - x.spent_microusd AS room,
      LEAST(x.limit_microusd - x.spent_microusd, COALESCE((
        SELECT sum(e.reserved_microusd) FROM agents_execution e
        WHERE e.state = ANY(%(live)s) AND e.reserved_microusd > 0 AND e.budgets ? x.subject
      ), 0)::bigint) AS kept FROM agents_budget x
  ) AS room
) AS now
WHERE b.id = now.id AND (b.reserved_microusd <> now.kept OR now.late > 0)
"""


def _open_books(*, shared: bool = False) -> None:
    """One transaction of a team at a time changes its budgets; while it is `shared`, none begins or changes a limit.

    A transaction may free money of one swarm and reserve for another: row by row, two such would wait in a circle.
    """
    lock = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {lock}(hashtextextended(current_schema() || '.budgets', 0))")


class Over(Exception):
    """The execution has ended: nothing is set aside for it any more."""


@dataclass(frozen=True)
class Aside:
    """What an execution has set aside in each of its budgets."""

    subjects: tuple[str, ...]
    amount: int


def estimate(role: str) -> int:
    """What an execution of this role will probably cost: the median of the last ones. Rehearsal costs nothing."""
    if routes.is_rehearsal():
        return 0
    done = Execution.objects.filter(state=ExecutionState.DONE, assignment__role=role).order_by("-created_at")
    costs = list(done.values_list("spent_microusd", flat=True)[:LOOKED_BACK])
    return int(median(costs)) if any(costs) else FIRST_ESTIMATE


def reserve(execution: Execution, subjects: Iterable[str], amount: int) -> str | None:
    """Set `amount` aside in the budgets of all subjects, or in none: then the subject that has no room is returned.

    An amount above the smallest limit is cut to it: a small budget lets one go at a time. In the caller's transaction,
    which rolls the execution back when there is no room.
    """
    names = sorted(set(subjects))
    short, taken = _reserve(names, amount, whole=False)
    if short is None:
        execution.budgets, execution.reserved_microusd = names, taken
        Execution.objects.filter(pk=execution.pk).update(budgets=names, reserved_microusd=taken)
    return short


def extend(execution: Execution, amount: int) -> str | None:
    """Set `amount` more aside for a live execution, locked by the caller; returns the subject that has no room."""
    short, taken = _reserve(execution.budgets, amount, whole=True)
    if short is None:
        execution.reserved_microusd += taken
        Execution.objects.filter(pk=execution.pk).update(reserved_microusd=execution.reserved_microusd)
    return short


def _reserve(subjects: list[str], amount: int, *, whole: bool) -> tuple[str | None, int]:
    _open_books()
    with connection.cursor() as cursor:
        cursor.execute(_RESERVE, {"subjects": subjects, "amount": amount, "whole": whole})
        short, taken = cursor.fetchone()
    return short, 0 if short else taken


def hold(execution_id: UUID, most: int) -> str | None:
    """Before a model call that costs at most `most`: have that much set aside, beside what other calls may still cost.

    Returns the subject that has no room: then the call must not be made. Raises Over.
    """
    with transaction.atomic():
        execution = locked(execution_id)
        if not execution.is_live:
            raise Over(str(execution_id))
        lacks = execution.held_microusd + most - execution.reserved_microusd
        if lacks > 0 and (short := extend(execution, lacks)) is not None:
            return short
        Execution.objects.filter(pk=execution_id).update(held_microusd=execution.held_microusd + most)
        HeldCall.objects.create(execution=execution, microusd=most)
    return None


def spend(execution: Execution, cost: int, *, held: int = 0) -> list[str]:
    """Book what a model call cost, on an execution that the caller has locked; `held` is what was held for it.

    Returns the subjects that are at their soft line and for which nobody was asked. Should the provider charge more
    than anybody could know, each budget is full afterwards and never more than full; it keeps the rest apart.
    """
    if held:  # calls of one amount are all the same
        HeldCall.objects.filter(pk__in=HeldCall.objects.filter(execution=execution, microusd=held)[:1]).delete()
    if not execution.is_live:  # all that was set aside is free again
        return _book(execution.budgets, cost, 0)
    others = execution.held_microusd - min(held, execution.held_microusd)
    covered = min(cost, max(execution.reserved_microusd - others, 0))
    Execution.objects.filter(pk=execution.pk).update(
        held_microusd=others,
        reserved_microusd=execution.reserved_microusd - covered,
        spent_microusd=execution.spent_microusd + cost,
    )
    return _book(execution.budgets, cost, covered)


def _book(subjects: list[str], cost: int, covered: int) -> list[str]:
    found = Budget.objects.filter(subject__in=subjects)
    if not cost:
        return []
    is_limited = found.exists()
    # Whoever sets a first limit just now counts all that is spent: this call, too, so it must be there to be seen.
    _open_books(shared=not is_limited)
    if not is_limited and not found.exists():
        return []
    with connection.cursor() as cursor:
        cursor.execute(_BOOK, {"subjects": subjects, "cost": cost, "covered": covered})
        return sorted(subject for subject, is_soft in cursor.fetchall() if is_soft)


def locked(execution_id: UUID) -> Execution:
    """The execution, locked for this transaction."""
    return Execution.objects.select_for_update(no_key=True, of=("self",)).get(pk=execution_id)


def aside(execution: Execution) -> Aside:
    """Lock an execution that is about to end, and see what it has set aside."""
    fresh = locked(execution.pk)
    return Aside(tuple(fresh.budgets), fresh.reserved_microusd if fresh.is_live else 0)


def settle(found: Aside) -> None:
    """Free what an execution had set aside, in the transaction that ends it and after its move."""
    if found.amount:
        _open_books()
        with connection.cursor() as cursor:
            cursor.execute(_FREE, {"subjects": list(found.subjects), "amount": found.amount})


def left(execution_id: UUID) -> int | None:
    """What an execution may still spend; None: no limit."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {LEFT} FROM agents_execution e WHERE e.id = %s", [execution_id])
        found: tuple[int | None] = cursor.fetchone()
    return found[0]


def room(budget: Budget) -> int:
    """What nobody has spent or set aside."""
    return budget.limit_microusd - budget.spent_microusd - budget.reserved_microusd


def set_limit(subject: str, limit_microusd: int, soft_percent: int = SOFT_PERCENT) -> Budget:
    """Set the hard line of a subject, and where a person is asked before it. Raises ValidationError.

    What was spent on the subject before it had a budget counts: a budget begins with the books as they are.
    """
    if limit_microusd < 0:
        raise ValidationError({"limit": "A budget is 0 or more dollars."})
    if not 1 <= soft_percent <= 100:
        raise ValidationError({"soft_percent": "Give the soft line as 1 to 100 percent of the limit."})
    with transaction.atomic():
        _open_books()
        budget = Budget.objects.filter(subject=subject).first() or _begun(subject)
        taken = budget.spent_microusd + budget.reserved_microusd
        if limit_microusd < taken:
            raise ValidationError(
                {"limit": f"${taken / 1e6:.2f} is spent or set aside already: the limit cannot be lower."}
            )
        late = min(budget.over_microusd, limit_microusd - taken)
        budget.spent_microusd, budget.over_microusd = budget.spent_microusd + late, budget.over_microusd - late
        budget.limit_microusd, budget.soft_percent = limit_microusd, soft_percent
        if budget.spent_microusd * 100 < limit_microusd * soft_percent:
            budget.asked_at = None
        budget.save()
    return budget


def _begun(subject: str) -> Budget:
    """The books of a subject that had no budget yet."""
    of_it = Execution.objects.filter(budgets__contains=[subject])
    reserved = of_it.filter(state__in=LIVE).aggregate(sum=Sum("reserved_microusd"))["sum"]
    return Budget(subject=subject, spent_microusd=spent_on(subject), reserved_microusd=reserved or 0)


def spent_on(subject: str) -> int:
    """All that the model calls for a subject cost, as far as their prices are known."""
    calls = ModelCall.objects.filter(execution__budgets__contains=[subject])
    return calls.aggregate(sum=Sum("cost_microusd"))["sum"] or 0


def begin_for(limits: dict[str, int]) -> None:
    """Budgets of subjects on which nothing was spent, as they are made in this very transaction or never began."""
    Budget.objects.bulk_create(
        [Budget(subject=subject, limit_microusd=limit) for subject, limit in limits.items()],
        update_conflicts=True,
        unique_fields=["subject"],
        update_fields=["limit_microusd"],
    )


def drop_limit(subject: str) -> None:
    """Let a subject have no limit."""
    with transaction.atomic():
        _open_books()
        Budget.objects.filter(subject=subject).delete()


def release_orphans() -> int:
    """Make every budget's `reserved` the sum over its live executions. Returns how many were wrong.

    None should be: what ends an execution frees its money in the same transaction.
    """
    with transaction.atomic():
        _open_books()
        with connection.cursor() as cursor:
            cursor.execute(_RECOUNT, {"live": sorted(LIVE)})
            return int(cursor.rowcount)
