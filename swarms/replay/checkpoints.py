"""Scenes on the way, kept in this process: one move of a slider then reads few events.

Events never change, so a scene that was made once is right for ever; what is kept is only bounded by its size.
"""

import threading
from collections import OrderedDict
from itertools import groupby

from swarms.replay.fold import fold
from swarms.replay.scene import EMPTY, Scene
from swarms.replay.stories import Story
from tenants.context import current_schema

EVERY = 250
"""A scene is kept at each so many events."""
ROOM = 500_000
"""Nodes that all kept scenes may hold together; those that nobody asked for longest go first."""
Key = tuple[str, str, int]
"""Schema, story, number of the event."""


class Checkpoints:
    """Kept scenes, by what they are of."""

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self._kept: OrderedDict[Key, Scene] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def nearest(self, schema: str, story: str, at: int) -> Scene:
        """The latest kept scene that is not after `at`; the empty one when there is none."""
        with self._lock:
            for seq in range(at - at % EVERY, 0, -EVERY):
                if found := self._kept.get((schema, story, seq)):
                    self._kept.move_to_end((schema, story, seq))
                    return found
        return EMPTY

    def keep(self, schema: str, story: str, scene: Scene) -> None:
        """Keep a scene, and let go of others when there is no room."""
        with self._lock:
            if (schema, story, scene.seq) in self._kept:
                return
            self._kept[schema, story, scene.seq] = scene
            self._weight += _weight(scene)
            while self._weight > self.room:
                _, gone = self._kept.popitem(last=False)
                self._weight -= _weight(gone)


def _weight(scene: Scene) -> int:
    return 20 + len(scene.nodes)


_checkpoints = Checkpoints()


def scene_at(story: Story, at: int, kept: Checkpoints = _checkpoints) -> Scene:
    """The scene at an event, in the team's schema. `at` is at most the story's last number."""
    schema = current_schema()
    scene = kept.nearest(schema, story.key, at)
    # Read in one go, and folded piece by piece: a scene is kept at the end of each whole one.
    for _, told in groupby(story.told(scene.seq, at), key=lambda event: (event.seq - 1) // EVERY):
        scene = fold(told, scene)
        if scene.seq % EVERY == 0:
            kept.keep(schema, story.key, scene)
    return scene
