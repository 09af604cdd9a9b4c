"""Probes and metrics, on every host."""

from django.urls import include, path

from config import health

urlpatterns = [
    path("livez", health.livez),
    path("readyz", health.readyz),
    path("", include("django_prometheus.urls")),
]
