"""``skyfix doctor`` as a user meets it; what it looks at is tested in tests/engine."""

import json
import zipfile

import pytest

from app.cli import run_command
from app.diagnosis import Diagnosis, Finding

WELL = Finding("Versions", "Skyfix", "0.1.0")
ILL = Finding("Device", "Chosen", "no cuda:7", "problem", "Choose auto.")


@pytest.fixture
def found(monkeypatch):
    """What the doctor will find."""

    def set_findings(*findings):
        monkeypatch.setattr(
            "app.engine.doctor.diagnose", lambda *_, **__: Diagnosis(tuple(findings))
        )

    return set_findings


def test_the_exit_code_says_whether_something_prevents_work(found, capsys):
    found(WELL, Finding("Display", "Display", "none", "note", "Log in."))
    assert run_command(["doctor"]) == 0
    found(WELL, ILL)
    assert run_command(["doctor"]) == 1
    assert "! Chosen  no cuda:7" in capsys.readouterr().out


def test_programs_get_json(found, capsys):
    found(WELL, ILL)
    assert run_command(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["well"] is False
    assert told["findings"][1]["fix"] == "Choose auto."


def test_a_bundle_is_written_beside_the_text(found, capsys, tmp_path):
    found(WELL)
    assert run_command(["doctor", "--bundle", str(tmp_path / "s.zip")]) == 0
    assert "doctor.txt" in zipfile.ZipFile(tmp_path / "s.zip").namelist()
    assert "Skyfix" in capsys.readouterr().out


def test_a_bundle_that_cannot_be_written_is_said_in_a_sentence(found, capsys, tmp_path):
    found(WELL)
    assert run_command(["doctor", "--bundle", str(tmp_path / "no" / "s.zip")]) == 1
    assert "s.zip cannot be written" in capsys.readouterr().err
