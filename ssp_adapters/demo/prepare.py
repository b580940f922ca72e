"""Write the demo's world as the files that its processes start from.

python -m ssp_adapters.demo.prepare FOLDER [--seed N] [--sites N]

admin.jsonl, verifier.jsonl      market files for `curb apply`, buyers left out
fleets/OPERATOR/prices.csv       what the operator's price_list adapter reads
fleets/OPERATOR/policy.json      how it asks
fleets/OPERATOR/sites.txt        the sites its agent is enrolled for
world.json                       a `Manifest`
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from schemas.commands import Command, Metro
from ssp_adapters.demo.world import World, world

ADMIN: Final = "admin.jsonl"
VERIFIER: Final = "verifier.jsonl"
MANIFEST: Final = "world.json"
FLEETS: Final = "fleets"
PRICES: Final = "prices.csv"
POLICY: Final = "policy.json"
SITES: Final = "sites.txt"


class RealSiteEntry(Struct, frozen=True, kw_only=True):
    """The site that is served by a real engine."""

    operator: str
    site: str
    metro: str
    model: str
    cost_in_pusd: int
    cost_out_pusd: int


class Manifest(Struct, frozen=True, kw_only=True):
    """What the other processes of the demo must know of the world."""

    seed: int
    operators: tuple[str, ...]  # with a price list; the real site's is in `real`
    sites: int
    metros: tuple[Metro, ...]
    access_asns: dict[str, tuple[int, ...]]
    real: RealSiteEntry


def write(made: World, folder: Path) -> Manifest:
    """Write all files of a world into a folder, which is made, and return the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_lines(folder / ADMIN, made.admin())
    _write_lines(folder / VERIFIER, made.verifier())
    for operator, fleet in made.fleets.items():
        place = folder / FLEETS / operator
        place.mkdir(parents=True, exist_ok=True)
        (place / PRICES).write_text(fleet.csv, "utf-8")
        (place / POLICY).write_bytes(msgspec.json.encode(fleet.policy))
        (place / SITES).write_text("".join(f"{site}\n" for site in fleet.sites), "utf-8")
    manifest = Manifest(
        seed=made.seed,
        operators=tuple(made.fleets),
        sites=len(made.sites),
        metros=made.metros,
        access_asns=made.access_asns,
        real=RealSiteEntry(**made.real._asdict()),
    )
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return manifest


def _write_lines(path: Path, commands: tuple[Command, ...]) -> None:
    encoder = msgspec.json.Encoder()
    path.write_bytes(encoder.encode_lines(commands))


def main() -> int:
    """Write the world that the arguments name; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m ssp_adapters.demo.prepare")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sites", type=int, default=0, help="0: the demo's default")
    given = parser.parse_args()
    made = world(given.seed, given.sites) if given.sites else world(given.seed)
    manifest = write(made, given.folder)
    sys.stdout.write(f"{manifest.sites} sites of {len(manifest.operators) + 1} operators\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
