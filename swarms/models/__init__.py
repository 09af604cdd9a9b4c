"""What must be done."""

from swarms.models.archives import Archive, ArchiveRecord
from swarms.models.gates import Approval
from swarms.models.plans import Edge, Node, Plan
from swarms.models.projects import Goal, Project, Swarm
from swarms.models.rules import ToolRule
from swarms.models.work import Attempt, CheckRun, Merge

__all__ = [
    "Approval",
    "Archive",
    "ArchiveRecord",
    "Attempt",
    "CheckRun",
    "Edge",
    "Goal",
    "Merge",
    "Node",
    "Plan",
    "Project",
    "Swarm",
    "ToolRule",
]
