"""What the live views cost and how far they lag."""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

RELAYED = Counter("waggle_events_relayed_total", "Durable events put on the teams' streams.")
RELAY_LAG = Histogram(
    "waggle_relay_lag_seconds",
    "From writing an event to its place on the stream.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
DELTAS_LOST = Counter(
    "waggle_deltas_lost_total", "Pieces of streamed text that Redis did not take; whole parts follow."
)
STREAMS = Gauge("waggle_streams_open", "Open live streams of this process.")
STREAMS_LAGGED = Counter("waggle_streams_lagged_total", "Streams closed because their reader was too slow.")
STREAM_MENDS = Counter("waggle_stream_mends_total", "Gaps in the live feed that were filled from the database.")
PAGES_RENDERED = Counter("waggle_pages_events_total", "Durable events rendered for pages, once for all who look.")
PAGES_SECONDS = Histogram(
    "waggle_pages_render_seconds",
    "Rendering what pages are sent: some events, or the rest of what changed.",
    ["what"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)


@dataclass(eq=False)
class Handed(Collector):
    """What the streams of this process were handed: plain numbers, for one thread counts, and for each event."""

    events: int = 0
    encoded: int = 0

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Whenever somebody reads the metrics."""
        yield CounterMetricFamily(
            "waggle_stream_events", "Durable events handed to streams, once per reader.", self.events
        )
        yield CounterMetricFamily(
            "waggle_stream_encoded", "Durable events encoded for programs, once for all who listen.", self.encoded
        )


HANDED = Handed()
REGISTRY.register(HANDED)
