"""What is read from a kube-apiserver's /metrics: 4 MB of which a few lines count."""

from __future__ import annotations

import re

from aggctl.core.questions import QueueSeen

_UNAVAILABLE = re.compile(rb'^aggregator_unavailable_apiservice\{name="([^"]+)"\} (\S+)$', re.MULTILINE)
_QUEUE = re.compile(
    rb'^workqueue_(adds_total|depth)\{name="APIServiceRegistrationController"(?:,[^}]*)?\} (\S+)$',
    re.MULTILINE,
)


def unavailable_apis(text: bytes) -> dict[str, bool]:
    """By the name of each APIService, whether this kube-apiserver finds it unavailable."""
    return {name.decode("ascii", "replace"): float(value) != 0 for name, value in _UNAVAILABLE.findall(text)}


def aggregator_queue(text: bytes) -> QueueSeen:
    """How often an APIService was put into the aggregator's queue, and how many are in it."""
    numbers = {kind.decode(): float(value) for kind, value in _QUEUE.findall(text)}
    return QueueSeen(numbers.get("adds_total", 0.0), numbers.get("depth", 0.0))
