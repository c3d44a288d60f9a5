"""The report: one HTML page that shows what runs gave and needs nothing else."""

from visionlab.analysis.report.page import write_report

__all__ = ["write_report"]
