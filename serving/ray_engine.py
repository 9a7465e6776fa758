"""Data-parallel replicas of one engine as Ray actors, one per GPU or per node, behind one engine."""

from __future__ import annotations

from serving.ray_actor import OpenEngine
from serving.ray_cluster import RayCluster
from serving.ray_replica import RayReplica
from serving.replicated_engine import ReplicatedEngine
from serving.types import EngineStartError


async def start_ray_engine(
    open_engine: OpenEngine,
    *,
    num_replicas: int,
    address: str,
    cpus_per_replica: float,
    gpus_per_replica: float,
) -> ReplicatedEngine:
    """Start or join a cluster, and the replicas in it; closing the engine ends them, and ends or leaves the cluster.

    Args:
        open_engine: starts one replica's engine in the process it is called in; must be picklable, and what it needs
            installed on every node.
        num_replicas: at least 1.
        address: as for `RayCluster.open`.
        cpus_per_replica: what Ray sets aside for each; a share of a processor is possible.
        gpus_per_replica: likewise, in a cluster that has GPUs; in one that has none, replicas get none.

    Raises:
        EngineStartError: there is no such cluster, it is too small, or an engine cannot start in it.
    """
    cluster = await RayCluster.open(address, num_cpus=num_replicas * cpus_per_replica)
    try:
        resources = cluster.resources()
        if not resources.get("GPU"):
            gpus_per_replica = 0.0
        for name, each in (("CPU", cpus_per_replica), ("GPU", gpus_per_replica)):
            if num_replicas * each > resources.get(name, 0.0):
                raise EngineStartError(
                    f"engine.replicas is {num_replicas} of {each:g} {name} each, and the Ray cluster has "
                    f"{resources.get(name, 0.0):g}: lower engine.replicas or engine.{name.lower()}s_per_replica"
                )
        replicas = [
            RayReplica(f"replica-{i}", open_engine, num_cpus=cpus_per_replica, num_gpus=gpus_per_replica)
            for i in range(num_replicas)
        ]
    except BaseException:
        await cluster.close()
        raise
    return await ReplicatedEngine.start(replicas, close_place=cluster.close)
