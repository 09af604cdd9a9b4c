"""What a runner records of an execution, on its way into the transcript: here steps get their price."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from agents import prices, routes
from agents.contracts import MessageRecord, PartRecord, Usage
from agents.models import Execution
from sessions import transcript
from sessions.models import Message


def take(execution: Execution, records: Sequence[Any]) -> int:
    """Add records to the execution's transcript, see sessions.transcript.record. Returns how many were taken."""
    return transcript.record(execution.session, _priced(records, execution))


def _priced(records: Sequence[Any], execution: Execution) -> Sequence[Any]:
    """What a model call cost is for the control plane to say: nothing that a runner claims counts."""
    steps = [record for record in records if isinstance(record, PartRecord) and record.usage is not None]
    if not steps:
        return records
    models = _models(records, {step.message for step in steps})
    return [
        record.model_copy(update={"usage": _with_cost(record.usage, models.get(record.message, ""), execution)})
        if isinstance(record, PartRecord) and record.usage is not None
        else record
        for record in records
    ]


def _models(records: Sequence[Any], messages: set[UUID]) -> dict[UUID, str]:
    """What answered in each message: as these records say, or those before."""
    known = {record.id: record.model for record in records if isinstance(record, MessageRecord) and record.model}
    if missing := messages - known.keys():
        known |= dict(Message.objects.filter(pk__in=missing).values_list("pk", "model"))
    return known


def _with_cost(usage: Usage, model: str, execution: Execution) -> Usage:
    cost = None
    if not execution.is_rehearsal:
        asked = execution.model
        cost = prices.cost(model or asked, usage, asked=asked, base_url=routes.base_url(execution))
    return usage.model_copy(update={"cost_microusd": cost})
