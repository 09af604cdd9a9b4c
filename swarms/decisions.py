"""What exactly an approval decides, laid out for a person: shown in the admin and on the dashboard."""

from dataclasses import dataclass, field
from typing import Any

from swarms import graph, planner
from swarms.models import Approval, CheckRun
from swarms.workspace import repos
from swarms.workspace.git import GitError
from agents.contracts import PlanProposal

MAX_DIFF = 200_000
"""Characters of a diff that are shown on one page."""


@dataclass(frozen=True)
class Decision:
    """The subject of one approval; only what its kind has is filled."""

    approval: Approval
    summary: str = ""
    nodes: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    acceptance: list[dict[str, Any]] = field(default_factory=list)
    document: str = ""
    node: dict[str, Any] = field(default_factory=dict)
    base: str = ""
    commit: str = ""
    branch: str = ""
    log: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    diff: str = ""
    diff_cut: bool = False
    checks: CheckRun | None = None
    reviews: list[dict[str, Any]] = field(default_factory=list)


def describe(approval: Approval) -> Decision:
    """The decision that a person is asked for, or was."""
    subject = approval.subject
    if approval.kind == "plan":
        document = subject["document"]
        return Decision(
            approval,
            summary=document["summary"],
            nodes=document["nodes"],
            warnings=graph.warnings(PlanProposal.model_validate(document)),
            acceptance=document["acceptance"],
            document=planner.write_yaml(document),
        )
    if approval.kind == "node":
        return Decision(approval, summary=subject["title"], node=subject)
    return _landing(approval, subject)


def _landing(approval: Approval, subject: dict[str, Any]) -> Decision:
    swarm = approval.swarm
    base, commit = subject["base"], subject["commit"]
    try:
        diff = repos.diff(swarm.project, base, commit)
        log = repos.log(swarm.project_id, base, commit)
        files = repos.changed_files(swarm.project_id, base, commit)
    except GitError as error:
        diff, log, files = f"The diff cannot be shown: {error}", [], []
    return Decision(
        approval,
        summary=f"Merge {commit[:10]} into {subject['branch']}",
        base=base,
        commit=commit,
        branch=subject["branch"],
        log=log,
        files=files,
        diff=diff[:MAX_DIFF],
        diff_cut=len(diff) > MAX_DIFF,
        checks=swarm.check_runs.filter(purpose="integration", commit=commit).order_by("-created_at").first(),
        reviews=subject.get("reviews", []),
    )
