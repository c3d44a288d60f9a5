"""The report: one self-contained HTML page."""

from visionlab.analysis.report.page import write_report

__all__ = ["write_report"]
