from django.db import migrations

from swarms.policy.procedures import ALL as POLICY
from swarms.policy.procedures import TRIFECTA
from swarms.procedures import ALL, ASKED
from swarms.release import FAN_IN, ON_FAILURE
from swarms.states import ENDED, MACHINES
from tenants.triggers import drop_move_trigger, move_trigger

WORDS = {"node": {"fan_in": FAN_IN, "on_failure": ON_FAILURE}}
RULES = {"node": TRIFECTA, "approval": ASKED}
TABLES = {noun: f"swarms_{noun.replace('_', '')}" for noun in MACHINES}


class Migration(migrations.Migration):
    dependencies = [("swarms", "0001_initial")]

    operations = [
        *(
            migrations.RunSQL(
                move_trigger(TABLES[noun], moves, ENDED[noun], WORDS.get(noun), RULES.get(noun, "")),
                drop_move_trigger(TABLES[noun]),
            )
            for noun, moves in MACHINES.items()
        ),
        *(migrations.RunSQL(make, drop) for make, drop in (*ALL, *POLICY)),
    ]
