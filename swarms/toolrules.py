"""A team's rules for its agents' tools: make, move and revoke them."""

from collections.abc import Mapping

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import F, Max, Min, QuerySet
from django.utils import timezone

from sessions.events import acting, publish
from swarms.models import Approval, Project, ToolRule
from swarms.policy.rules import Verdict, telling
from swarms.refusals import NotNow
from swarms.rulebook import holding
from tenants.models import User

MOST = 500
"""Rules of a team that stay: each question of an agent reads them. Those that answers made for one swarm are read in
that one alone."""


def make(
    *,
    by: User,
    tool: str,
    verdict: str,
    project: Project | None = None,
    role: str = "",
    arguments: Mapping[str, str] | None = None,
    sandboxed: bool = False,
    why: str = "",
    last: bool = False,
) -> ToolRule:
    """A rule that holds until it is revoked, before all others or after them. Raises ValidationError."""
    with transaction.atomic(), acting(f"user:{by.pk}"):
        _lock()
        if holding().filter(swarm=None).count() >= MOST:
            raise ValidationError(f"A team has {MOST} rules at most. Revoke some that are no longer needed.")
        rule = ToolRule(
            position=_after_all() if last else _before_all(),
            project=project,
            role=role,
            tool=tool,
            arguments=dict(arguments or {}),
            verdict=verdict,
            sandboxed=sandboxed,
            why=why,
            made_by=by,
        )
        rule.full_clean()
        rule.save(force_insert=True)
        _tell(rule, "made")
    return rule


def answer(approval: Approval, life: str, *, by: User) -> ToolRule:
    """What a person allows becomes a rule, right before the one that made the platform ask. With the swarm locked.

    One for a single call holds for that call alone; the others for the same arguments, whatever is written. What was
    asked of an agent that is locked in is allowed to those alone that are, too.
    """
    subject, swarm = approval.subject, approval.swarm
    _lock()
    key = subject["rule"]["key"]
    asked = holding().filter(pk=key).first() if key else None
    position = asked.position if asked else _after_all()
    ToolRule.objects.filter(revoked_at=None, position__gte=position).update(position=F("position") + 1)
    rule = ToolRule.objects.create(
        position=position,
        project=swarm.project,
        swarm=swarm if life != "always" else None,
        role=subject["role"],
        tool=subject["tool"],
        arguments=telling(subject["arguments"]),
        exact=True,
        verdict=Verdict.ALLOW,
        sandboxed=subject["sandboxed"],
        why=approval.because[:500] or f"{by} allowed it.",
        life=life,
        approval=approval,
        digest=approval.digest if life == "once" else "",
        made_by=by,
    )
    _tell(rule, "made")
    return rule


def revoke(rule: ToolRule, *, by: User) -> None:
    """It holds no longer, from the next call on. Raises NotNow."""
    with transaction.atomic(), acting(f"user:{by.pk}"):
        _lock()
        if not ToolRule.objects.filter(pk=rule.pk, revoked_at=None).update(revoked_at=timezone.now(), revoked_by=by):
            raise NotNow("This rule was revoked already.")
        _tell(rule, "revoked")


def shift(rule: ToolRule, *, up: bool, among: QuerySet[ToolRule], by: User) -> None:
    """Ask it before, or after, its neighbour `among` the rules that one sees. Raises NotNow."""
    with transaction.atomic(), acting(f"user:{by.pk}"):
        _lock()
        rows = list(among)
        places = [row.pk for row in rows]
        if rule.pk not in places:
            raise NotNow("This rule was revoked, or is not in this list.")
        at = places.index(rule.pk)
        other = at - 1 if up else at + 1
        if not 0 <= other < len(rows):
            raise NotNow("It is the first one already." if up else "It is the last one already.")
        whole = {row.pk: row for row in holding()}
        order = [pk for pk in whole if pk != rule.pk]
        order.insert(order.index(places[other]) + (0 if up else 1), rule.pk)
        moved = [whole[pk] for position, pk in enumerate(order) if whole[pk].position != position]
        for position, pk in enumerate(order):
            whole[pk].position = position
        ToolRule.objects.bulk_update(moved, ["position"])
        rule.refresh_from_db()
        _tell(rule, "moved")


def _before_all() -> int:
    return (holding().aggregate(at=Min("position"))["at"] or 0) - 1


def _after_all() -> int:
    return (holding().aggregate(at=Max("position"))["at"] or 0) + 1


def _lock() -> None:
    """One changes the order at a time; who asks for a verdict does not wait."""
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {ToolRule._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")


def _tell(rule: ToolRule, what: str) -> None:
    publish(
        rule.event_subject,
        "rule.changed",
        rule=str(rule.pk),
        what=what,
        verdict=rule.verdict,
        tool=rule.tool,
        role=rule.role,
        life=rule.life,
        swarm=str(rule.swarm_id or ""),
        approval=str(rule.approval_id or ""),
        position=rule.position,
    )
