"""Files: atomic writes, tensor files, the run folder and locks."""
