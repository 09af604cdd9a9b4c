"""A team's host."""

from django.urls import include, path

from config.urls_problems import handler400, handler403, handler404, handler500  # noqa: F401

urlpatterns = [
    path("", include("tenants.urls.team")),
    path("", include("swarms.urls")),
    path("", include("agents.urls")),
    path("", include("sessions.urls")),
]
