"""Budgets as people see them."""

from dataclasses import dataclass
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.urls import reverse

from agents.models import Budget
from swarms import naming
from swarms.budgets import TEAM, subject_of, title
from swarms.models import Node, Project, Swarm

DOLLAR = 1_000_000
"""Millionths."""


@dataclass(frozen=True)
class Purse:
    """A budget as people see it; amounts in millionths of a dollar."""

    subject: str
    limit: int
    spent: int
    reserved: int
    soft_percent: int

    @property
    def room(self) -> int:
        """What nobody has spent or set aside."""
        return self.limit - self.spent - self.reserved

    @property
    def spent_share(self) -> float:
        """Of the limit, in percent."""
        return round(100 * self.spent / self.limit, 1) if self.limit else 100.0

    @property
    def taken_share(self) -> float:
        """Spent or set aside, of the limit, in percent."""
        return round(100 * (self.spent + self.reserved) / self.limit, 1) if self.limit else 100.0

    @property
    def tone(self) -> str:
        """How it looks: it has room, it is at the soft line, or it is used up."""
        if self.room <= 0 and not self.reserved:
            return "failed"
        return "approval" if self.spent_share >= self.soft_percent else "succeeded"


def purse(subject: str) -> Purse | None:
    """The budget of a subject; None: no limit."""
    found = Budget.objects.filter(subject=subject).first()
    return _purse(found) if found else None


def _purse(found: Budget) -> Purse:
    return Purse(found.subject, found.limit_microusd, found.spent_microusd, found.reserved_microusd, found.soft_percent)


def purses() -> list[tuple[Purse, str, str]]:
    """Every budget below the team's with its title and the address of its page, what is nearest its limit first."""
    return [(one, name, address(one.subject)) for one, name in _below_team()]


def all_of_team() -> list[Purse]:
    """Every budget: the team's own, then what is nearest its limit first."""
    own = purse(TEAM)
    return [*([own] if own else []), *(one for one, _ in _below_team())]


def _below_team() -> list[tuple[Purse, str]]:
    found = [_purse(budget) for budget in Budget.objects.exclude(subject=TEAM)]
    return sorted(((one, title(one.subject)) for one in found), key=lambda row: (-row[0].taken_share, row[1]))


def address(subject: str) -> str:
    """The page of a budget."""
    noun, _, key = subject.partition(":")
    match noun:
        case "project":
            return address_of(Project.objects.get(pk=key))
        case "swarm":
            return address_of(Swarm.objects.select_related("project").get(pk=key))
        case "node":
            return address_of(Node.objects.select_related("swarm__project").get(pk=key))
    return reverse("budgets")


def address_of(thing: Project | Swarm | Node) -> str:
    """The page of the budget of a thing."""
    match thing:
        case Project():
            return reverse("project-budget", args=[thing.slug])
        case Swarm():
            return reverse("swarm-budget", args=[thing.project.slug, thing.number])
    return reverse("node-budget", args=[thing.swarm.project.slug, thing.swarm.number, thing.key])


def name_of(subject: str) -> str:
    """How programs and operators name a budget; empty: the team's."""
    noun, _, key = subject.partition(":")
    match noun:
        case "project":
            return Project.objects.get(pk=key).slug
        case "swarm":
            return _numbered(Swarm.objects.select_related("project").get(pk=key))
        case "node":
            node = Node.objects.select_related("swarm__project").get(pk=key)
            return f"{_numbered(node.swarm)}/{node.key}"
    return ""


def _numbered(swarm: Swarm) -> str:
    return f"{swarm.project.slug}#{swarm.number}"


def subject_named(name: str) -> str:
    """The subject of a name: `` (the team), `textkit`, `textkit#12` or `textkit#12/words`. Raises ValidationError."""
    if not name:
        return TEAM
    said = naming.parts(name)
    if said is None:
        raise ValidationError(f"of: '{name}' is no name of a budget: write textkit, textkit#12 or textkit#12/words.")
    found: Project | Swarm | Node | None
    if said.number is None:
        found = Project.objects.filter(slug=said.slug).first()
    elif said.key:
        nodes = Node.objects.filter(swarm__project__slug=said.slug, swarm__number=said.number)
        found = nodes.filter(key=said.key).first()
    else:
        found = Swarm.objects.filter(project__slug=said.slug, number=said.number).first()
    if found is None:
        raise ValidationError(f"of: there is no {name} in this team.")
    return subject_of(found)


def told(one: Purse) -> dict[str, str | int]:
    """What programs are told of a budget; dollars as decimals in text, since they are exact."""
    amounts = {"limit_usd": one.limit, "spent_usd": one.spent, "reserved_usd": one.reserved, "left_usd": one.room}
    exact = {name: str(Decimal(microusd) / DOLLAR) for name, microusd in amounts.items()}
    return {"of": name_of(one.subject), "title": title(one.subject)} | exact | {"soft_percent": one.soft_percent}
