"""Who decides in a demo: a scripted member that says yes, or the person at the terminal."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from rich.console import Console
from rich.prompt import Confirm, Prompt

from config.demo.stage import Cast
from config.demo.watch import View, patiently
from swarms import approvals
from swarms.models import Approval
from tenants.context import in_schema

Say = Callable[[str], None]
THINKING = timedelta(seconds=0.5)
"""How long an approval stands before the script decides it, so that it can be seen."""
SCRIPT = "approved by the demo's script; nobody has looked at it"


def decide_by_script(view: View, cast: Cast, say: Say) -> None:
    """Approve whatever waits long enough."""
    for approval in view.asks:
        if view.now - approval.requested_at >= THINKING:
            try:
                patiently(partial(_approve, approval, cast))
            except approvals.NotDecidable as refusal:
                # Somebody on the dashboard was faster, or it changed; the next look shows what is true.
                say(f"scripted approver could not decide {approval.title}: {refusal}")
            else:
                say(f"scripted approver approved: {approval.title}")


def _approve(approval: Approval, cast: Cast) -> None:
    with in_schema(cast.team.schema_name):
        approvals.approve(approval, by=cast.approver, because=SCRIPT)


def ask_person(view: View, cast: Cast, console: Console) -> None:
    """Ask the person at the terminal about each pending approval."""
    for approval in view.asks:
        console.print(f"\nApproval needed: {approval.title}", style="bold", markup=False)
        _describe(approval, console)
        yes = Confirm.ask("Approve?", console=console, default=True)
        because = "" if yes else Prompt.ask("Why not? (the agents are told)", console=console)
        try:
            with in_schema(cast.team.schema_name):
                if yes:
                    approvals.approve(approval, by=cast.owner)
                else:
                    approvals.reject(approval, by=cast.owner, because=because)
        except approvals.NotDecidable as refusal:
            console.print(str(refusal), markup=False)


def _describe(approval: Approval, console: Console) -> None:
    subject = approval.subject
    lines: list[str] = []
    if approval.kind == "plan":
        lines = [subject["document"]["summary"]]
        lines += [f"  {node['key']}: {node['title']} ({node['role']})" for node in subject["document"]["nodes"]]
    elif approval.kind == "node":
        lines = [subject["title"], subject["instructions"], f"may change: {', '.join(subject['writes'])}"]
    else:
        lines = [f"{subject['base'][:10]}..{subject['commit'][:10]} onto {subject['branch']}"]
        lines += [f"{review['node']}: {review['summary']}" for review in subject["reviews"]]
    for line in lines:
        console.print(line, markup=False)
