"""Pages of the public host."""

from django.urls import path

from tenants.sites import operator_admin
from tenants.views import joining, signin, signup, start

urlpatterns = [
    path("", start.start, name="start"),
    path("signup/", signup.signup, name="signup"),
    path("login/", signin.login, name="login"),
    path("logout/", signin.logout, name="logout"),
    path("signin/<str:secret>/", signin.one_time, name="one_time"),
    path("join/<str:secret>/", joining.join, name="join"),
    path("teams/<uuid:team>/preparing/", start.preparing, name="preparing"),
    path("teams/<uuid:team>/again/", start.try_again, name="try_again"),
    path("operator/", operator_admin.urls),
]
