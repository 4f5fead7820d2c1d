"""What is read from a kube-apiserver's /metrics: 4 MB of which a few lines count."""

from __future__ import annotations

import itertools
import re

from aggctl.core.questions import QueueSeen

_UNAVAILABLE = re.compile(
    rb'^aggregator_unavailable_apiservice\{name="([^"\n]{1,400})"\} (\S{1,40})$', re.MULTILINE
)
_QUEUE = re.compile(
    rb'^workqueue_(adds_total|depth)\{name="APIServiceRegistrationController"(?:,[^}]*)?\} (\S{1,40})$',
    re.MULTILINE,
)

MOST_APIS = 10_000


def unavailable_apis(text: bytes) -> dict[str, bool]:
    """By the name of each APIService, whether this kube-apiserver finds it unavailable."""
    found = itertools.islice(_UNAVAILABLE.finditer(text), MOST_APIS)
    return {each[1].decode("ascii", "replace"): float(each[2]) != 0 for each in found}


def aggregator_queue(text: bytes) -> QueueSeen:
    """How often an APIService was put into the aggregator's queue, and how many are in it."""
    numbers = {each[1].decode(): float(each[2]) for each in _QUEUE.finditer(text)}
    return QueueSeen(numbers.get("adds_total", 0.0), numbers.get("depth", 0.0))
