"""Test part of scikit-learn's digits, shared by all tasks that use them."""

NUM_TEST = 360
TEST_SEED = 0  # the test part never changes, so numbers stay comparable
