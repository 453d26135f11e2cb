"""Fit the numbers of turn taking: `python scripts/fit_turns.py [--data DIR] [--again]`.

Makes the data, lets the real engines look at it (ten minutes on two cores; kept in the data folder for the next time,
--again makes it anew), fits, writes src/chinwag/listening/fitted.json and docs/images/turn-curve.svg, and prints the
tables of docs/turn-taking.md.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from platformdirs import user_cache_path
from turns.made import made
from turns.points import Point, judges, read, save
from turns.recorded import recorded
from turns.report import draw, tables
from turns.weigh import fit_all

ROOT = Path(__file__).resolve().parent.parent
FITTED = ROOT / "src" / "chinwag" / "listen" / "fitted.json"
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
