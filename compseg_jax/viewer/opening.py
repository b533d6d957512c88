"""Which source a folder is."""

from __future__ import annotations

from pathlib import Path

from compseg_jax.config.locations import Location, Url
from compseg_jax.store.kvstore import exist
from compseg_jax.viewer.source import Source, ViewError


def open_source(
    path: Location, *, model: Location | None = None, data: Location | None = None, network: str = ""
) -> Source:
    """Opens a folder of predictions, a report, or a run.

    Args:
      path: the folder; of predictions also their URL.
      model: where the model of a report is now, if it was moved.
      data: where the store of a report or a run is now, if it was moved.
      network: the network of one's own that a model may import.

    Raises:
      ViewError: when it is none of them; says what was looked for.
      LocationError: when a URL cannot be reached.
      StoreError, ModelError: when what belongs to it is missing or damaged.
    """
    if isinstance(path, Path) and path.is_file():
        path = path.parent
    if exist([path / "predictions.json"])[0]:
        from compseg_jax.viewer.predictions_source import PredictionsSource

        return PredictionsSource.read(path)
    if isinstance(path, Url):
        raise ViewError(
            f"{path} cannot be shown: no predictions.json found. By URL only predictions are shown that are finished; "
            "runs and reports lie in folders: give that of one, and --model and --data, which may be URLs."
        )
    if (path / "metrics.json").is_file():
        from compseg_jax.viewer.model_source import ModelSource

        return ModelSource.of_report(path, model=model, data=data, network=network)
    if path.name == "model" and (path / "model.json").is_file():
        path = path.parent
    if (path / "model" / "model.json").is_file() or (path / "ensemble.json").is_file():
        from compseg_jax.viewer.model_source import ModelSource

        return ModelSource.of_run(path, data=data, network=network)
    found = sorted(each.name for each in path.iterdir())[:6] if path.is_dir() else None
    what = "it does not exist" if found is None else f"found {', '.join(found) or 'nothing'}"
    raise ViewError(
        f"{path} cannot be shown: {what}. Looked for predictions.json (of `compseg predict`), metrics.json (the report "
        "of `compseg evaluate`), and model/model.json or ensemble.json (a run of `compseg train`)."
    )
