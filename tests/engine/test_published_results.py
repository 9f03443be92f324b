import subprocess
import sys

import pytest

from app.engine.datasets.catalog import open_data_set
from app.engine.published_results import published
from tests.engine import made_data_sets as made


def row(data, test, method, trained_on=""):
    rows = published(data, test)
    return next(r for r in rows if (r.method, r.trained_on) == (method, trained_on)).values


@pytest.mark.parametrize(
    ("data", "test", "method", "values"),
    [
        ("University-1652", "drone to satellite", "MIFT", {"R@1": 0.8784, "AP": 0.8962}),
        ("University-1652", "satellite to drone", "MIFT", {"R@1": 0.9230, "AP": 0.8766}),
        ("CVUSA", "street to satellite", "MFRGN", {"R@1": 0.9824, "R@1%": 0.9988}),
        ("CVUSA", "street to satellite", "MSAE", {"R@1": 0.8139, "R@10": 0.9680}),
        ("CVACT", "val", "MSAE", {"R@1": 0.7152}),
        ("CVACT", "val", "GeoViewMatch", {"within 144 m": 0.9450, "mean distance top 1%": 4700}),
        ("VIGOR, cross area, corrected labels", "cross area", "MFRGN", {"hit rate": 0.4754}),
        ("CVOGL, drone to satellite", "test", "AttenGeo", {"accu@0.25": 0.7071}),
        ("CVOGL, street to satellite", "val", "AttenGeo", {"accu@0.5": 0.4410}),
        ("G2D", "val", "AttenGeo", {"accu@0.5": 0.7060}),
        ("SUES-200", "drone to satellite, 250 m", "MEAN", {"R@1": 0.9895}),
        ("SUES-200, 250 m", "drone to satellite", "MEAN", {"R@1": 0.9895}),
    ],
)  # fmt: skip
def test_rows_of_the_papers_are_found_by_data_set_and_test(data, test, method, values):
    found = row(data, test, method)
    assert {name: found[name] for name in values} == pytest.approx(values)


def test_rows_trained_on_another_data_set_say_so_and_come_last():
    rows = published("CVACT", "val")
    assert row("CVACT", "val", "MFRGN+", "CVUSA")["R@1"] == pytest.approx(0.7912)
    assert row("CVACT", "val", "MFRGN+")["R@1"] == pytest.approx(0.9109)
    assert [bool(r.trained_on) for r in rows] == sorted(bool(r.trained_on) for r in rows)


def test_each_of_the_five_networks_has_a_row_and_is_marked():
    tests = [
        ("University-1652", "drone to satellite"), ("CVUSA", "street to satellite"),
        ("CVOGL, drone to satellite", "test"),
    ]  # fmt: skip
    marked = {r.method for data, test in tests for r in published(data, test) if r.paper}
    assert marked >= {"MIFT", "MSAE", "GeoViewMatch", "MFRGN", "AttenGeo"}
    assert not any("*" in name for name in marked)


def test_shares_are_shares():
    for data, test in (
        ("CVACT", "val"),
        ("VIGOR", "same area"),
        ("DenseUAV", "drone to satellite"),
    ):
        for found in published(data, test):
            for name, value in found.values.items():
                assert 0 < value <= 1 or name.startswith("mean distance"), (found.method, name)


def test_nothing_is_published_for_ones_own_pairs():
    assert published("my village", "drone to satellite") == ()


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (made.write_university, "university"),
        (made.write_cvusa, "cvusa"),
        (made.write_vigor, "vigor-cross"),
        (made.write_cvact, "cvact"),
        (made.write_denseuav, "denseuav"),
        (made.write_sues_raw, "sues"),
    ],
)
def test_the_adapters_call_their_tests_as_the_rows_do(write, name, tmp_path):
    data = open_data_set(write(tmp_path), name=name)
    assert any(published(data.name, test.name) for test in data.tests)


def test_cvogls_adapter_is_called_as_its_rows_are(tmp_path):
    data = open_data_set(made.write_cvogl(tmp_path), name="cvogl-drone")
    assert published(data.name, "test")
    assert published(data.name, "val")


def test_the_rows_load_nothing_heavy():
    code = "import sys, app.engine.published_results; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
