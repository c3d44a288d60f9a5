"""Progress over a known number of images: a bar on a terminal, else a line a minute."""

import logging
import sys
import time
from typing import Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from visionlab.engine.speed import SILENT_SECONDS, describe_speed

_log = logging.getLogger(__name__)


class ImageProgress:
    """Context manager that shows how many of some images are done, and in the end how fast."""

    def __init__(self, count: int) -> None:
        self._count, self._num_done = count, 0
        self._started = self._logged = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.completed:.0f} of {task.total:.0f} images"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            disable=not sys.stdout.isatty(),
            transient=True,
        )
        self._bar = self._progress.add_task("", total=count, speed="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def advance(self, num_images: int) -> None:
        """Count further images."""
        self._num_done += num_images
        now = time.monotonic()
        speed = describe_speed(self._num_done, now - self._started)
        self._progress.update(self._bar, completed=self._num_done, speed=speed)
        if self._progress.disable and now - self._logged >= SILENT_SECONDS:
            self._logged = now
            _log.info("%d of %d images  %s", self._num_done, self._count, speed)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._progress.stop()
        if error is None:
            speed = describe_speed(self._num_done, time.monotonic() - self._started)
            _log.info("%d images  %s", self._num_done, speed)
