from django.db import migrations

from swarms.policy.procedures import ALL as POLICY
from swarms.policy.procedures import TRIFECTA
from swarms.procedures import ALL
from swarms.release import FAN_IN, ON_FAILURE
from swarms.states import ENDED, MACHINES
from tenants.triggers import drop_move_trigger, move_trigger

WORDS = {"node": {"fan_in": FAN_IN, "on_failure": ON_FAILURE}}
RULES = {"node": TRIFECTA}
FIXED = {
    "attempt": ("node_id", "number", "execution_id", "fence"),
    # An answer is to exactly what was asked, and what was asked says who may answer.
    "approval": (
        *("swarm_id", "kind", "plan_id", "node_id", "execution_id", "call"),
        *("subject", "digest", "four_eyes", "requested_by_id", "requested_at"),
    ),
}


def _counts(noun: str, *columns: str) -> dict[str, str]:
    """The CHECKs of Django for columns that count."""
    return {f"swarms_{noun}_{column}_check": f"NEW.{column} >= 0" for column in columns}


CHECKS = {
    "node": {
        "node_counts_its_parents": "NEW.parents >= NEW.deps_left + NEW.deps_ok",
        **_counts("node", "depth", "parents", "deps_left", "deps_ok", "time_limit", "attempts_made", "failures"),
        **_counts("node", "losses", "max_attempts", "path_length"),
    },
    "attempt": {
        "attempt_live_or_ended": "(NEW.state IN ('leased', 'running')) = (NEW.ended_at IS NULL)",
        "attempt_has_one_lease": "(NEW.execution_id IS NULL) = (NEW.fence IS NOT NULL)"
        " AND (NEW.execution_id IS NULL OR NEW.lease_until IS NULL)",
        **_counts("attempt", "number"),
    },
}
TABLES = {noun: f"swarms_{noun.replace('_', '')}" for noun in MACHINES}


class Migration(migrations.Migration):
    dependencies = [("swarms", "0001_initial")]

    operations = [
        *(
            migrations.RunSQL(
                move_trigger(
                    TABLES[noun],
                    moves,
                    ENDED[noun],
                    WORDS.get(noun),
                    RULES.get(noun, ""),
                    FIXED.get(noun, ()),
                    CHECKS.get(noun),
                ),
                drop_move_trigger(TABLES[noun], CHECKS.get(noun)),
            )
            for noun, moves in MACHINES.items()
        ),
        *(migrations.RunSQL(make, drop) for make, drop in (*ALL, *POLICY)),
    ]
