from visionlab.runs.observing import _describe_counts


def test_every_class_is_counted_if_there_are_few() -> None:
    assert _describe_counts(["cat", "dog"], [1200, 3]) == " (cat 1,200, dog 3)"


def test_of_many_classes_the_fewest_and_the_most_are_named() -> None:
    counts = list(range(100, 200))
    assert (
        _describe_counts([str(label) for label in range(100)], counts) == " (from 0 100 to 99 199)"
    )


def test_data_without_classes_have_no_counts() -> None:
    assert _describe_counts(["nose", "chin"], []) == ""
