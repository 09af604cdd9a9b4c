import django.db.models.deletion
import django.utils.timezone
import django_tenants.postgresql_backend.base
from django.conf import settings
from django.db import migrations, models

import tenants.extensions
import tenants.ids
import tenants.models.people
from tenants.states import TEAM_MOVES
from tenants.triggers import drop_move_trigger, move_trigger


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.RunPython(tenants.extensions.create, migrations.RunPython.noop),
        migrations.CreateModel(
            name="Team",
            fields=[
                (
                    "schema_name",
                    models.CharField(
                        db_index=True,
                        max_length=63,
                        unique=True,
                        validators=[django_tenants.postgresql_backend.base._check_schema_name],
                    ),
                ),
                (
                    "id",
                    models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                ("name", models.CharField(max_length=80)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("provisioning", "provisioning"),
                            ("ready", "ready"),
                            ("failed", "failed"),
                            ("suspended", "suspended"),
                        ],
                        default="provisioning",
                        max_length=16,
                    ),
                ),
                ("because", models.TextField(blank=True, help_text="Why it is in this state.")),
                (
                    "step",
                    models.CharField(blank=True, help_text="What provisioning does now.", max_length=120),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="User",
            fields=[
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("last_login", models.DateTimeField(blank=True, null=True, verbose_name="last login")),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                (
                    "is_staff",
                    models.BooleanField(
                        default=False,
                        help_text="Designates whether the user can log into this admin site.",
                        verbose_name="staff status",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        default=True,
                        help_text="Designates whether this user should be treated as active. Unselect this instead of deleting accounts.",
                        verbose_name="active",
                    ),
                ),
                (
                    "date_joined",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="date joined"),
                ),
                (
                    "id",
                    models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "email",
                    models.EmailField(
                        error_messages={"unique": "This mail address has an account already."},
                        max_length=254,
                        unique=True,
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=120)),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "verbose_name": "user",
                "verbose_name_plural": "users",
                "abstract": False,
            },
            managers=[
                ("objects", tenants.models.people.People()),
            ],
        ),
        migrations.CreateModel(
            name="Outbox",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("event", models.UUIDField(default=tenants.ids.uuid7)),
                (
                    "team",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.team"),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Invitation",
            fields=[
                (
                    "id",
                    models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "email",
                    models.EmailField(blank=True, help_text="Empty: whoever has the link.", max_length=254),
                ),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("owner", "Owner"),
                            ("admin", "Admin"),
                            ("approver", "Approver"),
                            ("developer", "Developer"),
                            ("viewer", "Viewer"),
                        ],
                        max_length=16,
                    ),
                ),
                ("token_hash", models.CharField(max_length=64, unique=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("expires_at", models.DateTimeField()),
                ("accepted_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "accepted_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "invited_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "team",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="invitations",
                        to="tenants.team",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Domain",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("domain", models.CharField(db_index=True, max_length=253, unique=True)),
                ("is_primary", models.BooleanField(db_index=True, default=True)),
                ("slug", models.SlugField(max_length=40, unique=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="domains", to="tenants.team"
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Token",
            fields=[
                (
                    "id",
                    models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("runner", "runner: asks for work"),
                            ("attempt", "attempt: one execution's git, records and model"),
                            ("signin", "one-time sign-in link"),
                            ("api", "program of a member"),
                        ],
                        max_length=16,
                    ),
                ),
                ("hash", models.CharField(max_length=64, unique=True)),
                (
                    "subject",
                    models.CharField(
                        blank=True, help_text="What it is bound to, e.g. execution:<uuid>.", max_length=120
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                ("used_at", models.DateTimeField(blank=True, null=True)),
                (
                    "team",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tokens",
                        to="tenants.team",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tokens",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Runner",
            fields=[
                (
                    "id",
                    models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                ("name", models.CharField(max_length=80, unique=True)),
                (
                    "trusted",
                    models.BooleanField(default=True, help_text="May run the control plane's checks."),
                ),
                ("capacity", models.PositiveIntegerField(default=0)),
                ("sandbox", models.CharField(blank=True, max_length=16)),
                ("version", models.CharField(blank=True, max_length=40)),
                (
                    "boot",
                    models.UUIDField(blank=True, help_text="Changes with each start of its process.", null=True),
                ),
                (
                    "channel",
                    models.CharField(blank=True, help_text="Where its websocket listens; empty: away.", max_length=120),
                ),
                ("seen_at", models.DateTimeField(blank=True, null=True)),
                (
                    "team",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="runners",
                        to="tenants.team",
                    ),
                ),
                (
                    "token",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="runner", to="tenants.token"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="TeamShare",
            fields=[
                (
                    "team",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="share",
                        serialize=False,
                        to="tenants.team",
                    ),
                ),
                ("virtual_time", models.FloatField(default=0)),
                ("weight", models.FloatField(default=1)),
                ("cap", models.PositiveIntegerField(default=16, help_text="Executions at once.")),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("weight__gt", 0)), name="share_weight_positive")
                ],
            },
        ),
        migrations.CreateModel(
            name="Placement",
            fields=[
                ("execution", models.UUIDField(primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=16)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("delivered_at", models.DateTimeField(blank=True, null=True)),
                (
                    "runner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="placements",
                        to="tenants.runner",
                    ),
                ),
                (
                    "team",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="placements",
                        to="tenants.team",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["runner"], name="placement_runner")],
            },
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                (
                    "id",
                    models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("owner", "Owner"),
                            ("admin", "Admin"),
                            ("approver", "Approver"),
                            ("developer", "Developer"),
                            ("viewer", "Viewer"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "is_automatic",
                    models.BooleanField(default=False, help_text="A program that decides by rule, not a person."),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "team",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to="tenants.team",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("user", "team"), name="one_membership_per_team")],
            },
        ),
        migrations.CreateModel(
            name="Due",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(help_text="lease, advance, merge, approval, fetch, landing", max_length=16),
                ),
                ("subject", models.UUIDField()),
                ("due_at", models.DateTimeField()),
                (
                    "team",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.team"),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["due_at"], name="due_at")],
                "constraints": [models.UniqueConstraint(fields=("kind", "subject"), name="one_due_per_subject")],
            },
        ),
        migrations.CreateModel(
            name="Ticket",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("kind", models.CharField(help_text="plan, node or checks", max_length=16)),
                ("subject", models.UUIDField()),
                (
                    "priority",
                    models.IntegerField(default=0, help_text="Higher goes first: the length of the critical path."),
                ),
                ("not_before", models.DateTimeField(default=django.utils.timezone.now)),
                ("cost", models.FloatField(default=1.0, help_text="Estimate, in turns.")),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "team",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="tickets", to="tenants.team"
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["team", "-priority", "created_at"], name="ticket_turn")],
                "constraints": [models.UniqueConstraint(fields=("kind", "subject"), name="one_ticket_per_subject")],
            },
        ),
        migrations.AddIndex(
            model_name="token",
            index=models.Index(fields=["subject"], name="token_subject"),
        ),
        migrations.RunSQL(move_trigger("tenants_team", TEAM_MOVES), drop_move_trigger("tenants_team")),
    ]
