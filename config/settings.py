"""Settings, each read once from the environment: docs/settings.md has the table."""

import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from agents.contracts import AGENT_RUNTIMES
from config.env import encryption_keys, env, env_bool, env_choice, env_float, env_int, env_secret, env_url
from config.services.layout import data_dir, embedded_urls, local_secret
from config.stores import artifact_store
from tenants.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"  # pyproject.toml has it, too; it is no part of an image
DATA_DIR = data_dir()
DEBUG = env_bool("WAGGLE_DEBUG", False)

_embedded = embedded_urls(DATA_DIR) or {}
DATABASE_URL = env_url(
    "DATABASE_URL", ["postgres", "postgresql"], "postgresql://waggle:secret@db.example:5432/waggle"
) or _embedded.get("DATABASE_URL", "")
REDIS_URL = env_url("REDIS_URL", ["redis", "rediss"], "redis://:secret@redis.example:6379") or _embedded.get(
    "REDIS_URL", "redis://127.0.0.1:0"
)  # port 0: nothing runs, but commands that need none do

SECRET_KEY = env_secret("WAGGLE_SECRET_KEY", None) or local_secret(DATA_DIR, "secret_key")
# For secrets in the database. The first key seals, all unseal.
ENCRYPTION_KEYS = encryption_keys(
    "WAGGLE_ENCRYPTION_KEYS",
    env_secret("WAGGLE_ENCRYPTION_KEYS", None) or local_secret(DATA_DIR, "encryption_keys"),
)

# Addresses
WAGGLE_HOST = env("WAGGLE_HOST", "waggle.localhost")
WAGGLE_PORT = env_int("WAGGLE_PORT", 8000, minimum=1, maximum=65535)
PUBLIC_URL = env_url(
    "WAGGLE_PUBLIC_URL", ["http", "https"], "https://waggle.example", f"http://{WAGGLE_HOST}:{WAGGLE_PORT}"
).rstrip("/")
# Where runners and agents reach the control plane: the path form, by an address that every resolver knows.
INTERNAL_URL = env_url(
    "WAGGLE_INTERNAL_URL", ["http", "https"], "http://web:8000", f"http://127.0.0.1:{WAGGLE_PORT}"
).rstrip("/")
ALLOWED_HOSTS = [
    WAGGLE_HOST,
    f".{WAGGLE_HOST}",
    "127.0.0.1",
    "localhost",
    urlsplit(INTERNAL_URL).hostname or "localhost",
]

# Whether folders of this server may be projects' sources: right on a laptop, wrong where teams don't trust each other.
LOCAL_SOURCES = env_bool("WAGGLE_LOCAL_SOURCES", False)
# Hosts of private networks that may be sources all the same: the company's own git server.
SOURCE_HOSTS = frozenset(env("WAGGLE_SOURCE_HOSTS", "").lower().replace(",", " ").split())

# Whether webhooks may lead to private addresses and this machine: right on a laptop only.
LOCAL_WEBHOOKS = env_bool("WAGGLE_LOCAL_WEBHOOKS", False)
# Hosts (host or host:port) of private networks to which webhooks may lead all the same.
WEBHOOK_HOSTS = frozenset(env("WAGGLE_WEBHOOK_HOSTS", "").lower().replace(",", " ").split())

# Whether the addresses of agent servers that members give may be private ones and this machine: right on a laptop only.
LOCAL_SERVERS = env_bool("WAGGLE_LOCAL_SERVERS", False)
# Hosts (host or host:port) of private networks at which such servers may be all the same.
SERVER_HOSTS = frozenset(env("WAGGLE_SERVER_HOSTS", "").lower().replace(",", " ").split())
# The same for the providers of models whose address and key a member gives.
LOCAL_PROVIDERS = env_bool("WAGGLE_LOCAL_PROVIDERS", False)
PROVIDER_HOSTS = frozenset(env("WAGGLE_PROVIDER_HOSTS", "").lower().replace(",", " ").split())
# Whether the local network is told, by mDNS, where the web process listens.
ANNOUNCE = env_bool("WAGGLE_ANNOUNCE", False)

# Who may read /metrics from elsewhere; without it only this machine may.
METRICS_TOKEN = env_secret("WAGGLE_METRICS_TOKEN", "")

# The model that the gateway asks. The supervisor points it at the rehearsal when none is set.
MODEL_BASE_URL = env_url("WAGGLE_MODEL_BASE_URL", ["http", "https"], "https://api.example/v1", "").rstrip("/")
MODEL_API_KEY = env_secret("WAGGLE_MODEL_API_KEY", "")
MODEL_NAME = env("WAGGLE_MODEL_NAME", "")
MODEL_WINDOW = env_int("WAGGLE_MODEL_WINDOW", 0)
# The longest that a provider may take for one call, in seconds.
MODEL_SECONDS = env_float("WAGGLE_MODEL_SECONDS", 1800, minimum=1)
MODEL_REHEARSAL = env_bool("WAGGLE_MODEL_REHEARSAL", False)

# Whose agents work: ours, or OpenCode's.
RUNTIME = env_choice("WAGGLE_RUNTIME", AGENT_RUNTIMES, AGENT_RUNTIMES[0])

# What agents leave beside their commits: where it lies, and how much that may be, in megabytes.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "artifacts": artifact_store(DATA_DIR),
}
ARTIFACT_MB = env_int("WAGGLE_ARTIFACT_MB", 100, minimum=1, maximum=5000)
ARTIFACT_TEAM_MB = env_int("WAGGLE_ARTIFACT_TEAM_MB", 10_000, minimum=1)

# Clockwork, in seconds
LEASE_SECONDS = env_float("WAGGLE_LEASE_SECONDS", 30, minimum=1)
HEARTBEAT_SECONDS = env_float("WAGGLE_HEARTBEAT_SECONDS", 10, minimum=0.2)
TICK_SECONDS = env_float("WAGGLE_TICK_SECONDS", 0.5, minimum=0.05)
SWEEP_SECONDS = env_float("WAGGLE_SWEEP_SECONDS", 5, minimum=0.1)
VERIFY_SECONDS = env_float("WAGGLE_VERIFY_SECONDS", 3600, minimum=0)
TICKER_METRICS_PORT = env_int("WAGGLE_TICKER_METRICS_PORT", 0, minimum=0, maximum=65_535)

# daphne serves `manage.py runserver`; loading it costs every other process a third of a second.
DAPHNE = ["daphne"] if "runserver" in sys.argv else []
SHARED_APPS = [
    *DAPHNE,
    "django_tenants",
    "django_prometheus",
    "django_dramatiq",
    "config",
    "tenants",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "channels",
]
TENANT_APPS = ["django.contrib.admin", "sessions", "agents", "swarms"]
# Admin goes first: django_tenants overrides two of its templates with inline styles, which our policy forbids.
INSTALLED_APPS = list(dict.fromkeys(["django.contrib.admin", *SHARED_APPS, *TENANT_APPS]))
TENANT_MODEL = "tenants.Team"
TENANT_DOMAIN_MODEL = "tenants.Domain"
AUTH_USER_MODEL = "tenants.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",  # before the team: files of every page need no database
    "tenants.middleware.TeamMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "tenants.middleware.MembershipRequired",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "config.urls_team"
PUBLIC_SCHEMA_URLCONF = "config.urls_public"
PROGRAMS_URLCONF = "config.urls_programs"
ASGI_APPLICATION = "config.asgi.application"

FORM_RENDERER = "tenants.fields.Renderer"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "tenants.page.page",
            ],
        },
    },
]

_database = urlsplit(DATABASE_URL)
# Who falls silent amid a transaction loses it after a lease, and all that it has locked; a host that is gone, sooner,
# and a process that is gone while its statement runs, at once.
_SILENCE = {
    "client_connection_check_interval": "2s",
    "idle_in_transaction_session_timeout": f"{LEASE_SECONDS * 1000:.0f}",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
DATABASES = {
    "default": {
        "ENGINE": "django_tenants.postgresql_backend",
        "HOST": _database.hostname or "",
        "PORT": _database.port or "",
        "USER": unquote(_database.username or ""),
        "PASSWORD": unquote(_database.password or ""),
        "NAME": _database.path.lstrip("/"),
        # Whoever gets a connection from the pool gets one that lives, also after the database was away.
        "CONN_HEALTH_CHECKS": True,
        "CONN_MAX_AGE": 0,  # anything else keeps a connection per request thread under ASGI
        "OPTIONS": {
            "pool": {"min_size": 1, "max_size": env_int("WAGGLE_DATABASE_POOL", 20, minimum=2), "timeout": 15},
            "options": " ".join(f"-c {name}={value}" for name, value in _SILENCE.items()),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    }
}
ORIGINAL_BACKEND = "tenants.database"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
PG_EXTRA_SEARCH_PATHS = ["extensions"]
SKIP_PG_EXTRA_VALIDATION = True  # it asks the database on every start; schemas of teams begin with "t_"
# One SET for each scope, not for each query: tests/test_context_path.py holds it against every way to lose a path.
TENANT_LIMIT_SET_CALLS = True


def redis_url(number: int) -> str:
    """Database `number` of the Redis server: 0 streams and channels, 1 Dramatiq."""
    return f"{REDIS_URL.rstrip('/')}/{number}" if not urlsplit(REDIS_URL).path.strip("/") else REDIS_URL


STREAM_URL = redis_url(0)
BROKER_URL = redis_url(1)
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        # redis-py 8 gives up idle reads after 5 s unless told not to.
        "CONFIG": {"hosts": [{"address": STREAM_URL, "socket_timeout": None}]},
    }
}
# Counters of sign-ins; nothing of a team.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": STREAM_URL}}
DRAMATIQ_BROKER = {
    "BROKER": "tenants.broker.BellBroker",
    "OPTIONS": {"url": BROKER_URL, "heartbeat_timeout": 15_000, "maintenance_chance": 100_000},
    # Messages are hints: no retries, no delays, no results. Losing one costs a tick.
    "MIDDLEWARE": [
        "dramatiq.middleware.AgeLimit",
        "dramatiq.middleware.TimeLimit",
        "dramatiq.middleware.ShutdownNotifications",
        "django_dramatiq.middleware.DbConnectionsMiddleware",
        "tenants.messages.TeamContext",
    ],
}
DRAMATIQ_AUTODISCOVER_MODULES = ["actors"]

LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
SESSION_COOKIE_DOMAIN = WAGGLE_HOST
SESSION_COOKIE_NAME = "waggle_session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
_https = PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
CSRF_TRUSTED_ORIGINS: list[str] = []  # an unsafe request's Origin must be the very host that it goes to
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env_bool("WAGGLE_BEHIND_PROXY", False) else None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "worker-src": ["'self'"],
        "form-action": [
            "'self'",
            f"{urlsplit(PUBLIC_URL).scheme}://*.{urlsplit(PUBLIC_URL).netloc}",
            PUBLIC_URL,
        ],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 60
DATA_UPLOAD_MAX_MEMORY_SIZE = 20 * 1024 * 1024

LOGGING = logging_config(env("WAGGLE_LOG_FORMAT", "json"))
SILENCED_SYSTEM_CHECKS = ["django_tenants.W003"]
