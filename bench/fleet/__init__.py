"""The fleet: how soon agents work, how many at once, and what they take. One module a case, with `measure(stage)`."""

from bench.figures import Reach

CASES = ("start", "crowd", "gateway", "workspace", "discover")
REACH = {
    "fleet.claim_to_first_event_p95_ms": Reach("<=", 1000),
    "fleet.claim_to_first_event_opencode_warm_p95_ms": Reach("<=", 2000),
    "fleet.claim_to_first_event_opencode_cold_p95_ms": Reach("<=", 8000),
    "fleet.crowd20.missed_heartbeats": Reach("<=", 0),
    "fleet.crowd20.lost": Reach("<=", 0),
    "fleet.gateway_p50_ms": Reach("<=", 5),
    "fleet.workspace10k_ms": Reach("<=", 500),
    "fleet.discover_p95_s": Reach("<=", 3),
}
