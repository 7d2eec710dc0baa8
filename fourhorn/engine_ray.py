"""The same shards as tasks of a Ray cluster: nodes come and go, the bytes written stay the same.

Section 2.1 on many machines. Source and destination lie in a folder that every node sees under one path, and
fourhorn is installed on each. Ray only places tasks and tells of lost workers; attempts, quarantine and what a shard
writes are those of `fourhorn.engine`, so Ray's own retries are off.

The cluster is the one RAY_ADDRESS names or a running one on this machine; without either a local one is started and
ended here. Usage statistics are switched off. Raises `UserError` when ray is not installed.
"""

import os
import signal
import sys
from typing import Any

from fourhorn.engine import Limits, Reply, ShardFunction, attempt
from fourhorn.errors import UserError


class RayPool:
    """One Ray task per shard, as many at a time as the cluster has CPUs (or `workers`)."""

    def __init__(self, function: ShardFunction, workers: int | None, limits: Limits) -> None:
        self.ray = _import_ray()
        self.function, self.limits = function, limits
        self.started_here = not self.ray.is_initialized() and not _connect(self.ray, workers)
        cluster_cpus = int(self.ray.cluster_resources().get("CPU", 1))
        self.n_workers = max(1, workers or cluster_cpus)
        self.remote = self.ray.remote(num_cpus=1, max_retries=0, max_calls=0)(_shard)
        self.running: dict[Any, int] = {}

    def submit(self, number: int, kwargs: dict[str, Any]) -> None:
        reference = self.remote.remote(self.function, kwargs, self.limits.time_seconds)
        self.running[reference] = number

    def wait(self) -> list[tuple[int, Reply]]:
        ready, _ = self.ray.wait(list(self.running), num_returns=1, timeout=None)
        return [(self.running.pop(reference), self._reply(reference)) for reference in ready]

    def _reply(self, reference: Any) -> Reply:
        try:
            reply: Reply = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            return "died", f"worker died ({type(error).__name__})"
        return reply

    def close(self) -> None:
        for reference in self.running:
            self.ray.cancel(reference, force=True)
        self.running = {}
        if self.started_here:
            self.ray.shutdown()


def _shard(function: ShardFunction, kwargs: dict[str, Any], time_limit_seconds: float | None) -> Reply:
    """One attempt inside a Ray worker; SIGALRM's default action ends it in time, even in C code that holds the GIL."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, time_limit_seconds or 0)
    try:
        return attempt(function, kwargs)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            "The ray engine needs ray: pip install 'fourhorn[ray]', or use --engine local."
        ) from None
    return ray


def _connect(ray: Any, workers: int | None) -> bool:
    """Join a running cluster; False when there was none and one was started on this machine."""
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), **quiet)
        return True
    except ConnectionError:
        if "RAY_ADDRESS" in os.environ:
            raise UserError(f"No Ray cluster answers at RAY_ADDRESS={os.environ['RAY_ADDRESS']}.") from None
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    environment = {"env_vars": {"PYTHONPATH": path}}
    ray.init(address="local", num_cpus=workers, include_dashboard=False, runtime_env=environment, **quiet)
    return False
