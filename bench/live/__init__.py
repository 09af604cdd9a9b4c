"""What happens, the moment it happens: from a commit to those who look. One module a case, with `measure(stage)`."""

from bench.figures import Reach

CASES = ("fanout", "wide", "crowd", "dom", "transcript", "durable", "replay", "hangup")
REACH = {
    "live.commit_to_client_p95_ms": Reach("<=", 50),
    "live.ratio200": Reach("<=", 1.5),
    "live.ratio1000": Reach("<=", 1.5),
    "live.fanout1000_p99_ms": Reach("<=", 40),
    "live.kb_per_client": Reach("<=", 60),
    "live.lost2000": Reach("<=", 0),
    "live.cpu_us_per_delivery": Reach("<=", 40),
    "live.encodes_per_event": Reach("<=", 1),
    "live.gone500_freed_s": Reach("<=", 2),
    "live.idle500_connections": Reach("<=", 0),
    "live.ended500_exit_s": Reach("<=", 12),
    "live.ended500_lost": Reach("<=", 0),
    "live.commit_to_dom_p95_ms": Reach("<=", 100),
    "live.users50": Reach("<=", 100),
    "live.events_per_second_one_swarm": Reach(">=", 200),
    "live.replay100k_s": Reach("<", 2),
    "live.replay_position_p95_ms": Reach("<", 50),
    "live.transcript_first_paint_ms": Reach("<", 1000),
    "live.transcript200_p95_ms": Reach("<=", 100),
    "live.transcript_longest_task_ms": Reach("<=", 200),
}
