"""The report of an evaluation: metrics.json, samples.csv, maps, masks and one self-contained page."""

from compseg_jax.report.folder import check_report_folder, write_report
from compseg_jax.report.tables import headline

__all__ = ["check_report_folder", "headline", "write_report"]
