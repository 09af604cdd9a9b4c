"""manage.py budgets {list,set} [textkit#12/words] --team acme"""

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import CommandError

from agents.budgets import SOFT_PERCENT
from sessions.team_command import TeamCommand
from swarms import allowances, budgets, purses
from swarms.vertex import MOST_DOLLARS

OF_TEAM = "team"


def _dollars(text: str) -> Decimal | None:
    if text == "none":
        return None
    try:
        found = Decimal(text)
    except InvalidOperation as error:
        raise ArgumentTypeError(f"{text} is no amount: write 5 or 2.50, or none") from error
    if not (found.is_finite() and 0 <= found <= MOST_DOLLARS and found == round(found, 6)):
        raise ArgumentTypeError(f"{text}: a limit is from 0 to {MOST_DOLLARS}, with at most six decimals, or none")
    return found


def _percent(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= 100):
        raise ArgumentTypeError(f"{text}: it is from 1 to 100")
    return int(text)


class Command(TeamCommand):
    subject, called = "of", "what the budget is of: team, textkit, textkit#12 or textkit#12/words"
    help = "Lists a team's budgets, and sets what may be spent on the team, a project, a swarm or a node."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, of what, and how much."""
        super().add_arguments(parser)
        parser.add_argument("verb", choices=["list", "set"])
        parser.add_argument("of", nargs="?", default="", help="team, textkit, textkit#12 or textkit#12/words")
        parser.add_argument(
            "--limit", type=_dollars, default=SUPPRESS, metavar="DOLLARS", help="The hard line, or none"
        )
        parser.add_argument(
            "--soft", type=_percent, default=SOFT_PERCENT, metavar="PERCENT", help="When a person is asked for more"
        )

    def show(self, options: dict[str, Any]) -> None:
        """See TeamCommand."""
        found = purses.all_of_team()
        for one in found:
            told = purses.told(one)
            self.stdout.write(
                f"{told['of'] or OF_TEAM}  limit ${told['limit_usd']}  spent ${told['spent_usd']}"
                f"  set aside ${told['reserved_usd']}  left ${told['left_usd']}  asks at {told['soft_percent']} %"
            )
        if not found:
            self.stdout.write("No budget is set: nothing limits what is spent.")

    def carry_out(self, verb: str, subject: str, options: dict[str, Any]) -> str:
        """See TeamCommand."""
        if "limit" not in options:
            raise CommandError("--limit: say how much, for example --limit 5, or --limit none.")
        limit: Decimal | None = options["limit"]
        name = purses.subject_named("" if subject == OF_TEAM else subject)
        allowances.set_budget(name, None if limit is None else int(limit * purses.DOLLAR), options["soft"], by=None)
        return f"{budgets.title(name)}: " + ("no limit" if limit is None else f"${limit}, asks at {options['soft']} %")
