"""Pages of who does the work."""

from django.urls import path

from agents import views

urlpatterns = [
    path("agents/", views.agents, name="agents"),
    path("agents/now/", views.agents_now, name="agents-now"),
    path("servers/", views.servers, name="servers"),
]
