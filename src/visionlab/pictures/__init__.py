"""Pictures of samples: what a model got most wrong."""
