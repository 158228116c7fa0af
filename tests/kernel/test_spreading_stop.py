"""Stop in the middle of a batch in other processes: Jupyter interrupts those as well."""

from __future__ import annotations

import pytest

from tests.driving.kernel import Notebook
from tests.peers import serve_tools

POOLS = {
    "processes": "import concurrent.futures, multiprocessing\n"
    "pool = concurrent.futures.ProcessPoolExecutor(\n"
    "    2, mp_context=multiprocessing.get_context('spawn'))",
    "dask": "from distributed import Client, LocalCluster\n"
    "cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=':0')\n"
    "pool = Client(cluster)",
}


@pytest.fixture(scope="module")
def tools():
    with serve_tools(unguarded=True, json_response=True) as tools:
        yield tools


@pytest.fixture(scope="module")
def nb(tools, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spreading")
    env = {"MCP_NOTEBOOK_HOME": str(folder), "MCP_NOTEBOOK_TOKEN_STORE": "memory"}
    book = Notebook(env=env)
    book.run("%load_ext mcp_notebook")
    book.run(f"%mcp add notes {tools.url}")
    book.run("%mcp connect notes")
    assert book.value("notes.wait(20).status") == "connected"
    yield book
    book.close()


@pytest.mark.parametrize("pool", POOLS)
def test_the_workers_outlive_stop_and_finish_the_batch(nb, tools, pool):
    assert not nb.run(POOLS[pool]).error
    assert nb.value("notes.tools.slow.map([0.01] * 40, executor=pool).done") == 40
    before = tools.calls("slow")
    cell = nb.start("notes.tools.slow.map([0.05] * 200, executor=pool)")
    tools.wait_for_tool("slow", before + 20, 30)
    nb.interrupt()
    cell.wait(20)
    done = nb.value("notes.tools.slow.last_batch.done")
    assert 10 <= done < 200
    assert f"{done} of 200 rows done" in cell.error
    assert nb.value("notes.tools.slow.last_batch.resume().done") == 200
    assert not nb.run("pool.shutdown()").error
