from django.db import migrations

from tenants.procedures import DROP_UUID7, DROP_WAKE_SHARE, UUID7, WAKE_SHARE
from tenants.states import TEAM_MOVES
from tenants.triggers import drop_move_trigger, move_trigger


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]

    operations = [
        migrations.RunSQL(move_trigger("tenants_team", TEAM_MOVES), drop_move_trigger("tenants_team")),
        migrations.RunSQL(UUID7, DROP_UUID7),
        migrations.RunSQL(WAKE_SHARE, DROP_WAKE_SHARE),
    ]
