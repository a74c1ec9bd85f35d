"""Health: what is wrong with a metric's answers, gathered in one place for everybody who shows it.

``look`` gathers what can be seen of metrics, workers and topics, once and within seconds; each module beside
it is one kind of check and looks at that only; ``health`` puts the checks together. `timeline get`, the
answers of clients and the chaos tests read their results, so that none of them can know better than others.
"""

from .condition import (
    WELL as WELL,
    Condition as Condition,
    MetricHealth as MetricHealth,
    Notice as Notice,
    together as together,
)
from .health import CHECKS as CHECKS, health_of as health_of, metric_health as metric_health
from .look import Applied as Applied, Look as Look, look_at as look_at
