"""Importing a published checkpoint on the command line: the whole way, as a user goes it."""

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from app.card import read_card
from app.cli import run_command
from app.engine.checkpoints import load_checkpoint
from app.models.build import create_preset


def fields(text: str) -> dict[str, str]:
    return {line.split()[0]: line.strip().partition("  ")[2] for line in text.splitlines()}


@pytest.mark.slow
def test_a_published_transgeo_describes_here_as_there(capsys, tmp_path):
    """Of the published size and in the published layout, from the file to the checkpoint."""
    torch.manual_seed(3)
    net = create_preset("transgeo", "paper-cvusa-cvact").eval()
    source = tmp_path / "CVACT" / "model_best.pth.tar"
    source.parent.mkdir()
    state = {f"module.{key}": tensor for key, tensor in net.state_dict().items()}
    best = np.float64(84.95)
    torch.save(
        {"epoch": 99, "state_dict": state, "best_acc1": best, "optimizer": {"state": {}}}, source
    )
    output = tmp_path / "transgeo.safetensors"
    assert run_command(["checkpoint", "import", str(source), "-o", str(output)]) == 0
    told = fields(capsys.readouterr().out)
    assert told["project"] == "TransGeo"
    assert told["data"] == "CVACT (by its name)"
    assert told["keys"] == "310 used, 0 dropped; beside them epoch, best_acc1, optimizer"
    assert told["network"] == "transgeo (paper-cvusa-cvact), descriptor 1000"
    assert told["sizes"] == "street 112 x 616, satellite 256 x 256 pixels; tiles of 144 m"
    assert output.stat().st_size < 0.6 * source.stat().st_size
    checkpoint = load_checkpoint(output, device="cpu")
    rng = np.random.default_rng(0)
    for view in ("street", "satellite"):
        pictures = rng.integers(0, 255, (1, *net.input_size(view), 3), np.uint8)
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
        with torch.inference_mode():
            wanted = net.describe(net.preprocess(images, view), view).numpy()
        np.testing.assert_allclose(checkpoint.describe(pictures, view), wanted, atol=2e-3)


@pytest.mark.slow
def test_the_options_decide_what_the_file_leaves_open(capsys, tmp_path):
    source = tmp_path / "weights.pth"
    torch.save(create_preset("sample4geo", "smallest").state_dict(), source)
    command = ["checkpoint", "import", str(source), "--as", "sample4geo", "--preset", "smallest"]
    assert run_command([*command, "--tile-size-m", "90", "--title", "Ours now"]) == 0
    written = fields(capsys.readouterr().out)["checkpoint"]
    card = read_card(tmp_path / written)
    assert (card.title, card.tile_size_m, card.network) == ("Ours now", 90.0, "sample4geo")
    assert run_command(["checkpoint", "info", written]) == 0
    assert "not stated by the file" in capsys.readouterr().out
    assert run_command(["checkpoint", "import", written]) == 1
    assert "is a Skyfix checkpoint already" in capsys.readouterr().err


def test_a_harmful_file_ends_in_a_sentence(capsys, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "canary"),)

    source, output = tmp_path / "evil.pth", tmp_path / "o.safetensors"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Evil()}, protocol=2))
    assert run_command(["checkpoint", "import", str(source), "-o", str(output)]) == 1
    told = capsys.readouterr().err
    assert "evil.pth holds" in told
    assert "mkdir, which is no weight" in told
    assert "Traceback" not in told
    assert not (tmp_path / "canary").exists()
    assert not output.exists()


def test_an_unknown_project_is_bad_usage(tmp_path):
    with pytest.raises(SystemExit) as ended:
        run_command(["checkpoint", "import", str(tmp_path / "w.pth"), "--as", "yolo"])
    assert ended.value.code == 2
