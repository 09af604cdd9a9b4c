"""The path form `/t/<team>/…`: programs with bearer tokens, no cookies, no HTML."""

from django.urls import include, path

urlpatterns = [path("t/<slug:team>/", include("swarms.api.urls"))]
