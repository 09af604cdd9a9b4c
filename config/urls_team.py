"""A team's host."""

from django.urls import include, path

urlpatterns = [
    path("", include("tenants.urls.team")),
    path("", include("swarms.urls")),
    path("", include("agents.urls")),
    path("", include("sessions.urls")),
]
