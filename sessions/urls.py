"""Pages of what happened."""

from django.urls import path

from sessions import views

urlpatterns = [
    path("sessions/<uuid:pk>/parts/", views.parts, name="session-parts"),
    path("sessions/<uuid:pk>/figures/", views.figures, name="session-figures"),
]
