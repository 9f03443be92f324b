"""Several processes that share each batch learn what one process learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from app.engine.distributed import Share, Team, require_even
from app.engine.runs import read_metrics, read_steps
from app.errors import UserError
from app.models.backbone import synchronise_norms
from app.models.build import create_preset
from tests.engine.pair_folder import write_pairs

REPOSITORY = Path(__file__).resolve().parents[2]
# Nothing of chance within the network, and no statistics of a process's own share.
STILL = ["freeze_bn=true", "drop_path_rate=0"]


def trained(run_dir: Path, data: Path, *launcher: str) -> Path:
    command = [sys.executable, *launcher, "-m", "app", "train", "--run-dir", str(run_dir)]
    command += ["--data", str(data), "--preset", "smallest", "--device", "cpu", "--epochs", "2"]
    command += ["--batch-size", "6", "--lr", "0.003", "--log-every", "1", "--accumulate", "2"]
    command += [word for setting in STILL for word in ("--set", setting)]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return run_dir


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="torchrun's launcher is tried on Linux")
def test_two_processes_have_the_loss_curve_of_one_at_the_same_batch(tmp_path):
    data = write_pairs(tmp_path / "data", train=24, val=6)
    one = trained(tmp_path / "one", data)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = trained(tmp_path / "two", data, *torchrun)
    alone, together = read_steps(one), read_steps(two)
    assert [line.step for line in together] == [1, 2, 3, 4]
    losses = [line.loss for line in alone]
    assert [line.loss for line in together] == pytest.approx(losses, rel=1e-4)
    assert max(losses) - min(losses) > 1e-2  # it did learn in between
    last, other = read_metrics(one)[-1], read_metrics(two)[-1]
    assert other.loss == pytest.approx(last.loss, rel=1e-4)
    assert other.metrics == pytest.approx(last.metrics, abs=0.01)
    # The first process alone wrote.
    log = (two / "log.txt").read_text()
    assert log.count("epoch 2: loss") == 1
    assert json.loads((two / "status.json").read_text())["state"] == "done"


def test_each_process_takes_its_part_of_every_batch():
    batches = [[(0, n) for n in range(6)], [(0, n) for n in range(6, 12)]]
    parts = [list(Share(batches, Team(rank=rank, size=3))) for rank in range(3)]
    assert [[key[1] for key in part[0]] for part in parts] == [[0, 1], [2, 3], [4, 5]]
    together = [key for part in parts for key in part[1]]
    assert together == batches[1]
    assert len(Share(batches, Team(rank=1, size=3))) == 2


def test_a_batch_that_cannot_be_shared_is_refused():
    require_even(6, Team(size=3))
    with pytest.raises(UserError, match="cannot be shared by 4"):
        require_even(6, Team(size=4))


def test_synchronised_norms_compute_what_the_plain_ones_do():
    """timm's norms hold an activation, which torch's own conversion would lose."""
    torch.manual_seed(0)
    network = create_preset("sample4geo", "smallest").eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before = network.describe(images, "satellite")
        synchronise_norms(network)
        after = network.describe(images, "satellite")
    assert any(isinstance(module, nn.SyncBatchNorm) for module in network.modules())
    torch.testing.assert_close(before, after)
