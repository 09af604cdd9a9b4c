"""What is done with a platform so that its processes come to their crash points, one after the other.

Each journey begins and leaves a platform of healthy processes. It gives back what is wrong when everything has ended.
"""

import signal
from collections.abc import Callable

from agents.runner.mirror import MIRRORS
from agents.runner.proof import FOLDER as PROOF
from tests.crash_processes import wait_for
from tests.crash_stage import Platform
from tests.receiver import receiving

Goes = Callable[[Platform], list[str]]
JOURNEYS: dict[str, tuple[Goes, tuple[str, ...]]] = {}
"""How each goes, and the crash points that are met on it."""


def journey(*points: str) -> Callable[[Goes], Goes]:
    """Enter a journey under its function's name."""

    def enter(goes: Goes) -> Goes:
        JOURNEYS[goes.__name__] = goes, points
        return goes

    return enter


def ends(at: Platform, swarm: str, state: str = "succeeded") -> list[str]:
    """Wait until a swarm is there and all is quiet; what is wrong then."""
    wait_for(lambda: at.ask("state", swarm=swarm) == state, at.looks)
    at.ask("book_unheard")
    return at.settles(lambda: list(at.ask("faults", swarm=swarm)))


@journey("plan.adopting", "engine.deciding", "engine.between_rounds", "control.claimed", "control.stepped")
def deciding(at: Platform) -> list[str]:
    """The worker dies with the first decision, and the clock with the next two; then who carries out milestones."""
    at.replace("ticker", "engine.deciding")
    at.replace("worker", "plan.adopting")
    swarm = at.ask("state_goal", project=at.project)
    at.dies("worker", then="control.claimed")
    at.dies("ticker", then="engine.between_rounds")
    at.dies("ticker")
    # Two statements for the first milestone, two for the last one: with the second of these the nodes are done.
    at.dies("worker", then="control.stepped:4")
    at.dies("worker")
    return ends(at, swarm)


@journey(
    "merge.made",
    "merge.recorded",
    "landing.made",
    "landing.committed",
    "landing.unpushed",
    "landing.pushed",
    "landing.landed",
    "revert.made",
    "revert.recorded",
)
def merging(at: Platform) -> list[str]:
    """Work is merged and lands, and is taken back again, by a worker that dies at every step of it."""
    at.replace("worker", "merge.made")
    swarm = at.ask("state_goal", project=at.project)
    at.dies_in_turn("worker", "merge.recorded", "landing.made", "landing.committed", "landing.unpushed")
    at.dies_in_turn("worker", "landing.pushed", "landing.landed", "revert.made")
    faults = ends(at, swarm)
    at.ask("roll_back", swarm=swarm)
    at.dies_in_turn("worker", "revert.recorded", "")
    return faults + ends(at, swarm, "rolled_back")


@journey("gateway.answered", "plan.proposing")
def planning(at: Platform) -> list[str]:
    """The coordinator asks the model and proposes a plan, through a web process that dies each time."""
    at.replace("web", "gateway.answered")
    swarm = at.ask("state_goal", project=at.project, plans=False)
    at.dies_in_turn("web", "plan.proposing", "")
    wait_for(lambda: at.ask("state", swarm=swarm) == "succeeded", at.looks)
    assert at.ask("book_unheard") == 1, "a call that nobody booked is known"
    return ends(at, swarm)


@journey("attempt.given", "attempt.begun", "checks.settling", "outcome.settling", "outcome.accepted", "merge.merging")
def reporting(at: Platform) -> list[str]:
    """Checks and an agent are given work, begin and report, to a web process that dies each time.

    Two swarms, because on a slow machine a runner may be silent for a lease over each death, and three are poison.
    """
    at.replace("web", "attempt.given")
    swarms = [at.ask("state_goal", project=at.project, only=["begin"])]
    at.dies_in_turn("web", "attempt.begun", "checks.settling", "outcome.settling")
    swarms += [at.ask("state_goal", project=at.project)]
    at.dies_in_turn("web", "outcome.accepted", "merge.merging", "")
    return [fault for swarm in swarms for fault in ends(at, swarm)]


@journey("runner.assigned", "runner.cleaning", "runner.unpushed", "runner.pushed")
def working(at: Platform) -> list[str]:
    """A runner dies with what it was given and what it has done; and an agent of it, before and after its push."""
    at.replace("runner", "runner.assigned")
    swarm = at.ask("state_goal", project=at.project)
    at.dies_in_turn("runner", "runner.cleaning", "runner.unpushed")
    for following in ("runner.pushed", ""):
        at.dies("runner", then=following, child=True)
    faults = ends(at, swarm)
    left = [path for path in (at.data / "runner").iterdir() if path.is_dir() and path.name not in (MIRRORS, PROOF)]
    return faults + [f"{folder} was left behind" for folder in left]


@journey("dispatch.placing", "attempt.opening", "dispatch.placed")
def dispatching(at: Platform) -> list[str]:
    """The clock gives out turns, while the worker, who usually does, is stopped."""
    at.replace("ticker", "dispatch.placing")
    at.processes["worker"].signal(signal.SIGSTOP)
    swarms = [at.ask("state_goal", project=at.project, only=["write"])]
    at.dies_in_turn("ticker", "attempt.opening")
    # The runner may be given what waits now together with an answer: there must be more.
    swarms += [at.ask("state_goal", project=at.project, only=["begin"])]
    at.dies_in_turn("ticker", "dispatch.placed", "")
    at.processes["worker"].signal(signal.SIGCONT)
    return [fault for swarm in swarms for fault in ends(at, swarm)]


@journey("tick.found", "relay.numbered", "relay.announced", "sweep.found", "lease.ending")
def keeping_time(at: Platform) -> list[str]:
    """The clock dies with what it finds, with what it tells, and with work whose runner is gone."""
    at.processes.pop("runner").end()
    at.replace("ticker", "tick.found")
    swarms = [at.ask("state_goal", project=at.project)]
    at.dies("ticker", then="relay.numbered")
    swarms += [at.ask("state_goal", project=at.project, only=["begin"])]
    at.dies_in_turn("ticker", "relay.announced", "sweep.found")
    wait_for(lambda: at.ask("nodes", swarm=swarms[0]).get("write") == "ready", at.looks)
    assert at.ask("lose_ticket", swarm=swarms[0]) == 1
    at.dies("ticker", then="lease.ending", wrong=("ready_has_ticket: write is ready and has no ticket",))
    at.processes["model"].signal(signal.SIGSTOP)
    at.begin("runner")
    wait_for(lambda: at.ask("works", swarm=swarms[0]), at.looks)
    at.kill("runner")
    at.dies("ticker")
    wait_for(lambda: at.ask("attempts", swarm=swarms[0])["write 1"] == ["lost", "lost"], at.looks)
    at.processes["model"].signal(signal.SIGCONT)
    at.begin("runner")
    return [fault for swarm in swarms for fault in ends(at, swarm)]


@journey("approval.deciding", "hint.unsent")
def approving(at: Platform) -> list[str]:
    """Somebody approves a plan, and dies before that is committed; then again, and dies before anybody is woken."""
    swarm = at.ask("state_goal", project=at.add_project("asking", asks=True))
    wait_for(lambda: at.ask("state", swarm=swarm) == "proposed", at.looks)
    for point in ("approval.deciding", "hint.unsent"):
        assert at.ask("asked", swarm=swarm) == [["plan", "pending"]]
        at.dies_over(point, "approve", swarm=swarm)
    return ends(at, swarm)


@journey("team.schema_made", "team.migrated", "project.fetched")
def beginning(at: Platform) -> list[str]:
    """A team signs up, and a project is added."""
    at.replace("worker", "team.schema_made")
    schema = at.ask("sign_up", slug="newcomers")
    at.dies_in_turn("worker", "team.migrated", "project.fetched")
    wait_for(lambda: at.ask("state_of_team", wanted=schema)[0] == "ready", at.looks)
    assert at.ask("state_of_team", wanted=schema) == at.ask("state_of_team", wanted=at.schema)
    project = at.ask("project", slug="fetched", source=str(at.repository("fetched")))
    at.dies("worker")
    wait_for(lambda: at.ask("state_of_project", pk=project) == "ready", at.looks)
    return ends(at, at.ask("state_goal", project=project))


@journey("webhook.answered")
def sending_on(at: Platform) -> list[str]:
    """A receiver has answered a worker that dies of it: it gets that again, under the same id, and all in order."""
    with receiving() as server:
        webhook = at.ask("webhook", url=server.url)
        at.replace("worker", "webhook.answered:7")
        swarm = at.ask("state_goal", project=at.project, only=["begin"])
        at.dies("worker")
        faults = ends(at, swarm)
        wait_for(lambda: not at.ask("webhook_waits", pk=webhook["pk"]), at.looks)
        at.ask("remove_webhook", pk=webhook["pk"])
        came: dict[str, list[int]] = {}
        events: dict[str, tuple[str, int]] = {}
        for got in server.got:
            got.verified(webhook["secret"])
            subject, seq = got.data["subject"], got.data["seq"]
            if events.setdefault(got.id, (subject, seq)) != (subject, seq):
                faults.append(f"{got.id} stands for two events")
            if seq not in came.setdefault(subject, []):
                came[subject].append(seq)
        if len(server.got) == len(events):
            faults.append("nothing came twice: nobody died between an answer and its row")
        for subject, seqs in came.items():
            if seqs != list(range(seqs[0], seqs[0] + len(seqs))):
                faults.append(f"{subject} came as {seqs}")
        if came.get(f"swarm:{swarm}", [0])[0] != 1:
            faults.append("the swarm's first event did not come")
        return faults
