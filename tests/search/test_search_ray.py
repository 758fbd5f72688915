"""A real Ray cluster of two nodes on this machine: a worker and then a node are killed, and nothing is lost."""

import os
import signal

import pytest

from uninas.language.printer import dumps
from uninas.scores.objectives import Recipe
from uninas.search.candidate import Candidate
from uninas.search.executor import Inline
from uninas.search.run import Run
from uninas.search.store import Store
from uninas.search.tasks import cost_score

ray = pytest.importorskip("ray")
# Ray's own threads and sockets may be left when a cluster is torn down with a dead node.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def cluster(root):
    """A head without places for tasks, and two nodes with one each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_DISABLE_METRICS_EXPORT", "1")
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("RAY_health_check_failure_threshold", "4")
        patch.setenv("PYTHONPATH", str(root))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80_000_000})
        nodes = [made.add_node(num_cpus=1, object_store_memory=80_000_000) for _ in range(2)]
        made.nodes_by_hand = nodes
        yield made
        ray.shutdown()
        made.shutdown()


def rows(folder):
    with Store(folder, read_only=True) as store:
        return [(c.number, c.parent, c.edit, c.key, c.score, c.failure, c.seed) for c in store]


def test_mistakes_and_slow_tasks_come_back_as_they_do_from_local_workers(cluster, make):
    from uninas.errors import UninasError
    from uninas.search.ray_executor import RayExecutor

    with pytest.raises(UninasError, match="did you mean 'vkdnw'"):
        RayExecutor(Recipe((("vkdwn",),)), address=cluster.address)
    executor = RayExecutor(Recipe((("vkdnw",),), batch_size=2), address=cluster.address, time_limit=0.01)
    try:
        assert executor.directions == {"vkdnw": "higher"}
        executor.submit(Candidate(1, text="network tiny { }"))
        (result,) = executor.wait()
        assert (result.number, result.reason) == (1, "time")
    finally:
        executor.close()


def test_a_score_on_a_cluster_is_the_score_of_this_process(cluster, make):
    from uninas.runs.scorer import score
    from uninas.search.ray_executor import RayExecutor

    start = make().start
    executor = RayExecutor(Recipe((("vkdnw", "jacov"),), batch_size=2), address=cluster.address)
    try:
        executor.submit(Candidate(1, text=dumps(start, explicit=True), seed=7))
        (result,) = executor.wait()
    finally:
        executor.close()
    assert result.score == score(start, "vkdnw", 7, batch_size=2).value
    assert result.components["jacov"] == score(start, "jacov", 7, batch_size=2).value


def test_a_killed_worker_and_a_killed_node_lose_nothing(cluster, tmp_path, make):
    """The last test of the cluster, which has one node less then."""
    from uninas.search.ray_executor import RayExecutor

    plan = make(strategy="evolution", proxy="params", tuning={"population": 6})
    with Run(tmp_path / "whole", plan, Inline(cost_score("params"))) as run:
        list(run.candidates(60))

    executor = RayExecutor(plan.recipe, address=cluster.address)
    try:
        assert executor.jobs == 2
        with Run(tmp_path / "run", plan, executor) as run:
            hosts = []
            for candidate in run.candidates(60):
                hosts.append(candidate.worker)
                if len(run) == 15:
                    killed = candidate.worker
                    os.kill(int(killed.rpartition(":")[2]), signal.SIGKILL)
                if len(run) == 30:
                    cluster.remove_node(cluster.nodes_by_hand[0], allow_graceful=False)
            assert killed not in hosts[30:], "what was killed was no worker, or its tasks were not done by others"
    finally:
        executor.close()
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
