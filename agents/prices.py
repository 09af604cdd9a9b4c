"""What a model call costs. The team's own prices win; all others come from genai-prices, a dated table of lists."""

from decimal import ROUND_HALF_UP
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot

from agents.contracts import Usage
from agents.models import ModelPrice

MILLION = 1_000_000


def cost_microusd(model: str, usage: Usage, *, base_url: str) -> int | None:
    """The list price in millionths of a dollar, or None when nobody knows one.

    The provider is told by its address: the same model costs something else elsewhere, and nothing at home.
    """
    try:
        price = calc_price(
            PricedUsage(
                input_tokens=usage.input_tokens,
                cache_read_tokens=usage.cached_tokens or None,
                output_tokens=usage.output_tokens,
            ),
            model,
            provider_api_url=base_url,
        )
    except (LookupError, ValueError):
        return None
    return int((price.total_price * MILLION).to_integral_value(ROUND_HALF_UP))


def window(model: str, *, base_url: str) -> int | None:
    """How many tokens a model takes at once, by the same list; None when that does not say."""
    try:
        _, found = get_snapshot().find_provider_model(model, None, None, base_url)
    except LookupError:
        return None
    return found.context_window


def window_of(model: str, *, base_url: str) -> int | None:
    """How many tokens a model of this provider takes at once: as the operator says of the one that is set, else by the
    list."""
    is_set = (model, base_url) == (settings.MODEL_NAME, settings.MODEL_BASE_URL)
    return (settings.MODEL_WINDOW if is_set else 0) or window(model, base_url=base_url)


def own_cost(price: ModelPrice, usage: Usage) -> int:
    """What a team that set its own price pays, rounded up to a millionth of a dollar."""
    cached = min(usage.cached_tokens, usage.input_tokens)
    whole = (
        (usage.input_tokens - cached) * price.input_microusd
        + cached * price.cached_microusd
        + usage.output_tokens * price.output_microusd
    )
    return -(-whole // MILLION)


def cost(model: str, usage: Usage, *, asked: str, base_url: str, provider: UUID | None = None) -> int | None:
    """What a call costs this team: by its own price, else by the list; None when neither has one.

    A price of that `provider` of the team wins over one for all of them. `model` is what the provider says that it
    used; where nobody has a price for that, it is the one that was `asked`.
    """
    names = [model] if model == asked else [model, asked]
    there = ModelPrice.objects.filter(Q(provider=None) | Q(provider=provider), model__in=names)
    own = {price.model: price for price in there.order_by(F("provider_id").asc(nulls_first=True))}
    for name in names:
        if name in own:
            return own_cost(own[name], usage)
    for name in names:
        if (listed := cost_microusd(name, usage, base_url=base_url)) is not None:
            return listed
    return None
