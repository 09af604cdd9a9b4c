"""The public host."""

from django.urls import include, path

urlpatterns = [
    path("", include("config.urls_health")),
    path("", include("tenants.urls.public")),
]
