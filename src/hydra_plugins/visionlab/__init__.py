"""Where Hydra looks for plugins; everything here is imported at every start of a script."""
