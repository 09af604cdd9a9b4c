"""The engine: what its own work costs, and how long what is ready waits. One module a case, with `measure(stage)`."""

from bench.figures import Reach

CASES = (
    "dags",
    "idle",
    "scaling",
    "crowd",
    "plans",
    "guard",
    "events",
    "ready",
    "teams",
    "verify",
    "agents",
    "runner",
    "overhead",
)
REACH = {
    "engine.chain100.ratio": Reach("<=", 4, aim=2),
    "engine.fan200.ratio": Reach("<=", 4, aim=2),
    "engine.layered500.ratio": Reach("<=", 4, aim=2),
    "engine.cpu_ratio": Reach("<=", 4, aim=2.5),
    "engine.ready_to_started_p95_ms": Reach("<=", 25),
    "engine.idle_to_started_p95_ms": Reach("<=", 60),
    "engine.scaling": Reach("<=", 1.2),
    "engine.validate5000_ms": Reach("<", 200),
    "engine.ready_query_100k_ms": Reach("<", 10),
    "engine.teams1000_tick_ms": Reach("<", 20),
    "engine.overhead30s_share": Reach("<", 0.05),
    "engine.plan_to_first_agent_p95_s": Reach("<=", 1),
    "engine.events_per_second_one_swarm": Reach(">=", 200),
    "engine.guard_us": Reach("<=", 20),
}
