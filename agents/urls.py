"""Pages of who does the work."""

from django.urls import path

from agents import views

urlpatterns = [
    path("agents/", views.agents, name="agents"),
    path("agents/now/", views.agents_now, name="agents-now"),
    path("servers/", views.servers, name="servers"),
    path("sessions/<uuid:pk>/", views.session, name="session"),
    path("sessions/<uuid:pk>/words/", views.words, name="session-words"),
    path("sessions/<uuid:pk>/say/", views.say, name="session-say"),
    path("sessions/<uuid:pk>/interrupt/", views.interrupt, name="session-interrupt"),
    path("sessions/<uuid:pk>/answer/<uuid:question>/", views.answer, name="session-answer"),
]
