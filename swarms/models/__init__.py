"""What must be done."""

from swarms.models.gates import Approval
from swarms.models.plans import Edge, Node, Plan
from swarms.models.projects import Goal, Project, Swarm
from swarms.models.work import Attempt, CheckRun, Merge

__all__ = [
    "Approval",
    "Attempt",
    "CheckRun",
    "Edge",
    "Goal",
    "Merge",
    "Node",
    "Plan",
    "Project",
    "Swarm",
]
