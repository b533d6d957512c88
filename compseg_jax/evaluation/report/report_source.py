"""source.json: where the model and the store of a report are, for those who look at its samples again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compseg_jax.config.locations import Location
from compseg_jax.runtime.files import JsonFormat, json_text
from compseg_jax.runtime.places import found_place, place_of

SOURCE_FILE = "source.json"
SOURCE = JsonFormat(
    "compseg-report",
    version=1,
    required=("model", "data", "split", "threshold_story", "title"),
    absent="So the report does not say where its model and store are: it was written by an earlier release. Evaluate "
    "again with `compseg evaluate`.",
    again="evaluate again with `compseg evaluate`",
)


@dataclass(frozen=True)
class ReportSource:
    """What was evaluated.

    Attributes:
      model: model folder, or the run of an ensemble.
      data: store.
      split: whose samples were evaluated.
      weights_sha256: of the network; None for an ensemble.
      threshold_story: where the threshold comes from, in words.
      title: heading of the report.
      odds: factor on the odds of the model's activations, where maps were brought to its level (`model.level`).
    """

    model: Location
    data: Location
    split: str
    weights_sha256: str | None
    threshold_story: str
    title: str
    odds: float = 1.0

    def to_json(self, report: Path) -> str:
        """The text of source.json in a report folder. Places are written twice: as they are on this machine, and
        relative to the report, so that a folder that was moved with all it belongs to still finds them.
        """
        values = {
            "model": {**place_of(self.model, report), "weights_sha256": self.weights_sha256},
            "data": place_of(self.data, report),
            "split": self.split,
            "threshold_story": self.threshold_story,
            "title": self.title,
            "odds": self.odds,
        }
        return json_text(SOURCE.stamped(values))


def read_source(report: Path) -> ReportSource:
    """Reads it back; a place that is no longer there is returned as it was written.

    Raises:
      ValueError: when it is missing, damaged or of a later version.
    """
    path = report / SOURCE_FILE
    values = SOURCE.read(path)
    try:
        return ReportSource(
            model=found_place(values["model"], report),
            data=found_place(values["data"], report),
            split=values["split"],
            weights_sha256=values["model"]["weights_sha256"],
            threshold_story=values["threshold_story"],
            title=values["title"],
            odds=float(values.get("odds", 1.0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SOURCE.damaged(path, repr(error)) from error
