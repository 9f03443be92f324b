"""What fills the open blocks of a city: parks, sports grounds, fields, squares."""

import math

import numpy as np

from app.engine.city_blocks import GRASS, PAVING, parcels, plant
from app.engine.city_layout import (
    SHEDS,
    TILES,
    WALLS,
    Building,
    Ground,
    Lot,
    Plan,
    Points,
    Rgb,
    Street,
    dense,
    extents,
    inset,
    inside,
    pick,
    rectangle,
    ring,
    scatter,
    unit,
)

CROPS: tuple[Rgb, ...] = (
    (120, 134, 66),
    (168, 156, 92),
    (186, 170, 110),
    (98, 118, 58),
    (140, 116, 86),
    (124, 140, 84),
)


def fill_park(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """Lawn, winding paths, groves, a pond."""
    plan.grounds.append(Ground("lawn", ring(block.corners), pick(rng, GRASS)))
    span = max(extents(block.corners, angle_rad))
    for _ in range(int(rng.integers(2, 5))):
        turn = rng.uniform(0, 2 * math.pi)
        t = np.linspace(-0.7, 0.7, 30)[:, None]
        bend = np.sin(t * rng.uniform(2, 6) + rng.uniform(0, 6)) * rng.uniform(8, 26)
        path = (
            block.centre
            + rng.normal(0, span / 10, 2)
            + t * span * unit(turn)
            + bend * unit(turn + math.pi / 2)
        )
        path = path[inside(block.corners, path)]
        if len(path) > 2:
            plan.streets.append(Street(path, rng.uniform(2.2, 4.0), "path"))
    if rng.random() < 0.6 and span > 70:
        plan.grounds.append(
            Ground(
                "water",
                blob(
                    rng, block.centre + rng.normal(0, span / 8, 2), span * rng.uniform(0.09, 0.16)
                ),
                (74, 92, 88),
            )
        )
    for centre in scatter(rng, block.corners, 0.0005):
        spots = centre + rng.normal(0, rng.uniform(5, 16), (int(rng.integers(6, 40)), 2))
        plant(
            plan,
            spots[inside(block.corners, spots)],
            rng,
            conifers=float(rng.random() < 0.3),
            size=1.15,
        )
    plant(plan, scatter(rng, block.corners, 0.0015), rng, conifers=0.2, size=1.2)


def blob(rng: np.random.Generator, centre: Points, radius: float) -> Points:
    turn = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    reach = radius * (
        1
        + 0.22 * np.sin(2 * turn + rng.uniform(0, 6))
        + 0.14 * np.sin(3 * turn + rng.uniform(0, 6))
    )
    return np.asarray(centre + np.stack([np.cos(turn) * reach * 1.3, np.sin(turn) * reach], -1))


def fill_sports(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """A pitch, courts, a club house, trees round them."""
    plan.grounds.append(Ground("lawn", ring(block.corners), pick(rng, GRASS)))
    long, deep = extents(block.corners, angle_rad)
    turn = angle_rad if long > deep else angle_rad + math.pi / 2
    long, deep = max(long, deep), min(long, deep)
    if long > 80 and deep > 55:
        if rng.random() < 0.5:
            plan.grounds.append(
                Ground(
                    "track", rectangle(block.centre, turn, long * 0.86, deep * 0.84), (168, 86, 66)
                )
            )
        plan.grounds.append(
            Ground(
                "pitch",
                rectangle(block.centre, turn, long * 0.66, deep * 0.56),
                (84, 124, 60),
                turn,
            )
        )
    else:
        for u in np.arange(-long / 2 + 14, long / 2 - 12, 20):
            centre = block.centre + unit(turn) * u
            colour = pick(rng, ((150, 84, 64), (70, 110, 92), (66, 96, 140)))
            plan.grounds.append(
                Ground("court", rectangle(centre, turn + math.pi / 2, 26, 13), colour, turn)
            )
    house = block.centre + unit(turn) * long * 0.42
    plan.buildings.append(
        Building(
            "hall",
            rectangle(house, turn + math.pi / 2, deep * 0.4, 9),
            4.5,
            1.5,
            "gable",
            turn + math.pi / 2,
            pick(rng, TILES),
            pick(rng, WALLS),
        )
    )
    edge = dense(np.concatenate([block.corners, block.corners[:1]]), 9.0)
    plant(plan, edge + rng.normal(0, 1.2, edge.shape), rng, conifers=0.1, size=1.2)


def fill_farm(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """Fields with their rows, hedges, now and then a farm or a wood."""
    turn = angle_rad + rng.normal(0, 0.1)
    for lot in parcels(block, rng, turn, float(rng.choice([4000.0, 9000.0, 16000.0])), 0.06):
        kind = rng.random()
        if kind < 0.14:
            plan.grounds.append(Ground("forest", ring(lot.corners), (74, 84, 50)))
            plant(
                plan,
                scatter(rng, lot.corners, 0.03),
                rng,
                conifers=float(rng.random() < 0.4),
                size=1.1,
            )
            continue
        plan.grounds.append(
            Ground(
                "crop",
                ring(lot.corners),
                pick(rng, CROPS, 12.0),
                turn + (math.pi / 2 if rng.random() < 0.4 else 0),
            )
        )
        if kind < 0.4:
            hedge = dense(lot.corners[:2], 4.0)
            plant(plan, hedge + rng.normal(0, 0.8, hedge.shape), rng, conifers=0.0, size=0.8)
        elif kind < 0.55:
            for step in range(3):
                centre = (
                    lot.centre + unit(turn) * step * 17 + unit(turn + math.pi / 2) * (step % 2) * 14
                )
                plan.buildings.append(
                    Building(
                        "barn",
                        rectangle(centre, turn + math.pi / 2 * (step % 2), rng.uniform(14, 28), 11),
                        4.2,
                        3.4,
                        "gable",
                        turn + math.pi / 2 * (step % 2),
                        pick(rng, TILES + SHEDS),
                        pick(rng, WALLS),
                    )
                )


def fill_plaza(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """A paved square with a landmark on it."""
    plan.grounds.append(Ground("plaza", ring(block.corners), pick(rng, PAVING, 14.0), angle_rad))
    long, deep = extents(block.corners, angle_rad)
    size = min(long, deep)
    if rng.random() < 0.5:
        nave = rectangle(block.centre, angle_rad, size * 0.62, size * 0.24)
        plan.buildings.append(
            Building("church", nave, 12, 8, "gable", angle_rad, pick(rng, TILES), pick(rng, WALLS))
        )
        tower = rectangle(block.centre - unit(angle_rad) * size * 0.34, angle_rad, 8, 8)
        plan.buildings.append(
            Building("church", tower, 30, 9, "hip", angle_rad, pick(rng, SHEDS), pick(rng, WALLS))
        )
    else:
        plan.grounds.append(Ground("water", blob(rng, block.centre, size * 0.1), (84, 120, 128)))
    room = inset(Lot(block.corners, np.zeros(len(block.corners))), 4.0)
    if room is not None:
        spots = dense(np.concatenate([room.corners, room.corners[:1]]), 8.0)
        plant(plan, spots, rng, conifers=0.0, size=0.8)
