"""The path form `/t/<team>/…`: programs with bearer tokens, no cookies, no HTML."""

from django.urls import include, path

from config.urls_problems import handler400, handler403, handler404, handler500  # noqa: F401

urlpatterns = [path("t/<slug:team>/", include("swarms.api.urls"))]
