"""The models as Anthropic lists them."""

from datetime import UTC, datetime

import msgspec


class ModelCard(msgspec.Struct, tag_field="type", tag="model"):
    id: str
    display_name: str
    created_at: str  # RFC 3339
    max_input_tokens: int
    max_tokens: int  # that an answer may have
    lifecycle: str = "active"


class ModelList(msgspec.Struct):
    data: list[ModelCard]
    has_more: bool
    first_id: str | None
    last_id: str | None


def model_card(name: str, created_s: int, n_ctx: int) -> ModelCard:
    """`created_s`: Unix seconds; `n_ctx`: tokens, prompt and answer together."""
    day = datetime.fromtimestamp(created_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return ModelCard(name, name, day, n_ctx, n_ctx)


def model_list(cards: list[ModelCard]) -> ModelList:
    """All of them: nobody serves so many that they would need pages."""
    ids = [card.id for card in cards]
    return ModelList(cards, False, ids[0] if ids else None, ids[-1] if ids else None)
