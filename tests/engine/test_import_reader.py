"""What strangers' checkpoint files may do to us: be read, or be refused with a sentence."""

import argparse
import copy
import json
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import app
from app.engine.import_reader import Limits, limits_for, read_published
from app.engine.import_scan import MAX_PICKLE_BYTES, scan
from app.errors import UserError
from app.messages import JobCancelled

needs_posix = pytest.mark.skipif(os.name != "posix", reason="there are no pipes in a folder")


@pytest.fixture
def canary(tmp_path) -> Path:
    return tmp_path / "canary"


class Evil:
    """Unpickled, it writes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"{sys.executable} -c \"open({str(self.canary)!r}, 'w')\"",)


def saved(value: object, path: Path, *, legacy: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


def weights(n: int = 4) -> dict[str, torch.Tensor]:
    return {"a.weight": torch.arange(3.0 * n).reshape(3, n), "a.bias": torch.ones(3)}


def rewritten(
    path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None], **options: int
) -> Path:
    """The zip archive once more, each record as ``change`` says."""
    with zipfile.ZipFile(path) as archive:
        records = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in records:
            if (changed := change(name, content)) is not None:
                archive.writestr(*changed)
    return path


def with_pickle(path: Path, pickled: bytes) -> Path:
    saved(weights(), path)
    return rewritten(path, lambda n, c: (n, pickled if n.endswith("data.pkl") else c))


# --- honest files


def momentum() -> dict[str, object]:
    """As training loops write it: everything beside the weights."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(net.parameters())
    steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 2, 3])
    net(torch.randn(2, 3)).sum().backward()
    optimizer.step()
    return {
        "epoch": 40,
        "state_dict": net.state_dict(),
        "best_acc1": np.float64(0.5),
        "best_loss": torch.tensor(0.25),
        "last": np.float32(0.5),
        "optimizer": optimizer.state_dict(),
        "scheduler": steps.state_dict(),
        "large": 2**70,
        "nothing": None,
    }


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
def test_the_weights_come_out_of_all_that_a_training_writes(tmp_path, legacy):
    value = momentum()
    told = []
    read = read_published(saved(value, tmp_path / "m.pth.tar", legacy=legacy), report=told.append)
    assert (read.inside, read.container.split()[1]) == ("state_dict", "legacy" if legacy else "zip")
    assert set(read.ignored) == value.keys() - {"state_dict"}
    assert read.tensors.keys() == value["state_dict"].keys()
    for key, tensor in value["state_dict"].items():
        assert torch.equal(read.tensors[key], tensor)
        assert read.tensors[key].dtype == tensor.dtype
    assert any("reading m.pth.tar" in progress.note for progress in told)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_scan_names_what_there_is_without_loading_it(tmp_path, legacy):
    shared = torch.ones(2, 6)
    value = {
        "x": torch.nn.Parameter(torch.zeros(2, 3)),
        "y": shared,
        "z": shared[:, 1:3],
        "n": torch.tensor(3),
        "h": torch.zeros(5, dtype=torch.bfloat16),
    }
    found = scan(saved(value, tmp_path / "bare.pth", legacy=legacy))
    assert found.shapes == {"x": (2, 3), "y": (2, 6), "z": (2, 2), "n": (), "h": (5,)}
    assert (found.inside, found.ignored) == ("", ())


def test_foreign_safetensors_are_read_as_they_are(tmp_path):
    import safetensors.torch

    safetensors.torch.save_file(weights(), tmp_path / "w.safetensors")
    read = read_published(tmp_path / "w.safetensors")
    assert torch.equal(read.tensors["a.weight"], weights()["a.weight"])
    assert not read.is_ours


# --- hostile files


def reduces(path: Path, canary: Path) -> None:
    saved({"a.weight": torch.ones(2), "b": Evil(canary)}, path)


def reduces_legacy(path: Path, canary: Path) -> None:
    saved({"a.weight": torch.ones(2), "b": Evil(canary)}, path, legacy=True)


def is_a_plain_pickle(path: Path, canary: Path) -> None:
    path.write_bytes(pickle.dumps(Evil(canary), protocol=2))


def is_an_old_pickle(path: Path, canary: Path) -> None:
    path.write_bytes(pickle.dumps(Evil(canary), protocol=0))


def holds_a_forbidden_class(path: Path, canary: Path) -> None:
    saved({"state_dict": weights(), "args": argparse.Namespace(lr=1)}, path)


def holds_a_whole_module(path: Path, canary: Path) -> None:
    saved(torch.nn.Linear(2, 2), path)


def calls_what_is_allowed_elsewhere(path: Path, canary: Path) -> None:
    """The names are known, the way they are called is not."""
    with_pickle(path, b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.")


def has_a_number_of_many_bytes(path: Path, canary: Path) -> None:
    text = b"X\x09\x00\x00\x00" + 9 * b"a"
    with_pickle(path, b"\x80\x02c_codecs\nencode\n" + text + b"X\x06\x00\x00\x00latin1\x86R.")


def is_a_compression_bomb(path: Path, canary: Path) -> None:
    saved({"a.weight": torch.zeros(5_000_000)}, path)
    rewritten(path, lambda n, c: (n, c), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 200_000


def has_overlapping_records(path: Path, canary: Path) -> None:
    """One run of bytes under many names: small on the disk, large when read."""
    saved({"a.weight": torch.zeros(10_000)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        first = next(info for info in archive.infolist() if info.filename.endswith("data/0"))
        for number in range(1, 50):
            again = copy.copy(first)
            again.filename = again.orig_filename = first.filename[:-1] + str(number)
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
        archive.writestr(first.filename[:-1] + "50", b"")


def has_a_storage_that_lies(path: Path, canary: Path) -> None:
    saved(weights(), path)
    rewritten(path, lambda n, c: (n, c[:8] if n.endswith("data/0") else c))


def lacks_a_storage(path: Path, canary: Path) -> None:
    saved(weights(), path)
    rewritten(path, lambda n, c: None if n.endswith("data/0") else (n, c))


def has_a_legacy_storage_that_lies(path: Path, canary: Path) -> None:
    content = bytearray(saved(weights(), path, legacy=True).read_bytes())
    at = content.index(struct.pack("<q", 12) + struct.pack("<f", 0))
    content[at : at + 8] = struct.pack("<q", 1 << 40)
    path.write_bytes(content)


def claims_a_huge_legacy_storage(path: Path, canary: Path) -> None:
    content = saved({"a": torch.zeros(77)}, path, legacy=True).read_bytes()
    path.write_bytes(content.replace(b"K\x4d", b"J\xff\xff\xff\x7f"))


def has_a_tensor_beyond_its_storage(path: Path, canary: Path) -> None:
    saved({"a": torch.zeros(3, 77)}, path)
    change = b"K\x03K\x4d", b"K\xffK\xff"
    rewritten(path, lambda n, c: (n, c.replace(*change) if n.endswith("data.pkl") else c))


def has_a_tensor_that_repeats_one_number(path: Path, canary: Path) -> None:
    saved({"a": torch.zeros(1).expand(1 << 40)}, path)


def breaks_off(path: Path, canary: Path) -> None:
    content = saved(weights(), path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def breaks_off_legacy(path: Path, canary: Path) -> None:
    content = saved(weights(), path, legacy=True).read_bytes()
    path.write_bytes(content[:-5])


def climbs_out_of_its_folder(path: Path, canary: Path) -> None:
    saved(weights(), path)
    rewritten(path, lambda n, c: (n.replace("data/0", f"../../{canary.name}"), c))


def has_an_absolute_record(path: Path, canary: Path) -> None:
    saved(weights(), path)
    rewritten(path, lambda n, c: (f"/{n}", c))


def has_two_archives_in_one(path: Path, canary: Path) -> None:
    saved(weights(), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", b"\x80\x02}.")


def has_a_record_twice(path: Path, canary: Path) -> None:
    saved(weights(), path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(archive.namelist()[0], b"\x80\x02}.")


def nests_without_end(path: Path, canary: Path) -> None:
    with_pickle(path, b"\x80\x02)" + 60_000 * b"\x85" + b".")


def nests_in_its_weights(path: Path, canary: Path) -> None:
    with_pickle(path, b"\x80\x02}X\x01\x00\x00\x00a" + 20_000 * b"]" + 19_999 * b"a" + b"s.")


def never_stops(path: Path, canary: Path) -> None:
    with_pickle(path, b"\x80\x02" + 90_000 * b"]")


def has_an_endless_list_of_weights(path: Path, canary: Path) -> None:
    with_pickle(path, bytes(MAX_PICKLE_BYTES + 1))


def says_that_its_directory_is_huge(path: Path, canary: Path) -> None:
    content = bytearray(with_pickle(path, b"\x80\x02}.").read_bytes())
    content[-14:-10] = struct.pack("<HH", 65_000, 65_000)
    path.write_bytes(content)


def is_empty(path: Path, canary: Path) -> None:
    path.touch()


def is_a_text(path: Path, canary: Path) -> None:
    path.write_text("<!doctype html>\nYou have exceeded the quota of this file.")


def is_a_tar(path: Path, canary: Path) -> None:
    import tarfile

    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))


def is_a_torch_script(path: Path, canary: Path) -> None:
    saved(weights(), path)
    with zipfile.ZipFile(path, "a") as archive:
        top = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{top}/code/__torch__.py", f"open({str(canary)!r}, 'w')")
        archive.writestr(f"{top}/constants.pkl", b"\x80\x02).")


def is_another_zip(path: Path, canary: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("release/weights_cvusa.pth", b"\x80\x02}.")


def is_a_folder(path: Path, canary: Path) -> None:
    path.mkdir()


HOSTILE = {
    reduces: "holds .*system, which is no weight",
    reduces_legacy: "holds .*system, which is no weight",
    is_a_plain_pickle: "holds .*system, which is no weight",
    is_an_old_pickle: "is not a PyTorch file",
    holds_a_forbidden_class: "holds argparse.Namespace, which is no weight",
    holds_a_whole_module: "holds torch.nn.modules.linear.Linear, which is no weight",
    calls_what_is_allowed_elsewhere: "holds _codecs.encode",
    has_a_number_of_many_bytes: "holds _codecs.encode",
    is_a_compression_bomb: "is compressed: .* bytes would become",
    has_overlapping_records: "they overlap",
    has_a_storage_that_lies: "says that storage 0 takes 48 bytes, but it has 8",
    lacks_a_storage: "lacks the numbers of storage 0",
    has_a_legacy_storage_that_lies: "takes 48 bytes, but it has",
    claims_a_huge_legacy_storage: "bytes, but it has",
    has_a_tensor_beyond_its_storage: r"has a tensor of \(255, 255\) in a storage of 231",
    has_a_tensor_that_repeats_one_number: "in a storage of 1 numbers",
    breaks_off: "its download broke off",
    breaks_off_legacy: "is of .* bytes where its weights take",
    climbs_out_of_its_folder: "has a record .*canary', which PyTorch never writes",
    has_an_absolute_record: "which PyTorch never writes",
    has_two_archives_in_one: "which PyTorch never writes",
    has_a_record_twice: "has two records data.pkl",
    nests_without_end: "holds no weights by name",
    nests_in_its_weights: "holds no plain state dict",
    never_stops: "is not a PyTorch state dict, or is damaged",
    has_an_endless_list_of_weights: "longer than any network's",
    says_that_its_directory_is_huge: "is an archive of 65000 records",
    is_empty: "is empty",
    is_a_text: "is a web page",
    is_a_tar: "is a tar archive",
    is_a_torch_script: "holds program code",
    is_another_zip: "not one of PyTorch|never writes",
    is_a_folder: "is a folder",
}


@pytest.mark.parametrize(
    "read",
    [
        scan,
        pytest.param(
            lambda path: read_published(path, limits=Limits(120, 1 << 30, 1 << 20)),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["scanned", "in its process"],
)
@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_hostile_file_is_refused_with_a_sentence_and_nothing_runs(tmp_path, canary, make, read):
    path = tmp_path / "checkpoint.pth"
    make(path, canary)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=HOSTILE[make]) as refusal:
        read(path)
    assert "checkpoint.pth" in str(refusal.value)
    assert refusal.value.hint
    assert not canary.exists()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("make", [is_a_plain_pickle, is_an_old_pickle])
def test_the_canary_would_sing(tmp_path, canary, make):
    """Else the test above would prove nothing."""
    make(tmp_path / "evil", canary)
    code = f"import pickle; pickle.load(open({str(tmp_path / 'evil')!r}, 'rb'))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert canary.exists()


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 1 << 40) + b"{}",
        struct.pack("<Q", 2) + b"{}garbage",
        (header := json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 1 << 30]}}))
        and struct.pack("<Q", len(header)) + header.encode() + bytes(36),
        struct.pack("<Q", 5) + b"nojson",
    ],
    ids=["a header beyond its end", "bytes of no tensor", "a tensor beyond its end", "no JSON"],
)
def test_safetensors_with_a_lying_header_are_refused(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"w\.safetensors is not a safetensors file"):
        read_published(path)


@needs_posix
@pytest.mark.parametrize("through_link", [False, True])
def test_a_pipe_is_refused_at_once(tmp_path, through_link):
    path = tmp_path / "pipe.pth"
    os.mkfifo(path)
    if through_link:
        (tmp_path / "link.pth").symlink_to(path)
        path = tmp_path / "link.pth"
    with pytest.raises(UserError, match="is not a file on a disk"):
        read_published(path)


@needs_posix
def test_a_link_is_followed_to_a_file_and_to_nothing_else(tmp_path):
    file = saved(weights(), tmp_path / "w.pth")
    link = tmp_path / "link.pth"
    link.symlink_to(file)
    assert scan(link).shapes == scan(file).shapes
    link.unlink()
    link.symlink_to(tmp_path / "gone.pth")
    with pytest.raises(UserError, match="There is no file"):
        scan(link)
    with pytest.raises(UserError, match="is not a file on a disk"):
        scan(Path("/dev/zero"))


@needs_posix
def test_a_frozen_program_starts_itself_as_the_reader(tmp_path, monkeypatch):
    """There is no Python in it that could be asked for a module."""
    root = Path(app.__file__).parent.parent
    program = tmp_path / "skyfix"
    program.write_text(
        f'#!/bin/sh\necho "$1" > {tmp_path}/told\nPYTHONPATH={root} '
        f'exec {sys.executable} -m app "$@"\n'
    )
    program.chmod(0o755)
    (tmp_path / "w.pth").write_text("<html>")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(UserError, match=r"w\.pth is a web page"):
        read_published(tmp_path / "w.pth")
    assert (tmp_path / "told").read_text().strip() == app.READER


# --- limits


def leftovers() -> list[str]:
    return [p.name for p in Path(tempfile.gettempdir()).glob("skyfix-import-*")]


def test_reading_that_takes_too_long_is_stopped(tmp_path):
    before = leftovers()
    with pytest.raises(UserError, match="took longer than 0 s and was stopped"):
        read_published(saved(weights(), tmp_path / "w.pth"), limits=Limits(0.01, 1 << 30, 1 << 20))
    assert leftovers() == before


@needs_posix
def test_a_reader_that_hangs_is_killed(tmp_path, monkeypatch):
    program = tmp_path / "skyfix"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(program))
    started = time.monotonic()
    with pytest.raises(UserError, match="took longer than 1 s"):
        read_published(saved(weights(), tmp_path / "w.pth"), limits=Limits(1, 1 << 30, 1 << 20))
    assert time.monotonic() - started < 30


def test_a_cancelled_reading_leaves_no_process_and_no_file(tmp_path):
    before = leftovers()

    def cancel(_: object) -> None:
        raise JobCancelled

    with pytest.raises(JobCancelled):
        read_published(saved(weights(), tmp_path / "w.pth"), report=cancel)
    assert leftovers() == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
@pytest.mark.parametrize(
    ("limits", "sign"),
    [
        (Limits(120, 8 << 20, 1 << 30), "memory|allocate"),
        (Limits(120, 1 << 30, 1 << 20), "File too large"),
    ],
    ids=["memory", "file"],
)
def test_reading_that_takes_more_than_it_may_is_refused(tmp_path, limits, sign):
    path = saved({"a": torch.zeros(12_000_000)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=f"Reading w.pth failed .*({sign})"):
        read_published(path, limits=limits)


def test_limits_leave_room_for_what_is_honest():
    size = 350 << 20
    assert limits_for(size).memory_bytes > 3 * size
    assert limits_for(size).file_bytes > size


# --- damage at random


@pytest.mark.parametrize("legacy", [False, True])
def test_no_damage_ends_in_anything_but_a_sentence(tmp_path, legacy):
    path = saved(momentum(), tmp_path / "w.pth", legacy=legacy)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        content = bytearray(whole)
        for at in rng.integers(0, len(content), rng.integers(1, 9)):
            content[at] = rng.integers(256)
        if rng.random() < 0.3:
            del content[rng.integers(len(content)) :]
        path.write_bytes(content)
        try:
            scan(path)
        except UserError:
            refused += 1
    assert refused > 60
