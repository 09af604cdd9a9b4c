from django.db import migrations

from agents.states import AGENT_MOVES, EXECUTION_MOVES, SERVER_MOVES
from tenants.triggers import drop_move_trigger, move_trigger


class Migration(migrations.Migration):
    dependencies = [("agents", "0001_initial")]

    operations = [
        migrations.RunSQL(move_trigger(table, moves, fixed=fixed), drop_move_trigger(table))
        for table, moves, fixed in (
            ("agents_execution", EXECUTION_MOVES, ("subject", "swarm", "session_id", "fence")),
            ("agents_server", SERVER_MOVES, ()),
            ("agents_agent", AGENT_MOVES, ()),
        )
    ]
