"""From a model and labelled samples to scores and a report, and what runs and reports say."""

from compseg_jax.runtime.lazy_names import lazy_names

__all__ = ["FoundRuns", "RunRecord", "Scores", "find_runs", "read_run_record"]

__getattr__ = lazy_names(__name__, dict.fromkeys(__all__, "run_records"))
