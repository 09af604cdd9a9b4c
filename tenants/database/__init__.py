"""The database backend below that of django-tenants."""
