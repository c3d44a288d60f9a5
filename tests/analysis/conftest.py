"""Here so that tests in folders below find `run_folders`."""
