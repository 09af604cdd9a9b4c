"""What is done to the platform, one act after the other. Each says in its docstring what must come of it."""

from collections.abc import Callable

from bench.chaos.acts import deaths, messages, network, outages, pauses, races
from bench.chaos.chaos import Chaos

ALL: tuple[Callable[[Chaos], None], ...] = (
    # What is timed comes first, while nothing else goes on.
    deaths.claimed_and_dead,
    messages.hints_lost,
    messages.broker_wiped,
    races.approvals_race,
    races.reservations,
    races.backlogs,
    deaths.kills,
    pauses.workers_asleep,
    pauses.transactions_asleep,
    pauses.clock_asleep,
    # From here on agents work, too.
    deaths.runners_and_webs,
    pauses.runners_asleep,
    pauses.webs_asleep,
    network.network_cut,
    messages.valkey_away,
    outages.postgres_stops,
)
