"""Several who decide in the same moment."""

import threading
from collections.abc import Callable

from django.db import connection

from swarms import approvals
from tenants.context import in_schema


def at_once(schema: str, *verbs: Callable[[], object]) -> list[object]:
    """What each verb said or raised, all let loose at the same moment in threads of their own."""
    gate, said = threading.Barrier(len(verbs)), dict[int, object]()

    def go(number: int, verb: Callable[[], object]) -> None:
        with in_schema(schema):
            gate.wait()
            try:
                said[number] = verb()
            except approvals.NotDecidable as error:
                said[number] = error
            finally:
                connection.close()

    threads = [threading.Thread(target=go, args=pair) for pair in enumerate(verbs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == len(verbs), "a verb broke"
    return [said[number] for number in range(len(verbs))]
