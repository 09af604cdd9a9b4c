"""Below /t/<team>/: for runners and agents."""

from django.urls import path

from swarms.api import git, runner

urlpatterns = [
    path("runner/<uuid:execution>/records", runner.records),
    path("runner/<uuid:execution>/outcome", runner.outcome),
    path("git/<uuid:project>.git/<path:rest>", git.git),
]
