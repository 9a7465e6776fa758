"""The report of a run: one self-contained HTML page made from what the run folder holds."""

from lamas_local.report.page import write_report
from lamas_local.report.timeline import timeline_svg

__all__ = ["timeline_svg", "write_report"]
