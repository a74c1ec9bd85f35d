"""Metrics: what they are made of, and reading them and stored sources from files."""

from .load import check_metric as check_metric, load_metric as load_metric, load_source as load_source
from .model import (
    ColumnSpec as ColumnSpec,
    Metric as Metric,
    NamedSource as NamedSource,
    Source as Source,
    SourceVersion as SourceVersion,
    StoredSource as StoredSource,
)
