"""Pages of who does the work."""

from django.urls import path

from agents.views import agents, providers, runners, servers, sessions

urlpatterns = [
    path("agents/", agents.agents, name="agents"),
    path("agents/now/", agents.agents_now, name="agents-now"),
    path("agents/new/", agents.new, name="agent-new"),
    path("agents/<slug:name>/", agents.agent, name="agent"),
    path("agents/<slug:name>/change/", agents.change, name="agent-change"),
    path("agents/<slug:name>/drain/", agents.drain, name="agent-drain"),
    path("agents/<slug:name>/enable/", agents.enable, name="agent-enable"),
    path("agents/<slug:name>/disable/", agents.disable, name="agent-disable"),
    path("agents/<slug:name>/remove/", agents.remove, name="agent-remove"),
    path("runners/", runners.own, name="runners"),
    path("runners/add/", runners.add, name="runner-add"),
    path("runners/<uuid:pk>/renew/", runners.renew, name="runner-renew"),
    path("runners/<uuid:pk>/end/", runners.end, name="runner-end"),
    path("servers/", servers.servers, name="servers"),
    path("servers/now/", servers.servers_now, name="servers-now"),
    path("servers/add/", servers.add, name="server-add"),
    path("servers/<uuid:pk>/", servers.server, name="server"),
    path("servers/<uuid:pk>/enrol/", servers.enrol, name="server-enrol"),
    path("servers/<uuid:pk>/password/", servers.password, name="server-password"),
    path("servers/<uuid:pk>/quarantine/", servers.quarantine, name="server-quarantine"),
    path("servers/<uuid:pk>/disable/", servers.disable, name="server-disable"),
    path("servers/<uuid:pk>/probe/", servers.probe, name="server-probe"),
    path("servers/<uuid:pk>/remove/", servers.remove, name="server-remove"),
    path("settings/providers/", providers.providers, name="providers"),
    path("settings/providers/add/", providers.add, name="provider-add"),
    path("settings/providers/<uuid:pk>/replace/", providers.replace, name="provider-replace"),
    path("settings/providers/<uuid:pk>/change/", providers.change, name="provider-change"),
    path("settings/providers/<uuid:pk>/try/", providers.try_out, name="provider-try"),
    path("settings/providers/<uuid:pk>/revoke/", providers.revoke, name="provider-revoke"),
    path("settings/providers/<uuid:pk>/remove/", providers.remove, name="provider-remove"),
    path("sessions/<uuid:pk>/", sessions.session, name="session"),
    path("sessions/<uuid:pk>/words/", sessions.words, name="session-words"),
    path("sessions/<uuid:pk>/say/", sessions.say, name="session-say"),
    path("sessions/<uuid:pk>/interrupt/", sessions.interrupt, name="session-interrupt"),
    path("sessions/<uuid:pk>/answer/<uuid:question>/", sessions.answer, name="session-answer"),
]
