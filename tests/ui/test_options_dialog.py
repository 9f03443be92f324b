"""What the options offer, and what becomes of a choice."""

import json

from app.settings import EXECUTIONS, Settings, load_settings, save_settings
from app.ui.options_dialog import EXECUTION_WORDS, OptionsDialog


def test_every_execution_is_offered_and_the_chosen_one_kept(qtbot, tmp_path):
    assert set(EXECUTION_WORDS) == set(EXECUTIONS)
    dialog = OptionsDialog(Settings(execution="openvino"))
    qtbot.addWidget(dialog)
    assert dialog.settings.execution == "openvino"
    dialog.execution.setCurrentIndex(dialog.execution.findData("eager"))
    save_settings(dialog.settings, tmp_path / "s.json")
    assert load_settings(tmp_path / "s.json") == (Settings(execution="eager"), ())


def test_an_execution_that_does_not_exist_is_named_and_auto_stands(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps({"execution": "tensorrt"}))
    settings, bad = load_settings(tmp_path / "s.json")
    assert settings.execution == "auto"
    assert "tensorrt" in bad[0]
