"""Measures of calibration and diversity: functions of arrays, by the formulas of their papers."""
