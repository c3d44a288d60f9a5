"""Networks and the weights that go into them."""
