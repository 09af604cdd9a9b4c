"""What a node is exposed to: strangers' words, secrets, and effects outside need a person's word when they meet.

Who writes what an agent reads may steer it; where it also sees secrets and has a way out, it can give them away. An
agent that is not locked in has both, whatever rules and plan say: its owner's files, keys and network.
"""

from collections.abc import Mapping
from typing import Protocol

from django.db import connection, transaction
from django.db.models.functions import Now

from agents.contracts import PlanProposal
from sessions.events import acting, publish
from swarms import hints, progress, rulebook
from swarms.models import Node, Project, Swarm
from swarms.policy.rules import reaches_out
from swarms.states import NodeState
from tenants import turns
from tenants.models import Ticket, User

AGENTS = ("agent", "plan")
"""Kinds of nodes on which an agent works and reads; those that undo what others did were approved together."""
COORDINATOR = "coordinator"


class Declared(Protocol):
    """A node, or what a plan says of one."""

    @property
    def kind(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def untrusted(self) -> bool: ...
    @property
    def secrets(self) -> bool: ...
    @property
    def effects(self) -> bool: ...
    @property
    def compensate(self) -> str: ...


def is_trifecta(swarm: Swarm, node: Declared, *, hears: bool = False, unwalled: bool = False) -> bool:
    """Whether an agent of the node is exposed to all three, by what its plan says, its project, the rules for tools
    and, once that is known, by those before it: it `hears` strangers' words from them; and its place: `unwalled`,
    nothing locks it in there.

    What has to be undone by an agent has effects; so has who may use the network, or others' tools.
    """
    if node.untrusted and node.secrets and node.effects:
        return True
    project = swarm.project
    if node.kind not in AGENTS or not (hears or node.untrusted or project.untrusted_input):
        return False
    if unwalled:
        return True
    if not (node.secrets or project.has_secrets):
        return False
    if node.effects or node.compensate:
        return True
    return reaches_out(rulebook.of_swarm(swarm), rulebook.call_in(swarm, node.role or COORDINATOR))


def hears_strangers(node: Node) -> bool:
    """Whether an agent of the node reads what strangers wrote, by what its plan or its project says, or what an agent
    before it made of that: its summary, its answers and its work."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT swarms_hears_strangers(%s)", [node.pk])
        return bool(cursor.fetchone()[0])


def kept(proposal: PlanProposal, known: Mapping[str, Declared]) -> PlanProposal:
    """An agent's proposal in which nobody reads less of strangers' words and secrets than was `known` of him, by key:
    whom these words steer would leave that out."""
    found = []
    for node in proposal.nodes:
        if node.kind in AGENTS and (before := known.get(node.key)):
            more = {"untrusted": node.untrusted or before.untrusted, "secrets": node.secrets or before.secrets}
            node = node.model_copy(update=more)
        found.append(node)
    return proposal.model_copy(update={"nodes": tuple(found)})


def meets_strangers(swarm: Swarm) -> bool:
    """Whether strangers' words come into a swarm at all: then they may be in what its agents have written, too."""
    return swarm.project.untrusted_input or swarm.nodes.filter(untrusted=True).exists()


def parked(why: str) -> str:
    """What a ticket says that waits for a person's word about its place."""
    return f"approval:{why}"


def wake() -> None:
    """A person has answered: whatever waits for a word about its place is looked at now."""
    waiting = Ticket.objects.filter(team=turns.current_team_id(), parked__startswith="approval:")
    with transaction.atomic():
        free = list(waiting.select_for_update(skip_locked=True).values_list("pk", flat=True))
        Ticket.objects.filter(pk__in=free).update(not_before=Now())
    hints.dispatch()


def is_news(swarm: Swarm, node: Node, *, hears: bool, unwalled: bool) -> bool:
    """Whether a node that is to start is exposed to more than its plan's approval knew. Nodes that take back what
    others did were approved together."""
    known = node.trifecta or node.undoes_id is not None
    return not known and is_trifecta(swarm, node, hears=hears, unwalled=unwalled)


def hold_back(swarm: Swarm, node: Node, unwalled: str) -> None:
    """Take a node that was to start back to be asked about. With the swarm locked.

    `unwalled`: why nothing locks it in where it would work (agents.placement.unwalled).
    """
    because = "it is now exposed to strangers' words, secrets and effects outside at once"
    because += f": {unwalled}" if unwalled else ""
    progress.tell(swarm, progress.take_back([node], NodeState.BLOCKED, because=because))
    Node.objects.filter(pk=node.pk).update(trifecta=True)
    hints.advance(swarm.pk)


def declare(project: Project, *, untrusted_input: bool, has_secrets: bool, by: User) -> None:
    """Say what a project's agents are exposed to, from the next start of a node on."""
    with transaction.atomic(), acting(f"user:{by.pk}"):
        Project.objects.filter(pk=project.pk).update(untrusted_input=untrusted_input, has_secrets=has_secrets)
        publish(project.topic, "exposure.set", untrusted_input=untrusted_input, has_secrets=has_secrets)
