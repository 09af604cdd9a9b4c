from django.apps import AppConfig


class SwarmsConfig(AppConfig):
    name = "swarms"
    label = "swarms"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from agents import ports
        from swarms.settlement import Settlement

        ports.bind(Settlement())
