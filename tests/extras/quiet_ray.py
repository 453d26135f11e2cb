"""Ray, told to be quiet and patient before it is imported."""

from __future__ import annotations

import os
import warnings

# a node of two busy cores is slow to start, and not dead
os.environ.update(
    RAY_AUTH_MODE="disabled",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_agent_register_timeout_ms="120000",
    RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S="60",
)

with warnings.catch_warnings():  # its own, of pydantic
    warnings.simplefilter("ignore")
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

__all__ = ["Cluster", "ray", "serve"]
