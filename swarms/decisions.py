"""What exactly an approval decides, laid out for a person: the same on the dashboard and in the admin."""

from typing import Any

from agents.contracts import PlanProposal
from swarms import amend, board, diffs, picture, plan_rows
from swarms.models import Approval, ToolRule
from swarms.policy.rules import telling
from swarms.states import ApprovalState
from swarms.workspace import repos
from swarms.workspace.git import GitError


def describe(approval: Approval) -> dict[str, Any]:
    """Context of the template swarms/_decision.html."""
    context: dict[str, Any] = {"approval": approval, "swarm": approval.swarm}
    if approval.kind == "plan":
        document = approval.subject.get("document")
        cards = board.planned(document)
        context |= {"cards": cards, "graph": picture.graph(cards), "document": document}
        if approval.subject.get("changes") and approval.state == ApprovalState.PENDING:
            # As it is now; once it is decided, now is then.
            wanted = PlanProposal.model_validate(document)
            context["rewritten"] = amend.rewritten(plan_rows.present(approval.swarm), wanted)
    if approval.kind == "tool":
        key = approval.subject["rule"]["key"]
        asked = ToolRule.objects.select_related("made_by", "project", "swarm").filter(pk=key).first() if key else None
        context |= {"asked_by": asked, "again": telling(approval.subject["arguments"])}
    if approval.kind == "rollback" and approval.subject.get("commit"):
        context |= _landing_diff(approval)
    if approval.kind == "landing":
        context |= {"runs": board.result_checks(approval.swarm)} | _landing_diff(approval)
    return context


def _landing_diff(approval: Approval) -> dict[str, Any]:
    base, commit = approval.subject.get("base", ""), approval.subject.get("commit", "")
    try:
        return {"files": diffs.parse(repos.diff(approval.swarm.project, base, commit))}
    except GitError as error:
        return {"diff_error": str(error)}
