"""What run folders and reports say, listed and held against one another: `compseg runs`, `compseg compare`."""

from compseg_jax.evaluation.run_records.found_runs import FoundRuns, find_runs
from compseg_jax.evaluation.run_records.run_record import RunFolderError, RunRecord, read_run_record
from compseg_jax.evaluation.run_records.scores_record import Scores

__all__ = ["FoundRuns", "RunFolderError", "RunRecord", "Scores", "find_runs", "read_run_record"]
