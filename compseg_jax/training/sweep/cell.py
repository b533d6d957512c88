"""One cell of a sweep: trained, or gone on with, and evaluated."""

from __future__ import annotations

from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.prediction.claims import Claims
from compseg_jax.training.ensemble import train_ensemble
from compseg_jax.training.run import train
from compseg_jax.training.sweep.options import SweepOptions
from compseg_jax.training.sweep.plan import CELLS, REPORT, Cell, Plan


def run_cell(plan: Plan, cell: Cell, options: SweepOptions) -> bool:
    """Trains and evaluates a cell; False where another process that lives has it in hand.

    Raises:
      RunError, StoreError, TrainingError …: as training and evaluation do.
      Interrupted: after Ctrl-C or SIGTERM; the run is saved.
    """
    folder = plan.folder(cell)
    folder.parent.mkdir(parents=True, exist_ok=True)
    claim = Claims(plan.out / CELLS).take_patiently(cell.name)
    if claim is None:
        return False
    with claim:
        if plan.is_finished(cell):
            return True
        config = plan.config(cell, options)
        if config.ensemble.n_members > 1:
            train_ensemble(config)
        else:
            train(config)
        evaluate(
            EvaluateOptions(
                model=folder,
                data=options.data,
                out=folder / REPORT,
                split=plan.split,
                network=config.network.network if config.network.is_foreign else "",
                importance="no",
            )
        )
    return True
