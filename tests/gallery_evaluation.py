"""The states of the evaluation tab for ``tests.gallery``: results and answers are made up."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.messages import Cancelled, Evaluate, Problem, Progress, Project
from app.paths import evaluations
from tests.ui.evaluations import Answers, object_result, result, write

LONG = (
    "Überflug-Prüfpunkt Sample4Geo ConvNeXt-B 384, fine-tuned on the town’s own ortho of 2026 東京"
)
Studio = Any  # of tests.gallery, which imports this file
State = Callable[[Studio], object]


def evaluation_states(settle: Callable[..., None]) -> dict[str, State]:
    """``settle`` lets the loop run until something holds."""

    def show(studio: Studio, *made: Any) -> Answers:
        shutil.rmtree(evaluations(), ignore_errors=True)
        for n, one in enumerate(made):
            write(evaluations() / f"run{n}" / "test", one, minutes=30 - n)
        studio.choose()
        session = studio.rooms.evaluations
        studio.window.tasks.show_task("evaluate")
        settle(lambda: session.is_read, 10)
        return Answers(Path(studio.scene.folder), side=256)

    def show_tab(studio: Studio, answers: Answers, name: str, task: str = "retrieval") -> None:
        studio.window.evaluation.show_tab(name)
        done = 0
        for _ in range(12):  # pictures are asked for as they are drawn
            done = answers.answer(studio.engine, task=task, since=done)
            settle(seconds=0.06)

    def two(studio: Studio) -> Answers:
        better = result(checkpoint_title="MIFT tiny, drone", measures=result().measures[::-1])
        answers = show(studio, result(), better, object_result())
        entries = studio.rooms.evaluations.entries
        studio.rooms.evaluations.select(tuple(e.folder for e in entries[:2]))
        return answers

    def none(studio: Studio) -> None:
        show(studio)

    def table(studio: Studio) -> None:
        show(studio, result(), object_result(), result(data="my pairs"))

    def tables(studio: Studio) -> None:
        two(studio)

    def curves(studio: Studio) -> None:
        show_tab(studio, two(studio), "Curves")

    def reliability(studio: Studio) -> None:
        show_tab(studio, show(studio, result()), "Reliability")

    def compare(studio: Studio) -> None:
        show_tab(studio, two(studio), "Compare")

    def compare_one(studio: Studio) -> None:
        show_tab(studio, show(studio, result()), "Compare")

    def map_drawn(studio: Studio) -> None:
        show_tab(studio, show(studio, result()), "Map of descriptors")
        view = studio.window.evaluation.map
        view.missed.click()
        view.grid.setCurrentIndex(view.grid.rows.index(1))
        show_tab(studio, Answers(Path(studio.scene.folder)), "Map of descriptors")

    def map_busy(studio: Studio) -> None:
        show(studio, result())
        studio.window.evaluation.show_tab("Map of descriptors")
        studio.engine.tell(studio.engine.job(Project), Progress(40, 0, "drawing the map"))

    def map_failed(studio: Studio) -> None:
        show(studio, result())
        studio.window.evaluation.show_tab("Map of descriptors")
        studio.engine.tell(
            studio.engine.job(Project),
            Problem("queries.npy is damaged", "Describe the data set again."),
        )

    def errors(studio: Studio) -> None:
        show_tab(studio, show(studio, result()), "Errors")

    def errors_objects(studio: Studio) -> None:
        show_tab(studio, show(studio, object_result()), "Errors", "object")

    def long_names(studio: Studio) -> None:
        odd = [result(checkpoint_title=f"{LONG} {n}", data=LONG, test=LONG) for n in range(3)]
        show(studio, *odd)
        entries = studio.rooms.evaluations.entries
        studio.rooms.evaluations.select(tuple(e.folder for e in entries))

    def stopped(studio: Studio) -> None:
        show(studio, result())
        session, engine = studio.rooms.evaluations, studio.engine
        for name in ("University-1652", "SUES-200", "VIGOR"):
            session.start(Evaluate(studio.scene.checkpoint, Path("/data") / name))
        jobs = [n for n, r in enumerate(engine.sent, 1) if isinstance(r, Evaluate)]
        engine.tell(jobs[0], Cancelled())
        engine.tell(
            jobs[1],
            Problem("The heading of 0011.jpg is not known", "Evaluate with unknown headings."),
        )
        engine.tell(jobs[2], Progress(812, 37855, "describing queries"))

    def form(studio: Studio) -> object:
        show(studio, result())
        studio.window.evaluation.ask_evaluation()
        made = studio.window.evaluation._form
        made.data.setText("/data/University-1652")
        return made

    states = (
        none, table, tables, curves, reliability, compare, compare_one, map_drawn, map_busy,
        map_failed, errors, errors_objects, long_names, stopped, form,
    )  # fmt: skip
    return {f"evaluation_{state.__name__}": state for state in states}
