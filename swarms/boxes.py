"""A node's box in the graph, as SVG: many at once, and again whenever a node looks different."""

from django.utils.html import format_html
from django.utils.safestring import SafeString

from swarms.picture import Vertex

_BOX = (
    '{opening} data-place="{topic}/vertex/{key}" data-key="{key}" data-tone="{tone}" data-up="{up}" data-down="{down}"'
    ' aria-label="{title}, {sub}"><title>{title} ({key}): {sub}</title>'
    '<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8"></rect>'
    '<text class="node-title" x="{text_x}" y="{title_y}">{short_title}</text>'
    '<svg class="icon" x="{text_x}" y="{glyph_y}" width="14" height="14" viewBox="0 0 24 24" aria-hidden="true">'
    '<use href="#i-{icon}"></use></svg><text class="node-sub" x="{sub_x}" y="{sub_y}">{short_sub}</text>{closing}'
)
_LINK = '<a class="node" href="{}nodes/{}/"'


def box(vertex: Vertex, base: str, topic: str = "") -> SafeString:
    """The box of a node. `base`: the address of the swarm, empty where nodes have no pages; `topic`: where it lives."""
    card, place = vertex.card, vertex.box
    return format_html(
        _BOX,
        opening=format_html(_LINK, base, card.key) if base else SafeString('<g class="node"'),
        closing=SafeString("</a>" if base else "</g>"),
        topic=topic,
        key=card.key,
        tone=card.look.tone,
        icon=card.look.icon,
        title=card.title,
        sub=card.sub,
        short_title=vertex.title,
        short_sub=vertex.sub,
        up=vertex.up,
        down=vertex.down,
        x=place.x,
        y=place.y,
        width=place.width,
        height=place.height,
        text_x=vertex.text_x,
        title_y=vertex.title_y,
        glyph_y=vertex.glyph_y,
        sub_x=vertex.sub_x,
        sub_y=vertex.sub_y,
    )
