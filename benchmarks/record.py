"""What a measurement is: one JSON line, and the table of many."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

Record = dict[str, Any]
RESULTS = Path(__file__).parent / "results"


def median_and_spread(seconds: Sequence[float]) -> tuple[float, float]:
    """The median and the distance of the quartiles."""
    quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
    return statistics.median(seconds), quartiles[2] - quartiles[0]


def measurement(
    name: str,
    device: str,
    versions: dict[str, str],
    seconds: Sequence[float],
    peer: tuple[str, Sequence[float]] | None = None,
    **more: Any,
) -> Record:
    """One record; ``ratio`` is our median over the peer's, below 1 where we are faster."""
    median, spread = median_and_spread(seconds)
    record: Record = {
        "name": name,
        "device": device,
        "versions": versions,
        "median_s": round(median, 6),
        "spread_s": round(spread, 6),
        "n": len(seconds),
    }
    if peer is not None:
        peer_name, peer_seconds = peer
        peer_median, peer_spread = median_and_spread(peer_seconds)
        record |= {
            "peer": peer_name,
            "peer_median_s": round(peer_median, 6),
            "peer_spread_s": round(peer_spread, 6),
            "ratio": round(median / peer_median, 3),
        }
    return record | more


def cpu_name() -> str:
    """Model of the processor and number of usable cores."""
    model = platform.processor() or platform.machine()
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        model = found.group(1) if found else model
    except OSError:
        pass
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


class Results:
    """Prints each record as it comes and keeps it in ``FOLDER/<device>-<date>.jsonl``."""

    def __init__(self, folder: Path, device: str, command: str) -> None:
        slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{slug}-{date.today().isoformat()}.jsonl"
        self.records: list[Record] = []
        self.path.write_text(json.dumps({"command": command, "date": date.today().isoformat()}) + "\n")

    def add(self, record: Record) -> None:
        """Keeps and prints one record."""
        self.records.append(record)
        line = json.dumps(record)
        with self.path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)


def table(records: Sequence[Record]) -> str:
    """The records as a Markdown table."""
    lines = ["| measurement | ours | peer | ratio | memory ours / peer |", "|---|---|---|---|---|"]
    for record in records:
        peer = f"{_time(record['peer_median_s'])} {record['peer']}" if "peer" in record else "–"
        memory = [record.get(key) for key in ("peak_memory_gib", "peer_peak_memory_gib")]
        sizes = " / ".join("–" if value is None else f"{value:.2f} GiB" for value in memory)
        remark = f" ({record['remark']})" if "remark" in record else ""
        ratio = f"**{record['ratio']:.2f}**" if "ratio" in record else "–"
        lines.append(
            f"| `{record['name']}`{remark} | {_time(record['median_s'])} | {peer} | {ratio} | {sizes} |"
        )
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
