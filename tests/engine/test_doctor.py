"""The doctor: it finds what was broken on purpose, and its bundle tells nobody's name."""

import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from app import paths
from app.card import Card
from app.diagnosis import Diagnosis, Doctor, Finding
from app.engine import doctor
from app.engine.checkpoints import save_checkpoint
from app.engine.doctor import diagnose, examine, sandbox_state
from app.engine.support_bundle import diagnosis_json, scrubber, write_bundle
from app.errors import JobCancelled
from app.models.build import create_object, preset_config
from app.settings import Settings, save_settings, settings_file

HOMES, USERS = "/ho" + "me", "/Us" + "ers"  # in pieces: no tracked file names anybody's folder
WELL = Finding("Versions", "Skyfix", "0.1.0")
BAD = Finding("Device", "Chosen", "cuda cannot be used", "problem", "Choose auto.")


def of(look, *args):
    return {finding.name: finding for finding in look(*args)}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SKYFIX_HOME", str(tmp_path / "own"))
    return tmp_path


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A copy of what ships, small enough to break: one checkpoint and its gallery."""
    there = paths.resources()
    copy = tmp_path / "resources"
    (copy / "checkpoints").mkdir(parents=True)
    shutil.copy(there / "checkpoints" / "sample4geo-drone.safetensors", copy / "checkpoints")
    shutil.copytree(there / "demo" / "galleries" / "drone", copy / "demo" / "galleries" / "drone")
    for name in ("icons", "map"):
        shutil.copytree(there / name, copy / name)
    monkeypatch.setattr(paths, "resources", lambda: copy)
    return copy


@pytest.mark.slow
def test_nothing_prevents_work_here_and_every_area_is_looked_at(home):
    told = []
    diagnosis = diagnose(report=told.append)
    assert [f for f in diagnosis.findings if f.severity == "problem"] == []
    assert diagnosis.is_well
    areas = [finding.area for finding in diagnosis.findings]
    assert len(dict.fromkeys(areas)) == len(told) == 8
    by_name = {finding.name: finding.words for finding in diagnosis.findings}
    assert by_name["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert "tiles" in by_name["demo/street"]
    assert all(f.fix for f in diagnosis.findings if f.severity != "good")


def test_a_look_that_fails_is_a_finding_and_the_others_still_run(home, monkeypatch):
    def broken():
        yield WELL
        raise ImportError("libtorch_cpu.so: cannot open shared object file")

    for name in ("_resources", "_projections", "_device", "_execution"):
        monkeypatch.setattr(doctor, name, lambda *_: iter(()))
    monkeypatch.setattr(doctor, "_versions", broken)
    diagnosis = diagnose()
    problem = diagnosis.findings[1]
    assert (problem.severity, problem.area) == ("problem", "Versions")
    assert "libtorch_cpu.so" in problem.words
    assert diagnosis.findings[-1].area == "Settings"


def test_a_bundle_is_packed_only_when_asked_for(home, monkeypatch):
    monkeypatch.setattr(doctor, "diagnose", lambda *_, **__: Diagnosis((WELL,)))
    assert examine(Doctor()).bundle is None
    assert examine(Doctor(bundle=home / "b.zip")).bundle == home / "b.zip"
    assert zipfile.is_zipfile(home / "b.zip")


def test_it_can_be_cancelled(home):
    def stop(_):
        raise JobCancelled

    with pytest.raises(JobCancelled):
        diagnose(report=stop)


def test_a_missing_package_is_a_problem_and_an_optional_one_is_not(monkeypatch):
    packages = (("no-such-package", "no_such_module"), ("openvino", ""))
    monkeypatch.setattr(doctor, "PACKAGES", packages)
    monkeypatch.setattr(doctor, "version", _not_found)
    found = of(doctor._versions)
    assert found["no-such-package"].severity == "problem"
    assert found["openvino"].severity == "good"


def test_a_package_packed_without_its_papers_is_there(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", (("numpy", "numpy"),))
    monkeypatch.setattr(doctor, "version", _not_found)
    assert of(doctor._versions)["numpy"].severity == "good"


def _not_found(name):
    raise doctor.PackageNotFoundError(name)


def test_a_device_that_is_not_there_names_the_setting(home):
    problem = of(doctor._device, "cuda:7")["Chosen"]
    assert problem.severity == "problem"
    assert str(settings_file()) in problem.fix


def test_projections_by_both_libraries_agree_with_our_own_arithmetic(monkeypatch):
    assert {f.severity for f in doctor._projections()} == {"good"}
    monkeypatch.setattr("app.engine.utm.latlon_to_utm", lambda *_: (601_000.0, 5_339_000.0))
    assert of(doctor._projections)["PROJ of pyproj"].severity == "problem"


def test_what_ships_is_whole(shipped):
    assert {finding.severity for finding in doctor._resources()} == {"good"}


def test_a_checkpoint_for_clicked_objects_is_looked_at_as_what_it_is(shipped):
    config = preset_config("attengeo", "smallest")
    network = create_object("attengeo", config)
    sizes = {view: network.input_size(view) for view in (network.config.query_view, "satellite")}
    card = Card("attengeo", dict(config), "Objects", "object", "drone", sizes, 0, 100.0)
    save_checkpoint(shipped / "checkpoints" / "objects.safetensors", network, card)
    found = of(doctor._resources)["objects.safetensors"]
    assert found.severity == "good"
    assert found.words.startswith("Objects, ")
    assert "Objects" not in {finding.name for finding in doctor._execution("cpu", "eager")}


def test_a_damaged_gallery_is_named(shipped):
    basemap = shipped / "demo/galleries/drone/basemap.mbtiles"
    content = bytearray(basemap.read_bytes())
    content[len(content) // 2] ^= 1
    basemap.write_bytes(content)
    problem = of(doctor._resources)["demo/drone"]
    assert problem.severity == "problem"
    assert "basemap.mbtiles" in problem.words


def test_a_thumbnail_that_went_missing_is_noticed(shipped):
    next((shipped / "demo/galleries/drone/thumbnails").glob("*.jpg")).unlink()
    problem = of(doctor._resources)["demo/drone"]
    assert problem.words == "575 pictures for 576 tiles"


def test_weights_that_changed_by_a_bit_are_noticed(shipped):
    """They still load: only the gallery, which they described, knows them."""
    checkpoint = next((shipped / "checkpoints").iterdir())
    content = bytearray(checkpoint.read_bytes())
    content[-200] ^= 1
    checkpoint.write_bytes(content)
    found = of(doctor._resources)
    assert found["demo/drone"].severity == "problem"
    assert "described it" in found["demo/drone"].words


def test_a_cut_checkpoint_and_missing_files_are_problems(shipped):
    checkpoint = next((shipped / "checkpoints").iterdir())
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    (shipped / "map" / "map.js").unlink()
    found = of(doctor._resources)
    assert found[checkpoint.name].severity == "problem"
    assert "map.js" in found["Files"].words.replace("\\", "/")


def test_folders_that_cannot_be_written_or_are_nearly_full_are_told(home, monkeypatch):
    (home / "own").write_text("a file in the folder's place")
    assert of(doctor._folders)["Cache"].severity == "problem"
    (home / "own").unlink()
    usage = shutil.disk_usage(home)
    for free, severity in ((50 << 20, "problem"), (1 << 30, "note"), (9 << 30, "good")):
        free_now = usage._replace(free=free)
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, now=free_now: now)
        assert of(doctor._folders)["Data"].severity == severity
    assert list((home / "own" / "data").iterdir()) == []


def test_settings_that_name_what_is_gone_are_told(home):
    save_settings(Settings(gallery=str(home / "gone")))
    found = of(doctor._settings, Settings(gallery=str(home / "gone")))
    assert found["Gallery"].severity == "note"
    settings_file().write_text('{"top_k": -1}')
    assert "top_k" in of(doctor._settings, Settings())["File"].words


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is of no concern elsewhere")
def test_the_sandbox_says_why_it_cannot_work(tmp_path, monkeypatch):
    (tmp_path / "user").mkdir()
    switch = tmp_path / "user" / "max_user_namespaces"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert sandbox_state({}, tmp_path)[0] == "good"
    switch.write_text("0\n")
    severity, words, fix = sandbox_state({}, tmp_path)
    assert (severity, "max_user_namespaces" in words) == ("note", True)
    assert fix
    assert sandbox_state({"QTWEBENGINE_DISABLE_SANDBOX": "1"}, tmp_path)[0] == "good"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "root" in sandbox_state({}, tmp_path)[1]


def test_the_text_marks_what_is_not_good_and_sums_up():
    text = Diagnosis((WELL, BAD)).text()
    assert "  Skyfix  0.1.0" in text
    assert "! Chosen  cuda cannot be used" in text
    assert "-> Choose auto." in text
    assert text.endswith("1 problem.\n")
    assert Diagnosis((WELL,)).summary == "All is well."


# --- the bundle


def test_the_bundle_holds_logs_settings_and_findings_but_no_pictures(home):
    log = paths.log_dir()
    (log / "skyfix.log").write_text(f"started in {Path.home()}/photos\n", encoding="utf-8")
    (log / "skyfix.log.1").write_text("older\n", encoding="utf-8")
    (log / "crash.jpg").write_bytes(b"a picture")
    save_settings(Settings(recent_photos=("/secret/place.jpg",), gallery="/data/town"))
    write_bundle(home / "b.zip", Diagnosis((WELL, BAD)), scrub=lambda text: text)
    with zipfile.ZipFile(home / "b.zip") as bundle:
        parts = {name: bundle.read(name).decode() for name in bundle.namelist()}
    logs = {"log/skyfix.log", "log/skyfix.log.1"}
    assert set(parts) == {"doctor.txt", "doctor.json", "settings.json", *logs}
    assert "place.jpg" not in "".join(parts.values())
    assert json.loads(parts["settings.json"])["recent_photos"] == "1 left out"
    assert json.loads(parts["doctor.json"])["well"] is False


@pytest.mark.parametrize(
    "text",
    [
        f"{HOMES}/ana maría/maps/town.tif cannot be read",
        f"file://{HOMES}/ana%20mar%C3%ADa/maps/town.tif",
        f"PosixPath('{HOMES}/ana maría/x')",
        "C:" + "\\Users\\ana\\AppData",
        "'C:\\\\Users\\\\ana\\\\AppData'",
        f"{USERS}/ana/Library/Logs",
        f"{HOMES}/ana/other",
        "user=ana host=falcon9",
        "ANA on Falcon9",
    ],
)
def test_no_spelling_of_a_home_or_a_name_is_left(text):
    scrub = scrubber(home=Path(f"{HOMES}/ana maría"), names=("ana", "falcon9", "", "root"))
    scrubbed = scrub(text).lower()
    assert not any(word in scrubbed for word in ("ana", "maría", "falcon9", "mar%c3"))


def test_what_only_looks_like_a_name_stays():
    scrub = scrubber(home=Path(f"{HOMES}/ana"), names=("ana", "root"))
    assert scrub("a banana, an analysis and the root cause") == (
        "a banana, an analysis and the root cause"
    )


def test_findings_as_json_are_scrubbed_as_well(home):
    scrub = scrubber(home=Path(f"{HOMES}/ana"), names=("ana",))
    finding = Finding("Your folders", "Data", f"{HOMES}/ana/.local/share/skyfix, 3 GiB free")
    body = json.loads(diagnosis_json(Diagnosis((finding,)), scrub))
    assert body["findings"][0]["words"] == "~/.local/share/skyfix, 3 GiB free"


def test_a_bundle_that_cannot_be_written_leaves_what_was_there(home, monkeypatch):
    target = home / "b.zip"
    target.write_bytes(b"the older one")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(Exception, match=r"b.zip cannot be written: No space"):
        write_bundle(target, Diagnosis((WELL,)))
    assert target.read_bytes() == b"the older one"
    assert list(home.glob("*.partial")) == []
