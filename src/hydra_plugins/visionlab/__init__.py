"""What Hydra finds of visionlab. It imports all of this at every start: nothing here is heavy."""
