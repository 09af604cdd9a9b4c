from django.db import migrations

from sessions.procedures import ALL


class Migration(migrations.Migration):
    dependencies = [("agent_sessions", "0001_initial")]

    operations = [migrations.RunSQL(make, drop) for make, drop in ALL]
