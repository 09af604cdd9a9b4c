"""manage.py replay textkit#12 --at 340"""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from swarms.naming import NoSuch, find
from swarms.replay import shown, stories
from swarms.replay.checkpoints import scene_at
from swarms.replay.says import say
from swarms.replay.scene import Scene
from swarms.templatetags.waggle import clock, money
from swarms.terminal import plain
from tenants.context import in_schema


class Command(BaseCommand):
    help = "Prints what a swarm, or an archive, was at one of its events: states of nodes, agents, questions, money."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which one, and when."""
        parser.add_argument("swarm", help="<project>#<number>, e.g. textkit#12, or the id of a swarm or an archive")
        parser.add_argument("--team", help="Address of the team; needed where several teams have such a swarm")
        parser.add_argument("--at", type=int, help="Number of the event; the last one unless it is said")
        parser.add_argument("--json", action="store_true", help="For programs")

    def handle(self, *args: Any, swarm: str, team: str | None, at: int | None, **options: Any) -> None:
        """Print the scene. Raises CommandError when there is no such swarm or event."""
        try:
            schema, pk = find(swarm, team, archives=True)
        except NoSuch as error:
            raise CommandError(str(error)) from error
        with in_schema(schema):
            story = stories.known(pk)
            last = story.last() if story else 0
            seq = last if at is None else at
            if story is None or not 1 <= seq <= last:
                raise CommandError(f"--at: {swarm} has the events 1 to {last}.")
            if options["json"]:
                self.stdout.write(json.dumps(shown.facts(story, seq), indent=2, default=str))
                return
            scene, event = scene_at(story, seq), story.at(seq)
        said = say(event.kind, event.payload) if event else None
        self._say(f"Event {seq} of {last}, {scene.at:%Y-%m-%d %H:%M:%S} UTC: {said.text if said else ''}")
        self._print(scene)

    def _print(self, scene: Scene) -> None:
        passed = (scene.at - scene.began).total_seconds() if scene.at and scene.began else 0
        because = f", {scene.because}" if scene.because else ""
        self._say(f"Swarm: {scene.state}{because}; {clock(passed)} after the beginning")
        meters = shown.meters(scene)
        cost = "no cost known" if meters.cost is None else money(meters.cost)
        done = f"{meters.done} of {meters.total} nodes done"
        self._say(f"Plan {scene.version or 'none'}; {done}; {meters.tokens} tokens, {cost}")
        for node in scene.present:
            attempt = f"attempt {node.attempts}" if node.attempts else ""
            words = [node.key.ljust(24), node.state.ljust(18), attempt.ljust(10), scene.agent_of(node), node.because]
            self._say("  " + " ".join(word for word in words if word).rstrip())
        for work in scene.works.values():
            self._say(f"  at work: {work.agent} ({work.kind}): {work.title}; {work.doing or 'starting'}")
        for ask in scene.asks.values():
            self._say(f"  waits for approval: {ask.title}")
        if scene.branch:
            self._say(f"Branch: {scene.branch}, with {len(scene.merges)} merges")
        if scene.landed:
            self._say(f"Landed on {scene.landed_on} as {scene.landed}")
        if scene.rolled_back:
            self._say(f"Taken back as {scene.rolled_back}")

    def _say(self, line: str) -> None:
        self.stdout.write(plain(line))
