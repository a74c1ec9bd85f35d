"""The limits that the model counts with are those of the programs; prices are computed as their lists say."""

from __future__ import annotations

import pytest

from feeder import topic_feeder
from feeder.delivery import leaf_delivery
from feeder.routing import router
from timeline_workers.capacity import limits
from timeline_workers.runtime import eviction
from timeline_workers.settings.timeline_settings import Settings
from workflows.durable import carry


def test_limits_of_ours_are_those_of_the_programs() -> None:
    settings = Settings.model_construct(
        **{name: field.default for name, field in Settings.model_fields.items()}
    )
    assert limits.OUTSTANDING == leaf_delivery.OUTSTANDING
    assert limits.CONCURRENT_SIGNALS == leaf_delivery.CONCURRENT_SIGNALS
    assert limits.PAYLOAD_BYTES == router.PAYLOAD_BYTES
    assert limits.BATCH == topic_feeder.BATCH_MESSAGES
    assert limits.INLINE_STATE_BYTES == carry.INLINE_STATE_BYTES
    assert limits.STATE_PART_BYTES == carry.STATE_PART_BYTES
    assert limits.HISTORY_LIMIT_BYTES == carry.HISTORY_LIMIT_BYTES
    assert limits.WORK_PER_STATE == carry._WORK_PER_STATE
    assert limits.LONGEST_HISTORY == carry._LONGEST_HISTORY
    assert limits.MOST_SIGNALS == carry._MOST_SIGNALS
    assert limits.ARCHIVE_KEYS == eviction.ARCHIVE_KEYS
    assert limits.ARCHIVE_BYTES == eviction.ARCHIVE_BYTES
    assert settings.state_bytes == limits.STATE_BYTES
    assert settings.message_bytes == limits.MESSAGE_BYTES
    assert settings.max_cached_workflows == limits.CACHED_WORKFLOWS


@pytest.mark.parametrize(
    ("millions", "dollars"),
    [
        (0, 0),
        (1, 50),
        (11.25, 5 * 50 + 5 * 45 + 1.25 * 40),  # the list's own example
        (200, 5 * 50 + 5 * 45 + 10 * 40 + 30 * 35 + 50 * 30 + 100 * 25),
        (300, 5 * 50 + 5 * 45 + 10 * 40 + 30 * 35 + 50 * 30 + 200 * 25),
    ],
)
def test_actions_cost_what_the_price_list_says(millions: float, dollars: float) -> None:
    assert limits.Prices().of_actions(millions) == pytest.approx(dollars)
