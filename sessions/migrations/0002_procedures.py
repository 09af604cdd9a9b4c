from django.db import migrations

from sessions.procedures import DROP_PUBLISH, PUBLISH


class Migration(migrations.Migration):
    dependencies = [("agent_sessions", "0001_initial")]

    operations = [migrations.RunSQL(PUBLISH, DROP_PUBLISH)]
