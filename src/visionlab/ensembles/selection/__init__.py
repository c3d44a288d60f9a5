"""Choice of members and weights: functions of a quality, hence the same for every task."""
