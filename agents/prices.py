"""What a model call costs. Prices come from genai-prices, which keeps a dated table of the providers' lists."""

from decimal import ROUND_HALF_UP

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from agents.contracts import Usage


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
    return int((price.total_price * 1_000_000).to_integral_value(ROUND_HALF_UP))
