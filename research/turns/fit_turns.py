"""Fit the parameters of turn taking: `python -m research.turns.fit_turns [--data DIR] [--again]`.

Makes the data and lets the real engines judge it: ten minutes on two cores. The judgements stay in the data folder for
the next run; --again makes them anew. Then it fits the parameters, writes
src/chinwag/listening/endpointing/fitted.json and docs/images/turn-curve.svg, and prints the tables of
docs/turn-taking.md.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from platformdirs import user_cache_path

from research.turns.made import made
from research.turns.points import Point, judges, read, save
from research.turns.recorded import recorded
from research.turns.report import draw, tables
from research.turns.weigh import fit_all

ROOT = Path(__file__).resolve().parents[2]
FITTED = ROOT / "src" / "chinwag" / "listening" / "endpointing" / "fitted.json"
CURVE = ROOT / "docs" / "images" / "turn-curve.svg"


def main() -> None:
    """Do it all."""
    parser = argparse.ArgumentParser(description="Fit the numbers of turn taking.")
    parser.add_argument("--data", type=Path, default=user_cache_path("chinwag") / "turns", help="kept between runs")
    parser.add_argument("--again", action="store_true", help="make the data anew")
    wanted = parser.parse_args()
    kept = wanted.data / "looks.jsonl"
    if wanted.again or not kept.exists():
        save(asyncio.run(look(wanted.data)), kept)
    points = read(kept)
    result = fit_all(points)
    FITTED.write_text(result.numbers.model_dump_json(indent=1) + "\n", "utf-8")
    CURVE.write_text(draw(result), "utf-8")
    print(tables(result))


async def look(folder: Path) -> list[Point]:
    """Every point with what the engines make of it."""
    points: list[Point] = []
    async with judges() as all_of_them:
        for sound in recorded(folder):
            points.append(await all_of_them.look(sound, len(points)))
        print(f"{len(points)} recorded points", flush=True)
        async for sound in made():
            points.append(await all_of_them.look(sound, len(points)))
            if len(points) % 25 == 0:
                print(f"{len(points)} points", flush=True)
    return points


if __name__ == "__main__":
    main()
