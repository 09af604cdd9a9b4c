"""Named answers of attempts: examined when they are reported, kept, and told when their node has succeeded."""

from collections.abc import Mapping

from agents.contracts import AnswerAsked, Given
from agents.contracts.answers import read
from sessions.events import publish
from swarms.models import Attempt, Node


def asked(node: Node) -> list[AnswerAsked]:
    """What the agent of a node must answer."""
    return [AnswerAsked.model_validate(one) for one in node.answers]


def examine(attempt: Attempt, given: Mapping[str, Given]) -> list[str]:
    """What is wrong with the named answers of an outcome."""
    return read(asked(attempt.node), given)[1]


def keep(attempt: Attempt, given: Mapping[str, Given]) -> None:
    """Keep the answers of an outcome that has been examined."""
    if attempt.node.answers:
        attempt.answers, _ = read(asked(attempt.node), given)
        Attempt.objects.filter(pk=attempt.pk).update(answers=attempt.answers)


def of(node: Node) -> dict[str, Given]:
    """What a node that has succeeded says by name."""
    return {one["name"]: node.output[one["name"]] for one in node.answers if one["name"] in node.output}


def tell(attempt: Attempt) -> None:
    """The node of this attempt has succeeded with its answers."""
    if attempt.answers:
        publish(attempt.node.event_subject, "node.answered", node=attempt.node.key, answers=attempt.answers)
