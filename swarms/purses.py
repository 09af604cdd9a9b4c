"""Budgets as people see them."""

from dataclasses import dataclass

from django.urls import reverse

from agents.models import Budget
from swarms.budgets import TEAM, title
from swarms.models import Node, Project, Swarm


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
    found = [_purse(budget) for budget in Budget.objects.exclude(subject=TEAM)]
    rows = [(one, title(one.subject), address(one.subject)) for one in found]
    return sorted(rows, key=lambda row: (-row[0].taken_share, row[1]))


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
