"""The figures in words: intervals, names that tell, papers' rows beside ours, Markdown and CSV."""

import csv
import io
from dataclasses import replace
from pathlib import Path

from app.engine.published_results import published
from app.ui.evaluation_folders import Evaluation
from app.ui.evaluation_tables import (
    CSV_HEAD,
    OURS,
    as_csv,
    figure,
    labels,
    markdown,
    measures_sheet,
    notes_of,
    published_sheet,
)
from tests.ui.evaluations import measure, object_result, result


def entry(made=None, folder="/e/one/test"):
    return Evaluation(Path(folder), result() if made is None else made, 0)


def test_figures_are_written_by_their_unit():
    assert figure(0.62134, "share") == "62.13%"
    assert figure(38.24, "m") == "38.2 m"
    assert figure(1234.5, "m") == "1,234 m"
    assert figure(7.0, "px") == "7.0 px"


def test_one_evaluation_shows_its_intervals_and_what_chance_reaches():
    sheet = measures_sheet((entry(),))
    assert sheet.head[1] == OURS
    assert sheet.rows[0] == ("R@1", "62.13%", "59.1% – 65.1%", "0.11%", "")
    assert sheet.rows[3][3] == "–"
    assert sheet.rows[4][1:3] == ("38.2 m", "30.6 m – 45.8 m")


def test_two_stand_side_by_side_and_what_one_lacks_is_a_dash():
    fewer = result(checkpoint_title="MIFT tiny", measures=(measure("R@1", 0.5, chance=0.02),))
    sheet = measures_sheet((entry(), entry(fewer, "/e/two/test")))
    assert sheet.head[1:3] == ("Sample4Geo tiny, drone", "MIFT tiny")
    assert sheet.rows[0][1:4] == ("62.13% (59.1% – 65.1%)", "50.00% (47.0% – 53.0%)", "–")
    assert sheet.rows[1][2] == "–"


def test_names_say_what_differs_and_no_more():
    one = entry()
    assert labels((one,)) == ("Sample4Geo tiny, drone",)
    other_test = entry(result(test="satellite to drone"))
    assert labels((one, other_test)) == (
        "University-1652, drone to satellite",
        "University-1652, satellite to drone",
    )
    turned = entry(result(put="heading unknown (4 turns)"))
    assert labels((one, turned)) == ("headings as given", "heading unknown (4 turns)")
    twin = entry(folder="/e/two/test")
    assert labels((one, twin)) == ("one", "two")
    assert len(set(labels((one, one)))) == 2


def test_our_row_stands_where_it_belongs_among_the_papers():
    sheet = published_sheet((entry(),))
    (own,) = sheet.own
    assert sheet.rows[own][0] == OURS
    at = sheet.head.index("R@1")
    shares = [float(row[at].rstrip("%")) for row in sheet.rows if row[at] != "–"]
    assert shares == sorted(shares, reverse=True)
    assert len(sheet.rows) == len(published("University-1652", "drone to satellite")) + 1
    assert {sheet.rows[n][0] for n in sheet.marked} == {"MIFT", "MFRGN"}


def test_a_figure_that_no_paper_prints_has_no_column():
    sheet = published_sheet((entry(),))
    assert sheet.head == ("Method", "R@1", "AP", "Where it comes from")


def test_what_was_trained_elsewhere_comes_last():
    sheet = published_sheet((entry(result(data="CVACT", test="val")),))
    elsewhere = ["trained on" in row[0] for row in sheet.rows]
    assert elsewhere == sorted(elsewhere)
    assert any(elsewhere)


def test_only_evaluations_of_that_test_stand_beside_the_papers():
    other = entry(result(data="mine", checkpoint_title="mine"), "/e/two/test")
    assert len(published_sheet((entry(), other)).own) == 1
    twin = entry(result(checkpoint_title="MIFT tiny"), "/e/three/test")
    sheet = published_sheet((entry(), twin))
    assert {sheet.rows[n][0] for n in sheet.own} == {"Sample4Geo tiny, drone", "MIFT tiny"}


def test_where_nothing_is_published_there_is_no_table():
    assert published_sheet((entry(result(data="my own pairs")),)) is None


def test_clicked_objects_have_their_own_figures():
    sheet = published_sheet((entry(object_result()),))
    assert "accu@0.25" in sheet.head


def test_notes_say_how_intervals_were_drawn():
    told = "\n".join(notes_of(result()))
    assert "1,000 bootstrap draws of 701 places" in told
    assert "3 queries hang on equal scores" in told
    assert "41.0% are found" in told


def test_markdown_keeps_its_columns_whatever_the_names_hold():
    text = markdown((entry(result(checkpoint_title="a | b\nc")), entry(folder="/e/two/test")))
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        widths = {line.replace("\\|", "").count("|") for line in table.splitlines()}
        assert len(widths) == 1
    assert "**62.13%**" in text


def test_csv_has_every_figure_in_full_with_the_published_ones_after():
    made = result()
    rows = list(csv.reader(io.StringIO(as_csv((entry(made),)))))
    assert tuple(rows[0]) == CSV_HEAD
    first = dict(zip(CSV_HEAD, rows[1], strict=True))
    assert (first["measure"], float(first["value"])) == ("R@1", made.measures[0].value)
    assert first["source"] == "measured here"
    of_mift = [row for row in rows if row[0] == "MIFT"]
    assert [(row[4], float(row[6])) for row in of_mift] == [("R@1", 0.8784), ("AP", 0.8962)]


def test_csv_quotes_what_would_break_a_line():
    made = replace(result(), checkpoint_title='a, "b"')
    rows = list(csv.reader(io.StringIO(as_csv((entry(made),)))))
    assert rows[1][0] == 'a, "b"'
