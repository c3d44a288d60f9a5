"""The test part of scikit-learn's digits, the same for every task that uses them."""

NUM_TEST = 360
TEST_SEED = 0  # the test part never changes, so numbers stay comparable
