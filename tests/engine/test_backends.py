"""Who computes a network: nothing is taken on trust, and nothing that fails reaches the user."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from app import settings
from app.engine import backend_openvino, backends
from app.engine.backends import CHOICES, Backends, choose_backend, describing, try_out
from app.engine.checkpoints import load_checkpoint
from app.engine.locate import locate
from app.engine.shelf import Shelf
from app.errors import UserError
from app.messages import Locate
from app.models.base import RetrievalConfig, RetrievalNetwork
from tests.engine.small_town import make_town

SIZE = (32, 48)


class Small(RetrievalNetwork):
    """As little of a network as there is."""

    descriptor = 16

    def __init__(self) -> None:
        super().__init__(
            RetrievalConfig(query_view="drone", query_size=SIZE, satellite_size=(16, 16))
        )
        self.conv = nn.Conv2d(3, 16, 5, stride=2)

    def describe(self, images, view):
        return F.normalize(self.conv(images).relu().mean((2, 3)))

    def loss(self, batch):
        raise NotImplementedError

    explain = loss


@pytest.fixture
def part():
    return describing(Small().eval(), "drone")


@pytest.fixture
def offered(monkeypatch):
    """Makes ``run`` what OpenVINO offers; ``speedup`` None: measured."""

    def offer(run, speedup=2.0):
        def make(part, device, identity, cache):
            made = run(part)
            trial = try_out(part, made, device, timed=False)
            return made, backends.Trial(trial.cosine, trial.difference, speedup)

        monkeypatch.setattr(backends, "unavailable", lambda *_: "")
        monkeypatch.setitem(backends._MAKERS, "openvino", make)

    return offer


def pictures(count=3):
    return torch.rand(count, 3, *SIZE)


def rounding(part):
    """To float16 and back: coarser than any backend here."""
    return lambda images: part.run(images).half().float()


def test_the_settings_know_the_same_names():
    assert set(settings.EXECUTIONS) == set(CHOICES)
    assert settings.Settings().execution == "auto"
    with pytest.raises(UserError, match="no backend tensorrt"):
        Backends("cpu", "tensorrt")


def test_without_openvino_auto_stays_eager_and_says_why(part, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    chosen = choose_backend(part, "cpu", "auto")
    assert (chosen.name, chosen.run) == ("eager", part.run)
    assert chosen.reason == "eager, channels last: OpenVINO is not installed"


def test_torch_compile_is_never_taken_unasked(part, monkeypatch):
    monkeypatch.setattr(backends, "unavailable", lambda name, _: f"no {name}")
    assert "openvino" in choose_backend(part, "cpu", "auto").reason
    assert "openvino" in choose_backend(part, "cuda:0", "auto").reason


@pytest.mark.parametrize(("frozen", "compilers"), [(True, "/bin/c++"), (False, None)])
def test_an_installed_program_and_one_without_a_compiler_stay_eager(
    part, monkeypatch, frozen, compilers
):
    monkeypatch.setattr(sys, "frozen", frozen, raising=False)
    monkeypatch.setattr(backends.shutil, "which", lambda _: compilers)
    chosen = choose_backend(part, "cpu", "compile")
    assert chosen.name == "eager"
    assert "C++ compiler" in chosen.reason


def test_half_precision_is_for_a_gpu(part):
    assert "GPU" in choose_backend(part, "cpu", "half").reason


def test_a_backend_that_agrees_and_is_faster_is_taken(part, offered):
    offered(rounding)
    chosen = choose_backend(part, "cpu", "auto")
    assert (chosen.name, chosen.reason) == ("openvino", "OpenVINO, 2.0 times eager")


def test_a_backend_that_is_not_faster_is_taken_only_when_asked_for(part, offered):
    offered(rounding, speedup=0.9)
    slower = choose_backend(part, "cpu", "auto")
    assert slower.name == "eager"
    assert "not faster (0.90 times)" in slower.reason
    assert choose_backend(part, "cpu", "openvino").name == "openvino"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda part: lambda x: F.normalize(part.run(x) + 0.02),
        lambda part: lambda x: part.run(x) * torch.nan,
        lambda part: lambda x: part.run(x)[:, :8],
        lambda part: lambda x: part.run(x).flip(0) if len(x) > 1 else part.run(x),
        # alone other than in a batch
        lambda part: lambda x: part.run(x) if len(x) > 1 else -part.run(x),
    ],
)
def test_a_backend_that_gives_something_else_is_refused(part, offered, wrong):
    offered(wrong)
    chosen = choose_backend(part, "cpu", "openvino")
    assert (chosen.name, chosen.run) == ("eager", part.run)
    assert "OpenVINO gives other descriptors" in chosen.reason


def test_a_compiler_that_fails_is_told_in_a_line(part, offered):
    def broken(_):
        raise ImportError("libopenvino.so: cannot open shared object file\nand a page more")

    offered(broken)
    reason = choose_backend(part, "cpu", "auto").reason
    assert "OpenVINO failed (ImportError: libopenvino.so: cannot open" in reason
    assert "a page more" not in reason


def test_a_backend_that_fails_later_gives_way_to_eager_for_good(part, offered):
    calls = []

    def fails_later(part):
        def run(images):
            calls.append(len(images))
            if len(images) == 7:
                raise RuntimeError("kernel")
            return part.run(images)

        return run

    offered(fails_later)
    chooser = Backends("cpu", "auto")
    assert chooser.of(part).name == "openvino"
    found = chooser.run(part, pictures(7))
    assert found.shape == (7, 16)
    assert "failed later (RuntimeError: kernel)" in chooser.of(part).reason
    before = len(calls)
    chooser.run(part, pictures())
    assert len(calls) == before


def test_running_out_of_gpu_memory_is_not_the_backends_fault(part, offered):
    def greedy(part):
        def run(images):
            if len(images) == 7:
                raise torch.OutOfMemoryError
            return part.run(images)

        return run

    offered(greedy)
    chooser = Backends("cpu", "auto")
    with pytest.raises(torch.OutOfMemoryError):
        chooser.run(part, pictures(7))
    assert chooser.of(part).name == "openvino"


def test_a_part_is_tried_once(part, offered):
    made = []
    offered(lambda part: made.append(part) or part.run)
    chooser = Backends("cpu", "auto")
    assert not chooser.is_ready(part)
    for _ in range(3):
        chooser.run(part, pictures())
    assert len(made) == 1
    assert chooser.is_ready(part)


# --- with checkpoints


def test_a_gallery_that_another_backend_described_still_matches(
    offered, tmp_path_factory, tmp_path
):
    town = make_town(tmp_path_factory.getbasetemp() / "small-town")
    offered(rounding)
    ask = Locate(town.photo(30, 90.0), town.gallery, town.checkpoint)
    answers = {}
    for execution in ("eager", "openvino"):
        shelf = Shelf("cpu", tmp_path / execution, execution=execution, max_descriptors=0)
        answers[execution] = locate(ask, shelf)
        assert shelf.checkpoint(town.checkpoint).backend("drone").name == execution
    eager, other = answers["eager"], answers["openvino"]
    assert other.best.tile == eager.best.tile == town.open().ids[30]
    assert other.best.heading_deg == eager.best.heading_deg
    assert other.best.score == pytest.approx(eager.best.score, abs=1e-3)


def test_a_checkpoint_says_who_computes_it(offered, tmp_path_factory):
    town = make_town(tmp_path_factory.getbasetemp() / "small-town")
    offered(rounding)
    assert load_checkpoint(town.checkpoint, device="cpu").computed_by == "cpu"
    told = []
    checkpoint = load_checkpoint(town.checkpoint, device="cpu", execution="auto")
    tile = np.zeros((2, 64, 64, 3), np.uint8)
    checkpoint.describe(tile, "drone", report=told.append)
    assert checkpoint.computed_by == "cpu, openvino"
    assert "choosing how" in told[0].note


# --- the real ones


@pytest.mark.slow
@pytest.mark.skipif(not backends._compilers(), reason="needs a C++ compiler")
def test_torch_compile_gives_the_same_descriptors(part, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    chooser = Backends("cpu", "compile")
    assert chooser.of(part).name == "compile"
    shown = pictures(5)
    torch.testing.assert_close(chooser.run(part, shown), part.run(shown), atol=1e-5, rtol=1e-4)


@pytest.fixture
def openvino():
    return pytest.importorskip("openvino", reason="needs the extra openvino")


@pytest.mark.slow
def test_openvino_gives_the_same_descriptors_and_is_kept(openvino, part, tmp_path, monkeypatch):
    chooser = Backends("cpu", "openvino", identity="ab", cache=tmp_path)
    assert chooser.of(part).name == "openvino"
    shown = pictures(5)
    with torch.inference_mode():
        expected = part.run(shown)
    torch.testing.assert_close(chooser.run(part, shown), expected, atol=1e-5, rtol=1e-4)
    monkeypatch.setattr(backend_openvino, "_exported", lambda _: 1 / 0)
    again = choose_backend(part, "cpu", "openvino", identity="ab", cache=tmp_path)
    assert again.name == "openvino"
    assert choose_backend(part, "cpu", "openvino", identity="cd", cache=tmp_path).name == "eager"


@pytest.mark.slow
def test_a_damaged_model_is_converted_anew(openvino, part, tmp_path):
    assert choose_backend(part, "cpu", "openvino", identity="ab", cache=tmp_path)
    (kept,) = tmp_path.glob("openvino-*/model.xml")
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    chosen = choose_backend(part, "cpu", "openvino", identity="ab", cache=tmp_path)
    assert chosen.name == "openvino"
    (kept,) = tmp_path.glob("openvino-*/model.xml")
    assert kept.read_bytes()[-20:] == whole[-20:]


def test_a_refusal_is_kept_too(part, tmp_path, monkeypatch):
    tried = []

    def convert(model):
        tried.append(model)
        raise RuntimeError("no conversion rule for aten::mystery")

    fake = type(sys)("openvino")
    fake.convert_model, fake.__spec__ = convert, None
    monkeypatch.setitem(sys.modules, "openvino", fake)
    monkeypatch.setattr(backends, "unavailable", lambda *_: "")
    monkeypatch.setattr(backend_openvino, "version", lambda _: "2026.4")
    monkeypatch.setattr(backend_openvino, "_exported", lambda part: part)
    for _ in range(2):
        chosen = choose_backend(part, "cpu", "auto", identity="ab", cache=tmp_path)
        assert chosen.name == "eager"
        assert "OpenVINO cannot convert it (RuntimeError: no conversion rule" in chosen.reason
    assert len(tried) == 1
    assert [path.name for path in tmp_path.glob("*/*")] == ["trial.json"]
    assert list(tmp_path.glob("*.partial")) == []


def test_only_the_models_used_last_are_kept(tmp_path):
    for i in range(backend_openvino.MAX_KEPT + 3):
        folder = tmp_path / f"openvino-{i}"
        folder.mkdir()
        backend_openvino.os.utime(folder, (i, i))
    backend_openvino._sweep(tmp_path)
    left = sorted(int(path.name.partition("-")[2]) for path in tmp_path.iterdir())
    assert left == list(range(3, backend_openvino.MAX_KEPT + 3))
