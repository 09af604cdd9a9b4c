from django.db import migrations

from tenants import procedures
from tenants.states import TEAM_MOVES
from tenants.triggers import drop_move_trigger, move_trigger


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]

    operations = [
        migrations.RunSQL(move_trigger("tenants_team", TEAM_MOVES), drop_move_trigger("tenants_team")),
        *(migrations.RunSQL(make, drop) for make, drop in procedures.ALL),
    ]
