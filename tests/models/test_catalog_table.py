"""The table of sizes: what it counts, that it holds every paper size, and that README holds it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from app.models import table
from app.models.catalog import BY_NAME, SPECS
from app.models.published import PUBLISHED, Published

README = Path(__file__).parents[2] / "README.md"
MARKS = ("<!-- catalog table -->\n", "<!-- end -->\n")


@pytest.fixture(scope="module")
def sizes():
    return table.measured()


def test_every_paper_size_of_the_catalog_has_a_row_and_every_row_a_network():
    shown = {(row.network, row.preset) for row in table.rows()}
    assert shown == {(s.name, p) for s in SPECS for p in s.presets if p.startswith("paper")}
    assert {row.network for row in PUBLISHED} <= set(BY_NAME)


@pytest.mark.slow
def test_the_readme_holds_what_the_command_prints(sizes):
    text = README.read_text(encoding="utf-8")
    start, end = (text.index(mark) for mark in MARKS)
    assert text[start + len(MARKS[0]) : end].strip() == table.table(sizes).strip()


@pytest.mark.slow
def test_every_published_figure_is_ours_within_a_tenth_of_a_percent(sizes):
    """Counted as it was counted there; what is left over is what their tools count besides."""
    figures = [row for row, _ in sizes if row.parameters_m or row.macs_g]
    assert len(figures) >= 9
    for row, size in sizes:
        for name, share in table.differences(row, size).items():
            assert abs(share) < 1e-3, f"{row.network} {row.row}: {name}"


@pytest.mark.slow
def test_every_published_descriptor_is_ours(sizes):
    assert [r for r, size in sizes if r.descriptor and r.descriptor != str(size.descriptor)] == []


@pytest.mark.slow
def test_the_order_of_mifts_attentions_is_the_papers_but_for_pvt(sizes):
    macs = {row.row[-4:].strip(", "): size.macs for row, size in sizes if "table 8" in row.row}
    assert macs["MHA"] > macs["Swin"] == macs["GLRA"] > macs["PVT"]


@pytest.mark.slow
def test_attention_products_are_missing_in_what_a_tool_with_hooks_counts(sizes):
    rows = {row.row: size for row, size in sizes if row.network == "mfrgn"}
    linear, full = rows["table 5, LA"], rows["table 5, neither"]
    assert full.macs > linear.macs
    assert full.their_macs == linear.their_macs


class Pair(nn.Module):
    """A trunk that both views share, and parts of every kind that is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.turned = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.linear = nn.Linear(4, 5)
        self.unused = nn.Linear(7, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.turned(self.norm(self.trunk(x)))
        return self.linear(x.mean((2, 3)))


@pytest.mark.parametrize("once", ["", "trunk"])
@pytest.mark.parametrize("norms", [False, True])
def test_modules_are_counted_as_by_hand(norms, once):
    pair = Pair().eval()

    def run():
        for _ in range(2):
            pair(torch.empty(1, 3, 6, 6))

    parameters, macs = table.count_by_modules(pair, run, norms=norms, once=once)
    trunk, turned, linear, norm = 36 * 8 * 27, 144 * 4 * 8 * 4, 20, 4 * 36 * 8
    assert macs == (1 if once else 2) * trunk + 2 * (turned + linear + norms * norm)
    assert parameters == (8 * 27 + 8) + (8 * 16 + 4) + 25 + norms * 16


def test_a_figure_is_compared_with_as_many_decimals_as_it_was_printed():
    size = table.Size(1, 1, 8, their_parameters=57_470_962, their_macs=9_757_700_000)
    row = Published("x", "y", parameters_m="57.47", macs_g="9.7616")
    assert set(table.differences(row, size)) == {"MACs"}
    assert table.differences(row, size)["MACs"] == pytest.approx(-0.0004, abs=1e-5)


def test_the_catalog_itself_loads_no_torch():
    code = "import sys, app.models.catalog; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
