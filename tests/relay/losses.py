"""What a host was given of what was posted: all of it, or it was told."""

from __future__ import annotations


def check_told(host, numbers):
    """No event of these came twice, or out of order; if any is missing, a loss was told.

    Returns how many are missing. Where each `lost` has a count, they are as many as was told.
    """
    seen = [data for event, data in host.seen if event == "event"]
    assert seen == sorted(set(seen)), "twice, or out of order"
    assert set(seen) <= set(numbers)
    missing = len(numbers) - len(seen)
    told = [data for event, data in host.seen if event == "lost"]
    assert bool(missing) <= bool(told), f"not told: {sorted(set(numbers) - set(seen))}"
    counts = [data["count"] for data in told]
    assert None in counts or sum(counts) == missing
    return missing
