"""How the invariants stand."""

from prometheus_client import Gauge

VIOLATIONS = Gauge("waggle_violations", "Rows for which an invariant does not hold, when last looked.", ["invariant"])
SECONDS = Gauge("waggle_verify_seconds", "How long the last look at all invariants took.")
