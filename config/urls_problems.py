"""What is answered when something is wrong, on every host: the handlers of each URL configuration."""

handler400 = "tenants.problems.bad_request"
handler403 = "tenants.problems.forbidden"
handler404 = "tenants.problems.not_found"
handler500 = "tenants.problems.failed"
