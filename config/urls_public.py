"""The public host."""

from django.urls import include, path

from config.urls_problems import handler400, handler403, handler404, handler500  # noqa: F401

urlpatterns = [
    path("", include("config.urls_health")),
    path("", include("tenants.urls.public")),
]
