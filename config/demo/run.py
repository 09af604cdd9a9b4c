"""The demo from the goal to its proof."""

import time

from django.conf import settings
from django.core.exceptions import ValidationError
from rich.console import Console

from agents.runner.sandbox import SandboxMissing
from config.demo import approver, stage, summary
from config.demo.figures import figures
from config.demo.options import FAILED, REHEARSAL_ONLY, STOPPED, WRONG_CALL, Options
from config.demo.proof import Proof, prove
from config.demo.show import Screen, screen_for
from config.demo.watch import LOOK_SECONDS, View, Watch, patiently
from swarms.models import Swarm
from swarms.states import SwarmState
from swarms.workspace.git import GitError
from tenants.context import in_schema
from tenants.hosts import team_url

STILL_SECONDS = 600.0
"""How long nothing may happen."""


def run(options: Options) -> int:
    """Everything; returns the exit code: 0 only when the landing is proved."""
    console = Console()
    if settings.MODEL_REHEARSAL and options.needs_real_model:
        console.print(REHEARSAL_ONLY, markup=False)
        return WRONG_CALL
    try:
        return _run(options, console)
    except (stage.CannotBegin, ValidationError) as error:
        words = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        console.print(words, markup=False)
        return FAILED
    except KeyboardInterrupt:
        console.print("\nStopped following. The swarm goes on only while the platform runs; nothing is lost.")
        return STOPPED


def _run(options: Options, console: Console) -> int:
    cast = stage.cast()
    job = stage.job(options)
    with in_schema(cast.team.schema_name):
        project = stage.project_for(job, by=cast.owner)
        swarm = stage.state(project, job.goal, by=cast.owner)
    _introduce(swarm, cast, console, approve=options.approve)
    screen = screen_for(console, rehearsal=settings.MODEL_REHEARSAL)
    watch = Watch(cast.team.schema_name, swarm.pk)
    try:
        view = follow(watch, cast, options, screen, console)
    finally:
        screen.close()
    if not view.ended:
        return FAILED
    return _conclude(view.swarm, cast, job, options, console)


def _introduce(swarm: Swarm, cast: stage.Cast, console: Console, *, approve: str) -> None:
    """What begins here, where to watch it, and who decides."""
    answers = "rehearsal: scripted answers, no provider is asked" if settings.MODEL_REHEARSAL else settings.MODEL_NAME
    page = team_url(cast.team, f"/projects/{swarm.project.slug}/swarms/{swarm.number}/")
    decider = {
        "scripted": "the scripted approver, an automatic member of the team, says yes to everything",
        "ask": "you, here",
        "dashboard": f"people, at {team_url(cast.team, '/approvals/')}",
    }[approve]
    for name, value in (
        ("Goal", f"{swarm}: {swarm.goal.title}"),
        ("Model", answers),
        ("Approvals", decider),
        ("Watch at", page),
        ("Sign in", f"{cast.signin_link()} (once, within 15 minutes)"),
    ):
        console.print(f"  {name:10} {value}", markup=False, highlight=False, soft_wrap=True)
    console.print()


def follow(watch: Watch, cast: stage.Cast, options: Options, screen: Screen, console: Console) -> View:
    """Show the swarm until it has ended, or cannot go on."""
    while True:
        view = watch.look()
        screen.show(view)
        if view.ended:
            # Its last events may have come after this look had read events.
            screen.show(watch.look())
            return view
        if view.stuck:
            for line in view.stuck:
                screen.say(line)
            return view
        if options.approve == "scripted":
            approver.decide_by_script(view, cast, screen.say)
        elif options.approve == "ask" and view.asks:
            with screen.aside():
                approver.ask_person(view, cast, console)
        waits_for_person = bool(view.asks) and options.approve != "scripted"
        if time.monotonic() - watch.moved > STILL_SECONDS and not waits_for_person:
            screen.say(f"Nothing has happened for {STILL_SECONDS / 60:.0f} minutes. Why:")
            for line in watch.why() or [
                f"The swarm is {view.swarm.state}: {view.swarm.because or 'no reason is known'}"
            ]:
                screen.say(line)
            return view
        time.sleep(LOOK_SECONDS)


def _conclude(swarm: Swarm, cast: stage.Cast, job: stage.Job, options: Options, console: Console) -> int:
    with in_schema(cast.team.schema_name):
        found = patiently(lambda: figures(swarm))
    proof: Proof | None = None
    if swarm.state == SwarmState.SUCCEEDED:
        console.print("Checking the result in a fresh clone of the source …")
        try:
            proof = prove(
                source=job.source,
                branch=job.branch,
                base=swarm.base_commit,
                landed=swarm.landed_commit,
                checks=job.acceptance or job.checks,
                rehearsal=settings.MODEL_REHEARSAL,
            )
        except (GitError, SandboxMissing) as error:
            console.print(f"The result could not be checked here: {error}", markup=False)
    faults = summary.faults(swarm, proof, must_be_red=bool(job.acceptance))
    summary.show(console, swarm, found, proof, faults, link=cast.signin_link() if options.keep else "")
    return FAILED if faults else 0
