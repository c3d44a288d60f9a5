"""Networks that tasks share, and the weights that go into them."""
